/**
 * Moves the picture of a saved stack with its sliders. Runs without Jupyter and without a network.
 *
 * @typedef {{ name: string, labels: string[] }} Axis
 * @typedef {{ axes: Axis[], titles: string[], frames: string[] }} Stack
 */

/**
 * Position of a frame, given one index for each axis, the slowest axis first.
 * @param {Axis[]} axes
 * @param {number[]} chosen
 * @returns {number}
 */
function frameAt(axes, chosen) {
  return axes.reduce((position, axis, i) => position * axis.labels.length + chosen[i], 0);
}

/** @param {Stack} stack */
function show(stack) {
  const inputs = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("input")]);
  const chosen = inputs.map((input) => Number(input.value));
  const position = frameAt(stack.axes, chosen);
  const picture = /** @type {HTMLImageElement} */ (document.getElementById("frame"));
  picture.src = stack.frames[position];
  picture.alt = stack.titles[position];
  /** @type {HTMLElement} */ (document.getElementById("title")).textContent = stack.titles[position];
  inputs.forEach((input, i) => {
    const label = stack.axes[i].labels[chosen[i]];
    input.setAttribute("aria-valuetext", label);
    /** @type {HTMLOutputElement} */ (input.nextElementSibling).value = label;
  });
}

const data = /** @type {HTMLElement} */ (document.getElementById("stack")).textContent;
/** @type {Stack} */
const stack = JSON.parse(data ?? "");
document.querySelector("form")?.addEventListener("input", () => show(stack));
show(stack);

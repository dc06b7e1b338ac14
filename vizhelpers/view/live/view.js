/**
 * Draws scenes of frames and charts: in Jupyter as an anywidget, in a saved page by `mount`.
 * One module, no framework, no build step, no network.
 *
 * The types of what Python sends, as in `wire_types.py`:
 *
 * @typedef {{ name: string, labels: string[] }} AxisData
 * @typedef {{ cells: string[], length: number, text: string }} BarData
 * @typedef {{ kind: "bars", title: string, rows: BarData[], marked: number }} BarsData
 * @typedef {{ kind: "curve", title: string, values: number[], marked: number, xlabel: string,
 *   ylabel: string, gaps: number[] }} CurveData
 * @typedef {{ scale: "sequential" | "diverging" | "rgb", sizes: number[][], data: Bytes,
 *   fine: Bytes, lo: number[], hi: number[], gaps: boolean[], limits: number[][], group: string,
 *   axes: AxisData[], titles: string[], name: string, unit: string, note: string,
 *   factor: number, lut: Bytes, base: Bytes, base_size: number[],
 *   charts: (BarsData | CurveData)[][], photograph: boolean }} SceneData
 * @typedef {{ trait: string, name: string, kind: "range" | "choice", labels: string[],
 *   low: number, high: number, step: number }} ControlData
 * @typedef {{ i0: number, i1: number, i2: number, blend: number, own_scale: number,
 *   grid: number }} ViewState
 * @typedef {{ i0: number, i1: number, i2: number, blend: number, own_scale: number,
 *   grid: number, scene: number }} PageState
 * @typedef {{ requests: AxisData[], scenes: SceneData[], controls: ControlData[][],
 *   state: PageState, blobs: string[] }} PageData
 * @typedef {{ type: "stop" | "ping" | "pong" }} Message
 *
 * The types of this module:
 *
 * @typedef {ArrayBuffer | ArrayBufferView | string} Bytes base64 where it is a string
 * @typedef {BarsData | CurveData} ChartData
 * @typedef {SceneData & { data: Uint8Array, fine: Uint8Array, lut: Uint8Array, base: Uint8Array,
 *   offsets: number[] }} Scene offsets: where each frame begins in `data`
 * @typedef {{ get(key: string): any, set(key: string, value: any): void, save_changes(): void,
 *   on(event: string, callback: (...args: any[]) => void): void,
 *   off(event: string, callback: (...args: any[]) => void): void,
 *   send(content: Message): void }} Model
 * @typedef {{ width: number, height: number, rgba: Uint8ClampedArray<ArrayBuffer> }} Picture
 */

// ---------------------------------------------------------------- pure functions, tested by node

/**
 * Return the position of a frame, given an index on each axis, the slowest axis first.
 * @param {AxisData[]} axes
 * @param {number[]} chosen
 */
export function frameAt(axes, chosen) {
  return axes.reduce((at, axis, i) => at * axis.labels.length + clamp(chosen[i] ?? 0, axis), 0);
}

/** @param {number} index @param {AxisData} axis */
function clamp(index, axis) {
  return Math.max(0, Math.min(index, axis.labels.length - 1));
}

/**
 * Return the index on each axis, given the position of a frame: the inverse of `frameAt`.
 * @param {AxisData[]} axes
 * @param {number} frame
 */
export function chosenAt(axes, frame) {
  const chosen = [];
  for (const axis of [...axes].reverse()) {
    chosen.unshift(frame % axis.labels.length);
    frame = Math.floor(frame / axis.labels.length);
  }
  return chosen;
}

/** The colour of NaN and infinite values, as in `colour.py`: no colour scale contains it. */
const NO_NUMBER = [105, 30, 0];

/**
 * Return the values of a map from its bytes, exact to 1/255 of the frame's own range.
 * @param {Scene} scene
 * @param {number} frame
 */
export function valuesOf(scene, frame) {
  const [height, width] = scene.sizes[frame];
  const values = new Float64Array(height * width);
  const read = readerOf(scene, frame);
  for (let i = 0; i < values.length; i++) values[i] = read(i);
  return values;
}

/**
 * Return a function that reads the value at an index of a frame; `wire.py` describes the bytes.
 * @param {Scene} scene
 * @param {number} frame
 * @returns {(i: number) => number}
 */
function readerOf({ data, fine, offsets, lo, hi, gaps }, frame) {
  const at = offsets[frame];
  const [low, range] = [lo[frame], hi[frame] - lo[frame]];
  const levels = fine.length ? 65536 : 256;
  const last = gaps[frame] ? levels - 4 : levels - 1;
  const special = [-Infinity, Infinity, NaN];
  return (i) => {
    const level = fine.length ? 256 * data[at + i] + fine[at + i] : data[at + i];
    return level > last ? special[level - last - 1] : low + (level / last) * range;
  };
}

/**
 * Return the colour scale's ends: those of the scene, or those of the frame alone.
 * @param {Scene} scene
 * @param {number} frame
 * @param {boolean} own
 * @returns {number[]}
 */
export function limitsOf(scene, frame, own) {
  if (!own) return scene.limits[frame];
  const [low, high] = [scene.lo[frame], scene.hi[frame]];
  if (scene.scale !== "diverging") return [Math.min(low, 0), high];
  const extent = Math.max(Math.abs(low), Math.abs(high));
  return [-extent, extent];
}

/**
 * Return values as RGBA, by a table of 256 colours.
 * @param {Float64Array} values
 * @param {Uint8Array} lut
 * @param {number[]} limits
 * @param {boolean} diverging if low equals high, show the middle colour and not the first
 */
export function colourise(values, lut, [low, high], diverging) {
  const rgba = new Uint8ClampedArray(values.length * 4);
  for (let i = 0; i < values.length; i++) {
    const share = Math.max(0, Math.min(1, (values[i] - low) / (high - low)));
    const level = 3 * (high > low ? Math.round(share * 255) : diverging ? 128 : 0);
    const known = Number.isFinite(values[i]);
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = known ? lut[level + c] : NO_NUMBER[c];
    rgba[4 * i + 3] = 255;
  }
  return rgba;
}

/**
 * Resize a map bilinearly; a pixel interpolated from a NaN or infinite value is NaN.
 * @param {Float64Array} values
 * @param {number[]} from height and width
 * @param {number[]} to height and width
 */
export function stretch(values, from, to) {
  if (values.every(Number.isFinite)) return bilinear(values, from, to);
  const gaps = bilinear(values.map((value) => (Number.isFinite(value) ? 0 : 1)), from, to);
  const known = values.map((value) => (Number.isFinite(value) ? value : 0));
  return bilinear(known, from, to).map((value, i) => (gaps[i] > 1e-6 ? NaN : value));
}

/**
 * Resize a map bilinearly; the edges of both maps coincide.
 * @param {Float64Array} values
 * @param {number[]} from height and width
 * @param {number[]} to height and width
 */
function bilinear(values, [height, width], [tall, wide]) {
  const result = new Float64Array(tall * wide);
  for (let y = 0; y < tall; y++) {
    const [y0, y1, fy] = between(((y + 0.5) * height) / tall - 0.5, height);
    for (let x = 0; x < wide; x++) {
      const [x0, x1, fx] = between(((x + 0.5) * width) / wide - 0.5, width);
      const upper = values[y0 * width + x0] * (1 - fx) + values[y0 * width + x1] * fx;
      const lower = values[y1 * width + x0] * (1 - fx) + values[y1 * width + x1] * fx;
      result[y * wide + x] = upper * (1 - fy) + lower * fy;
    }
  }
  return result;
}

/** Return the two neighbours of a position, and the second one's weight.
 * @param {number} place @param {number} count @returns {[number, number, number]} */
function between(place, count) {
  const inside = Math.max(0, Math.min(count - 1, place));
  const first = Math.floor(inside);
  return [first, Math.min(first + 1, count - 1), inside - first];
}

/**
 * Return a frame as it is drawn: at its own size, or blended with the photograph at its size.
 * @param {Scene} scene
 * @param {number} frame
 * @param {{ own: boolean, blend: number }} how blend: share of the map, in percent
 * @returns {Picture}
 */
export function pictureOf(scene, frame, { own, blend }) {
  const [height, width] = scene.sizes[frame];
  if (scene.scale === "rgb") {
    const at = scene.offsets[frame];
    return opaque(scene.data.subarray(at, at + height * width * 3), [height, width]);
  }
  const limits = limitsOf(scene, frame, own);
  const diverging = scene.scale === "diverging";
  const values = valuesOf(scene, frame);
  if (blend >= 100 || !scene.base.length) {
    return { width, height, rgba: colourise(values, scene.lut, limits, diverging) };
  }
  const [tall, wide] = scene.base_size;
  const large = stretch(values, [height, width], scene.base_size);
  const rgba = colourise(large, scene.lut, limits, diverging);
  for (let i = 0; i < tall * wide; i++) {
    for (let c = 0; c < 3; c++) {
      const mixed = (1 - blend / 100) * scene.base[3 * i + c] + (blend / 100) * rgba[4 * i + c];
      rgba[4 * i + c] = Math.round(mixed);
    }
  }
  return { width: wide, height: tall, rgba };
}

/**
 * Return RGB bytes as a picture.
 * @param {Uint8Array} rgb
 * @param {number[]} size height and width
 * @returns {Picture}
 */
export function opaque(rgb, [height, width]) {
  const rgba = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = rgb[3 * i + c];
    rgba[4 * i + 3] = 255;
  }
  return { width, height, rgba };
}

/** Return a number with so many significant digits. @param {number} x @param {number} digits */
export function inWords(x, digits = 3) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4) return x.toExponential(digits - 1);
  return String(Number(x.toPrecision(digits)));
}

/**
 * Return which frames share the colour scale, in words.
 * @param {Scene} scene
 * @param {boolean} own
 */
export function scaleInWords(scene, own) {
  if (own || scene.group === "frame") return "each frame its own scale";
  return scene.group === "all" ? "one scale for all" : `one scale for each ${scene.group}`;
}

/**
 * Return the place and the value of a pixel, in words.
 * @param {Scene} scene
 * @param {number} frame
 * @param {number} row
 * @param {number} column
 */
export function readout(scene, frame, row, column) {
  const width = scene.sizes[frame][1];
  const at = scene.offsets[frame];
  const place = `row ${row * scene.factor}, column ${column * scene.factor}`;
  if (scene.scale === "rgb") {
    const [r, g, b] = scene.data.subarray(at + 3 * (row * width + column));
    return `${place}: red ${r}, green ${g}, blue ${b}`;
  }
  const value = readerOf(scene, frame)(row * width + column);
  if (!Number.isFinite(value)) return `${place}: ${value}, no number`;
  const unit = scene.unit.split("\n")[0];
  return `${place}: ${inWords(value, 4)}${unit && ` (${unit})`}`;
}

/** Escape the operators of a regular expression. @param {string} text */
const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/**
 * Return what a search box suggests for a text, as [value, label] pairs: names that contain it as
 * a whole word, then names with a word that begins with it. Without a match, return all names.
 * @param {string[]} names
 * @param {string} typed
 * @returns {[string, string][]}
 */
export function suggestions(names, typed) {
  const text = typed.trim();
  if (!text) return names.map((name) => [name, ""]);
  const start = `(^|[^\\p{L}\\p{N}])${literal(text)}`;
  const begins = new RegExp(start, "iu");
  const whole = new RegExp(`${start}($|[^\\p{L}\\p{N}])`, "iu");
  const matches = names.filter((name) => begins.test(name));
  const [exact, others] = [true, false].map((is) => matches.filter((n) => whole.test(n) === is));
  const ordered = [...exact, ...others];
  if (!ordered.length && /^\d+$/.test(text) && names[Number(text)]) {
    return [[text, names[Number(text)]]];
  }
  return (ordered.length ? ordered : names).map((name) => [name, ""]);
}

/**
 * Return bytes as an array: Jupyter sends a view of a buffer, a page holds base64.
 * @param {any} value
 * @returns {Uint8Array}
 */
export function asBytes(value) {
  if (typeof value === "string") return Uint8Array.from(atob(value), (c) => c.charCodeAt(0));
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (!value?.buffer) return new Uint8Array(0);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/**
 * A scene with its bytes as arrays, or null if there is none yet.
 * @param {SceneData | undefined} scene
 * @returns {Scene | null}
 */
export function unpacked(scene) {
  if (!scene?.titles) return null;
  const [data, lut, base, fine] = [scene.data, scene.lut, scene.base, scene.fine].map(asBytes);
  const offsets = [0];
  const channels = scene.scale === "rgb" ? 3 : 1;
  for (const [height, width] of scene.sizes) {
    offsets.push((offsets.at(-1) ?? 0) + height * width * channels);
  }
  return { ...scene, data, lut, base, fine, offsets };
}

// ---------------------------------------------------------------- elements

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} name class name, without its prefix
 * @param {Record<string, string>} attributes
 * @returns {HTMLElementTagNameMap[K]}
 */
function make(tag, name, attributes = {}) {
  const element = document.createElement(tag);
  element.className = `vz-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Set a text if it has changed: setting the same text again costs a layout of the page.
 * @param {Element} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Create the elements of a view. @param {HTMLElement} el */
function skeleton(el) {
  const parts = {
    root: make("div", "root"),
    name: make("p", "name"),
    main: make("div", "main"),
    photo: sheet("photo", "the photograph"),
    map: sheet("map", "the picture"),
    bar: make("div", "bar"),
    chart: make("div", "chart"),
    title: make("p", "title", { "aria-live": "polite" }),
    readout: make("p", "readout", { "aria-live": "polite" }),
    tools: make("div", "tools", { role: "toolbar", "aria-label": "picture" }),
    grid: sheet("grid", "all frames"),
    busy: make("div", "busy"),
    message: make("p", "message", { role: "alert" }),
    kernel: make("p", "message vz-kernel", { role: "alert" }),
  };
  parts.grid.canvas.setAttribute("role", "slider");
  parts.main.append(parts.photo.frame, parts.map.frame, parts.bar, parts.chart);
  const { root, name, main, title, readout, tools, grid, busy, message, kernel } = parts;
  root.append(name, busy, message, kernel, main, title, readout, tools, grid.frame);
  el.append(root);
  return parts;
}

/** Create a canvas in a frame that scrolls, with a mark above it. @param {string} name
 * @param {string} label */
function sheet(name, label) {
  const frame = make("div", `frame vz-${name}`);
  const inner = make("div", "inner");
  const canvas = make("canvas", "canvas", { tabindex: "0", role: "img", "aria-label": label });
  const mark = make("div", "mark", { hidden: "" });
  inner.append(canvas, mark);
  frame.append(inner);
  return { frame, inner, canvas, mark };
}

/**
 * Paint a picture so that each of its pixels is a square of device pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {Picture} picture
 * @param {number} room greatest width in CSS pixels
 * @param {number} zoom
 */
function paint(canvas, picture, room, zoom) {
  const density = window.devicePixelRatio || 1;
  const times = Math.max(1, Math.floor((room * density) / picture.width)) * zoom;
  const [width, height] = [picture.width * times, picture.height * times];
  // Setting a size, even the same size, allocates the canvas's memory anew.
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(picture), 0, 0, canvas.width, canvas.height);
  const shown = Math.min(canvas.width / density, room * zoom);
  canvas.style.width = `${shown}px`;
  canvas.style.height = `${(shown * picture.height) / picture.width}px`;
}

/** Return a picture as a canvas of its own size. @param {Picture} picture */
function bitmap({ rgba, width, height }) {
  const small = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (small.getContext("2d"));
  context.putImageData(new ImageData(/** @type {any} */ (rgba), width, height), 0, 0);
  return small;
}

/** Put a mark over one cell of a canvas. @param {HTMLElement} mark @param {HTMLElement} canvas
 * @param {number[]} cell left, top, width, height as shares of the canvas */
function place(mark, canvas, [left, top, width, height]) {
  const box = [left, top, width, height].map((share, i) => {
    return share * (i % 2 ? canvas.clientHeight : canvas.clientWidth);
  });
  ["left", "top", "width", "height"].forEach((side, i) => {
    mark.style.setProperty(side, `${box[i]}px`);
  });
  mark.hidden = false;
}

// ---------------------------------------------------------------- bar and charts

/** Draw the colour bar. @param {HTMLElement} bar @param {Scene} scene @param {number} frame
 * @param {boolean} own */
function drawBar(bar, scene, frame, own) {
  bar.replaceChildren();
  bar.hidden = scene.scale === "rgb" || !scene.sizes.length;
  if (bar.hidden) return;
  const [low, high] = limitsOf(scene, frame, own);
  const strip = make("canvas", "strip", { role: "img", "aria-label": "colour bar" });
  [strip.width, strip.height] = [1, 256];
  const context = /** @type {CanvasRenderingContext2D} */ (strip.getContext("2d"));
  const reversed = Uint8Array.from({ length: 768 }, (_, i) => {
    return scene.lut[3 * (255 - Math.floor(i / 3)) + (i % 3)];
  });
  context.putImageData(new ImageData(opaque(reversed, [256, 1]).rgba, 1, 256), 0, 0);
  const ticks = make("div", "ticks");
  for (const share of [1, 0.75, 0.5, 0.25, 0]) {
    const tick = make("span", "tick");
    tick.textContent = high > low ? inWords(low + share * (high - low)) : share ? "" : inWords(low);
    ticks.append(tick);
  }
  const words = make("p", "scale");
  words.textContent = [scene.unit, scaleInWords(scene, own)].filter(Boolean).join(" · ");
  bar.append(strip, ticks, words);
}

/** Draw a row of charts. @param {HTMLElement} box @param {ChartData[]} row */
function drawChart(box, row) {
  box.hidden = row.length === 0;
  box.replaceChildren(...row.map((chart) => {
    const part = make("div", "part");
    const title = make("p", "name");
    title.textContent = chart.title;
    part.append(title, chart.kind === "bars" ? barTable(chart) : curvePicture(chart));
    return part;
  }));
}

/** Return bars as a table, which can be read aloud, searched and copied. @param {BarsData} chart */
function barTable(chart) {
  const table = make("table", "bars");
  const longest = Math.max(...chart.rows.map((row) => row.length), 1e-30);
  chart.rows.forEach((row, i) => {
    const line = table.insertRow();
    if (i === chart.marked) line.className = "vz-marked";
    row.cells.forEach((text, column) => {
      const cell = line.insertCell();
      const trimmed = text.trimStart();
      cell.textContent = `${i === chart.marked && column === 0 ? "▸ " : ""}${trimmed}`;
      cell.style.paddingLeft = `${(text.length - trimmed.length) * 0.5 + 0.3}em`;
    });
    const cell = line.insertCell();
    const bar = make("span", "length");
    bar.style.width = `${(row.length / longest) * 9}em`;
    cell.append(bar, ` ${row.text}`);
  });
  return table;
}

/** Return a curve as SVG. @param {CurveData} chart */
function curvePicture(chart) {
  const [width, height, left, bottom] = [320, 200, 62, 34];
  const [low, high] = [Math.min(...chart.values), Math.max(...chart.values)];
  const across = (width - left - 8) / Math.max(chart.values.length - 1, 1);
  const up = (height - bottom - 12) / (high - low || 1);
  /** @param {number} i @returns {[number, number]} */
  const at = (i) => [left + i * across, height - bottom - (chart.values[i] - low) * up];
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "vz-curve", role: "img" });
  svg.setAttribute("aria-label", `${chart.title}: ${inWords(chart.values[chart.marked])}`);
  // A gap interrupts the line: the pen moves to it and away from it without drawing.
  const gaps = new Set(chart.gaps);
  const lifted = (/** @type {number} */ i) => i === 0 || gaps.has(i) || gaps.has(i - 1);
  const path = chart.values.map((_, i) => `${lifted(i) ? "M" : "L"} ${at(i).join(" ")}`);
  const [x, y] = at(chart.marked);
  svg.append(
    drawn("path", { d: `M ${left} 8 V ${height - bottom} H ${width - 6}`, class: "vz-axis" }),
    drawn("path", { d: path.join(" "), class: "vz-line" }),
    drawn("circle", { cx: x, cy: y, r: 4, class: "vz-point" }),
    letters(left - 6, height - bottom, inWords(low), "end"),
    letters(left - 6, 16, high > low ? inWords(high) : "", "end"),
    letters(left, height - 18, "0", "middle"),
    letters(width - 10, height - 18, String(chart.values.length - 1), "end"),
    letters(width / 2, height - 4, chart.xlabel, "middle"),
  );
  return svg;
}

/** Return a text of an SVG. @param {number} x @param {number} y @param {string} text
 * @param {string} anchor */
function letters(x, y, text, anchor) {
  const element = drawn("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

/** Return an element of an SVG. @param {string} tag
 * @param {Record<string, string | number>} attributes */
function drawn(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

// ---------------------------------------------------------------- the view

const LARGEST_ZOOM = 8;
const RESTARTED = "The kernel was restarted; run the cell again.";
const SILENT = "The kernel does not answer. If another cell is running, wait for its end; "
  + "if the kernel was restarted, run the cell again.";
const PATIENCE = 5000; // milliseconds

/** Create the state of a view, apart from the model's traits. @param {Model} model
 * @param {HTMLElement} el */
function createView(model, el) {
  return {
    model,
    parts: skeleton(el),
    scene: unpacked(model.get("scene")),
    zoom: 1,
    timer: 0,
    pixel: /** @type {[number, number] | null} */ (null),
    drawing: 0,
    columns: 1,
    kernel: "", // a warning about the kernel
    waiting: 0, // timer for the kernel's answer
    box: /** @type {Element | null} */ (null),
    leaving: new AbortController(),
    keys: /** @type {Record<string, string>} */ ({}),
  };
}

/** @typedef {ReturnType<typeof createView>} View */

/** Return the frame, the scale and the blend that the traits choose. @param {View} view */
function present({ model, scene }) {
  const chosen = ["i0", "i1", "i2"].map((key) => Number(model.get(key)) || 0);
  const frame = scene ? frameAt(scene.axes, chosen) : 0;
  const blend = scene?.base.length ? Number(model.get("blend")) : 100;
  return { frame, own: Boolean(model.get("own_scale")), blend };
}

/** Draw once before the browser's next repaint. @param {View} view */
function refresh(view) {
  cancelAnimationFrame(view.drawing);
  view.drawing = requestAnimationFrame(() => draw(view));
}

/** Draw a part of the view only if its key has changed: most parts do not depend on a slider.
 * @param {View} view @param {string} part @param {any[]} key @param {() => void} drawPart */
function whenChanged(view, part, key, drawPart) {
  const present = key.join();
  if (view.keys[part] === present) return;
  view.keys[part] = present;
  drawPart();
}

/** Draw what has changed. @param {View} view */
function draw(view) {
  const { parts, scene, model } = view;
  drawState(view);
  if (!scene) return;
  const { frame, own, blend } = present(view);
  const pictures = scene.sizes.length > 0;
  write(parts.name, [scene.name, scene.note].filter(Boolean).join(" · "));
  parts.map.frame.hidden = !pictures;
  parts.photo.frame.hidden = !pictures || !scene.photograph || !scene.base.length || blend < 100;
  const room = roomFor(view);
  if (pictures) paint(parts.map.canvas, pictureOf(scene, frame, { own, blend }), room, view.zoom);
  if (!parts.photo.frame.hidden) drawPhotograph(view, scene, room);
  const limits = pictures ? limitsOf(scene, frame, own) : [];
  whenChanged(view, "bar", [own, ...limits], () => drawBar(parts.bar, scene, frame, own));
  const row = scene.charts.length > 1 ? frame : 0;
  whenChanged(view, "chart", [row], () => drawChart(parts.chart, scene.charts[row] ?? []));
  drawTitle(view, frame);
  parts.grid.frame.hidden = !model.get("grid") || scene.sizes.length < 2;
  if (!parts.grid.frame.hidden) drawGrid(view, frame, own);
  drawReadout(view, frame);
  drawTools(view);
  parts.root.dataset.frame = String(frame);
}

/** Draw the photograph as large as the map, so that their pixels correspond. @param {View} view
 * @param {Scene} scene @param {number} room */
function drawPhotograph(view, scene, room) {
  const { photo, map } = view.parts;
  whenChanged(view, "photo", [room, view.zoom, window.devicePixelRatio], () => {
    paint(photo.canvas, opaque(scene.base, scene.base_size), room, view.zoom);
  });
  photo.canvas.style.width = map.canvas.style.width;
  photo.canvas.style.height = map.canvas.style.height;
}

/** Return the greatest width of a picture, in CSS pixels. @param {View} view */
function roomFor({ parts, scene }) {
  const beside = (parts.photo.frame.hidden ? 1 : 2) + (scene?.charts.length ? 0.8 : 0);
  const free = (parts.root.clientWidth || 640) - 190;
  return Math.max(120, Math.min(360, free / beside - 12));
}

/** Draw the frame's title. @param {View} view @param {number} frame */
function drawTitle({ parts, scene }, frame) {
  if (!scene) return;
  const title = scene.titles[frame] ?? "";
  const where = scene.titles.length > 1 ? `frame ${frame + 1} of ${scene.titles.length}` : "";
  const text = [title.replaceAll("\n", " · "), where].filter(Boolean).join(" · ");
  write(parts.title, text);
  parts.map.canvas.setAttribute("aria-label", `${scene.name}: ${text}. Arrow keys read pixels.`);
}

/** Show the running computation and the last error; the picture stays. @param {View} view */
function drawState({ parts, model, kernel }) {
  const busy = kernel === RESTARTED ? "" : String(model.get("busy") || "");
  const done = Number(model.get("progress"));
  parts.root.classList.toggle("vz-working", busy !== "");
  parts.root.setAttribute("aria-busy", String(busy !== ""));
  parts.busy.hidden = busy === "";
  if (busy) {
    // Created once: a button that is replaced between press and release receives no click.
    if (!parts.busy.firstChild) parts.busy.append(...busyParts(model));
    const [words, bar] = /** @type {any} */ (parts.busy.children);
    write(words, busy);
    bar.setAttribute("aria-label", busy);
    if (done >= 0) bar.value = done;
    else bar.removeAttribute("value");
  }
  warn(parts.message, String(model.get("message") || ""));
  warn(parts.kernel, kernel);
}

/** Show a warning. @param {HTMLElement} element @param {string} text "" hides the element */
function warn(element, text) {
  element.hidden = text === "";
  write(element, text && `⚠ ${text}`);
}

/** Hide or disable the buttons without effect. @param {View} view */
function drawTools({ parts, scene, zoom, timer }) {
  const [play, larger, smaller] = /** @type {any} */ (parts.tools.children);
  parts.tools.hidden = !scene?.sizes.length;
  play.hidden = (scene?.titles.length ?? 0) < 2;
  if (play.hidden && timer) play.click();
  larger.disabled = zoom >= LARGEST_ZOOM;
  smaller.disabled = zoom <= 1;
}

/** Create the words, the progress bar and the stop button. @param {Model} model */
function busyParts(model) {
  const stop = make("button", "stop", { type: "button" });
  stop.textContent = "Stop";
  stop.addEventListener("click", () => model.send({ type: "stop" }));
  const words = make("span", "words", { role: "status" });
  return [words, make("progress", "progress", { max: "1" }), stop];
}

/** Draw thumbnails of all frames; choosing a frame moves only the mark.
 * @param {View} view @param {number} frame @param {boolean} own */
function drawGrid(view, frame, own) {
  const { parts, scene } = view;
  if (!scene) return;
  const count = scene.sizes.length;
  const width = Math.max(160, (parts.root.clientWidth || 640) - 24);
  view.columns = Math.min(count, Math.max(4, Math.ceil(Math.sqrt(count * 1.8))));
  const side = Math.max(8, Math.min(96, Math.floor(width / view.columns)));
  const cell = Math.round(side * (window.devicePixelRatio || 1));
  const how = { columns: view.columns, cell, own };
  whenChanged(view, "grid", Object.values(how), () => paintGrid(parts.grid.canvas, scene, how));
  parts.grid.canvas.style.width = `${side * view.columns}px`;
  markGrid(view, frame);
}

/** Paint all thumbnails. @param {HTMLCanvasElement} canvas @param {Scene} scene
 * @param {{ columns: number, cell: number, own: boolean }} how */
function paintGrid(canvas, scene, { columns, cell, own }) {
  canvas.width = cell * columns;
  canvas.height = cell * Math.ceil(scene.sizes.length / columns);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  for (let i = 0; i < scene.sizes.length; i++) {
    const small = bitmap(pictureOf(scene, i, { own, blend: 100 }));
    context.imageSmoothingEnabled = small.width > cell;
    const [x, y] = [(i % columns) * cell, Math.floor(i / columns) * cell];
    context.drawImage(small, x, y, cell - 1, cell - 1);
  }
}

/** Mark the thumbnail of a frame. @param {View} view @param {number} frame */
function markGrid({ parts, scene, columns }, frame) {
  if (!scene) return;
  const rows = Math.ceil(scene.sizes.length / columns);
  const [x, y] = [frame % columns, Math.floor(frame / columns)];
  place(parts.grid.mark, parts.grid.canvas, [x / columns, y / rows, 1 / columns, 1 / rows]);
  const values = { min: 0, max: scene.sizes.length - 1, now: frame, text: scene.titles[frame] };
  for (const [key, value] of Object.entries(values)) {
    parts.grid.canvas.setAttribute(`aria-value${key}`, String(value));
  }
}

/** Write the value of the marked pixel. @param {View} view @param {number} frame */
function drawReadout({ parts, scene, pixel }, frame) {
  if (!scene?.sizes.length || !pixel) {
    write(parts.readout, scene?.sizes.length ? "Point at a pixel to read its value." : "");
    parts.photo.mark.hidden = parts.map.mark.hidden = true;
    return;
  }
  const [height, width] = scene.sizes[frame];
  const row = Math.min(height - 1, Math.floor(pixel[0] * height));
  const column = Math.min(width - 1, Math.floor(pixel[1] * width));
  let text = readout(scene, frame, row, column);
  if (!parts.photo.frame.hidden) {
    const [tall, wide] = scene.base_size;
    const y = Math.floor(((row + 0.5) * tall) / height);
    const x = Math.floor(((column + 0.5) * wide) / width);
    const [r, g, b] = scene.base.subarray(3 * (y * wide + x));
    text += ` · photograph there: red ${r}, green ${g}, blue ${b}`;
  }
  parts.readout.textContent = text;
  for (const { mark, canvas, frame: around } of [parts.photo, parts.map]) {
    if (!around.hidden) place(mark, canvas, [column / width, row / height, 1 / width, 1 / height]);
  }
}

// ---------------------------------------------------------------- mouse and keyboard

/** Choose a frame by its position; linked sliders follow.
 * @param {View} view @param {number} frame */
function choose({ model, scene }, frame) {
  if (!scene) return;
  const inside = Math.max(0, Math.min(scene.titles.length - 1, frame));
  chosenAt(scene.axes, inside).forEach((index, i) => model.set(`i${i}`, index));
  model.save_changes();
}

/** Choose frames by click and arrow keys. @param {View} view */
function listenToGrid(view) {
  const { canvas } = view.parts.grid;
  canvas.addEventListener("click", (event) => {
    if (!view.scene) return;
    const rows = Math.ceil(view.scene.sizes.length / view.columns);
    const x = Math.floor((event.offsetX / canvas.clientWidth) * view.columns);
    const y = Math.floor((event.offsetY / canvas.clientHeight) * rows);
    choose(view, y * view.columns + x);
  });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -view.columns, ArrowDown: view.columns };
    const { frame } = present(view);
    const far = { Home: 0, End: Infinity }[event.key];
    const step = /** @type {Record<string, number>} */ (steps)[event.key];
    if (far === undefined && step === undefined) return;
    event.preventDefault();
    choose(view, far ?? frame + step);
  });
}

/** Mark pixels by pointer and arrow keys. @param {View} view @param {HTMLCanvasElement} canvas */
function listenToPicture(view, canvas) {
  /** @param {[number, number] | null} pixel */
  const point = (pixel) => {
    view.pixel = pixel;
    drawReadout(view, present(view).frame);
  };
  canvas.addEventListener("pointermove", (event) => {
    point([event.offsetY / canvas.clientHeight, event.offsetX / canvas.clientWidth]);
  });
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const ends = { Home: [0, -1e9], End: [0, 1e9] };
    const move = /** @type {Record<string, number[]>} */ ({ ...moves, ...ends })[event.key];
    if (!move || !view.scene) return;
    event.preventDefault();
    const size = view.scene.sizes[present(view).frame];
    const from = view.pixel ?? [0.5, 0.5];
    const [row, column] = size.map((length, i) => {
      const moved = Math.floor(from[i] * length) + move[i];
      return (Math.max(0, Math.min(length - 1, moved)) + 0.5) / length;
    });
    point([row, column]);
  });
}

/** Add the buttons of the picture. @param {View} view */
function addTools(view) {
  view.parts.tools.append(playButton(view));
  const zooms = /** @type {const} */ ([["+", "larger", 2], ["−", "smaller", 0.5]]);
  for (const [text, label, times] of zooms) {
    const button = make("button", "zoom", { type: "button", "aria-label": label });
    button.textContent = text;
    button.addEventListener("click", () => {
      view.zoom = Math.max(1, Math.min(LARGEST_ZOOM, view.zoom * times));
      refresh(view);
    });
    view.parts.tools.append(button);
  }
}

/** Create the button that moves through all frames. @param {View} view */
function playButton(view) {
  const play = make("button", "play", { type: "button", "aria-pressed": "false" });
  const stop = () => {
    clearInterval(view.timer);
    view.timer = 0;
    play.textContent = "▶ Play";
    play.setAttribute("aria-pressed", "false");
  };
  play.addEventListener("click", () => {
    if (view.timer) return stop();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    view.timer = setInterval(() => {
      const count = view.scene?.titles.length ?? 1;
      choose(view, (present(view).frame + 1) % count);
    }, calm ? 2000 : 250);
    play.textContent = "⏸ Pause";
    play.setAttribute("aria-pressed", "true");
  });
  stop();
  return play;
}

/** Keep keys from JupyterLab: without this attribute an arrow key on a dropdown selects the next
 * cell. @param {Event} event */
function keepKeys({ target }) {
  /** @type {Element} */ (target).setAttribute("data-lm-suppress-shortcuts", "true");
}

/** The names that ipywidgets gave to each search box. @type {WeakMap<Element, string[]>} */
const NAMES = new WeakMap();

/** Suggest names for the text of a search box. The browser itself would match any part of a name:
 * "cat" would suggest "castle". @param {Event} event */
function suggest({ target }) {
  const input = /** @type {HTMLInputElement} */ (target);
  const list = input.closest(".vizhelpers-search") && input.list;
  if (!list) return;
  if (!list.querySelector(".vz-suggestion")) {
    NAMES.set(list, Array.from(list.querySelectorAll("option"), (option) => option.value));
  }
  list.replaceChildren(...suggestions(NAMES.get(list) ?? [], input.value).map(([value, label]) => {
    const option = make("option", "suggestion", label ? { label } : {});
    option.value = value;
    return option;
  }));
}

/** Show a warning about the kernel, or "" for none. @param {View} view @param {string} text */
function warnOfKernel(view, text) {
  clearTimeout(view.waiting);
  view.waiting = 0;
  view.kernel = text;
  refresh(view);
}

/** Warn when the kernel is gone, and return a function that ends this. JupyterLab and the classic
 * Notebook mark the view; elsewhere a control that needs the kernel sends a "ping".
 * @param {View} view */
function watchKernel(view) {
  const { model, parts } = view;
  const answered = (/** @type {any} */ content) => {
    if (content?.type === "pong") warnOfKernel(view, "");
  };
  // After other listeners: one of them, the front end's, marks the view.
  const changed = () => setTimeout(() => {
    const dead = parts.root.closest(".jupyter-widgets-disconnected");
    warnOfKernel(view, dead ? RESTARTED : "");
  });
  model.on("msg:custom", answered);
  model.on("comm_live_update", changed);
  return () => {
    clearTimeout(view.waiting);
    model.off("msg:custom", answered);
    model.off("comm_live_update", changed);
  };
}

/** Listen to the box that holds the view and its controls, once it exists. The front end keeps the
 * box of a closed panel, so the listeners that refer to the view are removed. @param {View} view */
function listenToBox(view) {
  const box = view.parts.root.closest(".widget-vbox");
  if (!box || box === view.box) return;
  view.box = box;
  /** @param {Event} event */
  const ask = ({ target }) => {
    const needed = /** @type {Element} */ (target).closest(".vizhelpers-request, .vz-stop");
    if (!needed || view.waiting || view.kernel === RESTARTED) return;
    view.waiting = setTimeout(() => warnOfKernel(view, SILENT), PATIENCE);
    view.model.send({ type: "ping" });
  };
  const { signal } = view.leaving;
  box.addEventListener("focusin", keepKeys);
  ["focusin", "input"].forEach((event) => box.addEventListener(event, suggest));
  ["change", "pointerdown", "keydown"].forEach((event) => {
    box.addEventListener(event, ask, { signal });
  });
}

/** Draw a model into an element; return a function that removes the view.
 * @param {{ model: Model, el: HTMLElement }} where */
export function render({ model, el }) {
  const view = createView(model, el);
  const again = () => refresh(view);
  const newScene = () => {
    view.scene = unpacked(model.get("scene"));
    view.keys = {};
    refresh(view);
  };
  const traits = ["i0", "i1", "i2", "blend", "own_scale", "grid", "busy", "progress", "message"];
  traits.forEach((name) => model.on(`change:${name}`, again));
  model.on("change:scene", newScene);
  listenToGrid(view);
  [view.parts.map.canvas, view.parts.photo.canvas].forEach((c) => listenToPicture(view, c));
  addTools(view);
  const unwatch = watchKernel(view);
  const sizes = new ResizeObserver(() => {
    listenToBox(view);
    again();
  });
  sizes.observe(view.parts.root);
  draw(view);
  return () => {
    traits.forEach((name) => model.off(`change:${name}`, again));
    model.off("change:scene", newScene);
    unwatch();
    sizes.disconnect();
    clear(view);
  };
}

/** Free what a view holds; browsers may keep the pixels of a removed canvas.
 * @param {View} view */
function clear(view) {
  view.leaving.abort();
  clearInterval(view.timer);
  cancelAnimationFrame(view.drawing);
  view.scene = view.box = null;
  for (const canvas of view.parts.root.querySelectorAll("canvas")) {
    canvas.width = canvas.height = 0;
  }
  view.parts.root.remove();
}

// ---------------------------------------------------------------- pages without a kernel

/** Create a model without a kernel. @param {Record<string, any>} state @returns {Model} */
export function localModel(state) {
  /** @type {Map<string, Set<(...args: any[]) => void>>} */
  const listeners = new Map();
  return {
    get: (key) => state[key],
    set(key, value) {
      if (state[key] === value) return;
      state[key] = value;
      listeners.get(`change:${key}`)?.forEach((callback) => callback());
    },
    save_changes() {},
    on: (event, callback) => {
      listeners.set(event, (listeners.get(event) ?? new Set()).add(callback));
    },
    off: (event, callback) => listeners.get(event)?.delete(callback),
    send() {},
  };
}

/**
 * Return a page from its JSON, with the shared bytes in each scene.
 * @param {string} text
 * @returns {PageData}
 */
export function parsed(text) {
  const page = JSON.parse(text);
  const blobs = page.blobs.map(asBytes);
  for (const scene of page.scenes) {
    for (const key of ["data", "lut", "base", "fine"]) {
      if (scene[key]) scene[key] = blobs[scene[key].blob];
    }
  }
  return page;
}

/** Create a control of a page. @param {ControlData} control @param {number} value
 * @param {(value: number) => void} change */
function controlFor(control, value, change) {
  const row = make("label", "control");
  const choice = control.kind === "choice";
  const input = choice ? make("select", "select") : make("input", "range", { type: "range" });
  const output = make("output", "value");
  if (input instanceof HTMLSelectElement) {
    control.labels.forEach((label, i) => input.add(new Option(label, String(i))));
  } else {
    Object.assign(input, { min: control.low, max: control.high, step: control.step });
  }
  const show = (/** @type {number} */ present) => {
    input.value = String(present);
    if (!choice) output.value = input.value;
  };
  input.addEventListener("input", () => {
    show(Number(input.value));
    change(Number(input.value));
  });
  show(value);
  row.append(control.name, input, output);
  return { row, show };
}

/** Add the controls of a scene; return a function that removes them.
 * @param {HTMLElement} box @param {Model} model @param {ControlData[]} controls */
function addControls(box, model, controls) {
  /** @type {[string, () => void][]} */
  const following = controls.map((control) => {
    const { trait } = control;
    const high = control.kind === "choice" ? control.labels.length - 1 : control.high;
    model.set(trait, Math.max(control.low, Math.min(model.get(trait) ?? 0, high)));
    const made = controlFor(control, model.get(trait), (value) => model.set(trait, value));
    const follow = () => made.show(model.get(trait));
    model.on(`change:${trait}`, follow);
    box.append(made.row);
    return [`change:${trait}`, follow];
  });
  return () => {
    following.forEach(([event, follow]) => model.off(event, follow));
    box.replaceChildren();
  };
}

/** Show a saved page. @param {HTMLElement} el @param {string} text the page as JSON */
export function mount(el, text) {
  const page = parsed(text);
  const model = localModel({ ...page.state, scene: page.scenes[page.state.scene] });
  const asked = chosenAt(page.requests, page.state.scene);
  const [requests, own, picture] = ["requests", "controls", "picture"].map((n) => make("div", n));
  let remove = addControls(own, model, page.controls[page.state.scene]);
  page.requests.forEach(({ name, labels }, i) => {
    if (labels.length < 2) return;
    const control = { trait: "", name, kind: /** @type {const} */ ("choice"), labels };
    const made = controlFor({ ...control, low: 0, high: 0, step: 1 }, asked[i], (value) => {
      asked[i] = value;
      const scene = frameAt(page.requests, asked);
      model.set("scene", page.scenes[scene]);
      remove();
      remove = addControls(own, model, page.controls[scene]);
    });
    requests.append(made.row);
  });
  el.replaceChildren(requests, own, picture);
  render({ model, el: picture });
  return model;
}

export default { render };

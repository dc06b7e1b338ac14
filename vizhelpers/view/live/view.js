/**
 * Draws a stack of frames on a canvas: in Jupyter as an anywidget, in a saved page by `mount`.
 * One module, no framework, no build step, no network. `wire.py` says what a scene holds.
 *
 * @typedef {{ name: string, labels: string[] }} Axis
 * @typedef {{ kind: "bars", title: string, rows: { cells: string[], length: number,
 *   text: string }[], marked: number }} Bars
 * @typedef {{ kind: "curve", title: string, values: number[], marked: number, xlabel: string,
 *   ylabel: string, gaps?: number[] }} Curve
 * @typedef {Bars | Curve} Chart
 * @typedef {{ scale: "sequential" | "diverging" | "rgb", sizes: [number, number][],
 *   data: Uint8Array, lo: number[], hi: number[], limits: [number, number][], group: string,
 *   axes: Axis[], titles: string[], name: string, unit: string, note: string, factor: number,
 *   lut: Uint8Array, base: Uint8Array, base_size: number[], charts: Chart[][],
 *   photograph: boolean, offsets: number[], fine: Uint8Array, gaps?: boolean[] }} Scene
 * @typedef {{ get(key: string): any, set(key: string, value: any): void, save_changes(): void,
 *   on(event: string, callback: (...args: any[]) => void): void,
 *   off(event: string, callback: (...args: any[]) => void): void,
 *   send(content: any): void }} Model
 * @typedef {{ width: number, height: number, rgba: Uint8ClampedArray<ArrayBuffer> }} Picture
 */

// ---------------------------------------------------------------- pure functions, tested by node

/**
 * Position of a frame, given one index for each axis, the slowest axis first.
 * @param {Axis[]} axes
 * @param {number[]} chosen
 */
export function frameAt(axes, chosen) {
  return axes.reduce((at, axis, i) => at * axis.labels.length + clamp(chosen[i] ?? 0, axis), 0);
}

/** @param {number} index @param {Axis} axis */
function clamp(index, axis) {
  return Math.max(0, Math.min(index, axis.labels.length - 1));
}

/**
 * One index for each axis, given the position of a frame: the inverse of `frameAt`.
 * @param {Axis[]} axes
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

/** The colour of what is no number, as in `colour.py`: no scale has it. */
const NO_NUMBER = [105, 30, 0];

/**
 * The values of a map, read back from its bytes: exact to 1/255 of the frame's own range.
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
 * What gives the value at one place of a frame; `wire.py` says how it is stored.
 * @param {Scene} scene
 * @param {number} frame
 * @returns {(i: number) => number}
 */
function readerOf({ data, fine, offsets, lo, hi, gaps }, frame) {
  const at = offsets[frame];
  const [low, range] = [lo[frame], hi[frame] - lo[frame]];
  const levels = fine.length ? 65536 : 256;
  const last = gaps?.[frame] ? levels - 4 : levels - 1;
  const special = [-Infinity, Infinity, NaN];
  return (i) => {
    const level = fine.length ? 256 * data[at + i] + fine[at + i] : data[at + i];
    return level > last ? special[level - last - 1] : low + (level / last) * range;
  };
}

/**
 * The colour scale's ends: the stack's own, or the frame's own.
 * @param {Scene} scene
 * @param {number} frame
 * @param {boolean} own
 * @returns {[number, number]}
 */
export function limitsOf(scene, frame, own) {
  if (!own) return scene.limits[frame];
  const [low, high] = [scene.lo[frame], scene.hi[frame]];
  if (scene.scale !== "diverging") return [Math.min(low, 0), high];
  const extent = Math.max(Math.abs(low), Math.abs(high));
  return [-extent, extent];
}

/**
 * Values to colours of a table of 256.
 * @param {Float64Array} values
 * @param {Uint8Array} lut
 * @param {[number, number]} limits
 * @param {boolean} diverging what a flat scale shows: the middle, or the first colour
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
 * Stretch a map, bilinearly; a place that touches something that is no number is NaN.
 * @param {Float64Array} values
 * @param {[number, number]} from height and width
 * @param {number[]} to height and width
 */
export function stretch(values, from, to) {
  if (values.every(Number.isFinite)) return bilinear(values, from, to);
  const gaps = bilinear(values.map((value) => (Number.isFinite(value) ? 0 : 1)), from, to);
  const known = values.map((value) => (Number.isFinite(value) ? value : 0));
  return bilinear(known, from, to).map((value, i) => (gaps[i] > 1e-6 ? NaN : value));
}

/**
 * Stretch a map, bilinearly, with the centres of its pixels where they belong.
 * @param {Float64Array} values
 * @param {[number, number]} from height and width
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

/** @param {number} place @param {number} count @returns {[number, number, number]} */
function between(place, count) {
  const inside = Math.max(0, Math.min(count - 1, place));
  const first = Math.floor(inside);
  return [first, Math.min(first + 1, count - 1), inside - first];
}

/**
 * A frame as it is drawn, at its own size, or at the photograph's where it is laid on it.
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
 * RGB bytes as a picture.
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

/** A number with three or more digits that count. @param {number} x @param {number} digits */
export function inWords(x, digits = 3) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4) return x.toExponential(digits - 1);
  return String(Number(x.toPrecision(digits)));
}

/**
 * How the colours are scaled, in words: it always stands beside the bar.
 * @param {Scene} scene
 * @param {boolean} own
 */
export function scaleInWords(scene, own) {
  if (own || scene.group === "frame") return "each frame its own scale";
  return scene.group === "all" ? "one scale for all" : `one scale for each ${scene.group}`;
}

/**
 * What stands at one place of a frame.
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

/** What no search may take for words. @param {string} text */
const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/**
 * What a search box suggests for a text: [value, label] pairs. Names that contain it as whole words
 * come first, then those in which a word begins with it; all names where there are neither.
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
  const found = names.filter((name) => begins.test(name));
  const ordered = [...found.filter((n) => whole.test(n)), ...found.filter((n) => !whole.test(n))];
  if (!ordered.length && /^\d+$/.test(text) && names[Number(text)]) {
    return [[text, names[Number(text)]]];
  }
  return (ordered.length ? ordered : names).map((name) => [name, ""]);
}

/**
 * Bytes, whatever way they came: from Jupyter a view of a buffer, from a page base64.
 * @param {any} value
 * @returns {Uint8Array}
 */
export function asBytes(value) {
  if (typeof value === "string") return Uint8Array.from(atob(value), (c) => c.charCodeAt(0));
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (!value?.buffer) return new Uint8Array(0);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** @param {any} scene @returns {Scene | null} */
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

/** Write a text where another stands: the browser lays the page out anew even for the same one.
 * @param {Element} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The elements of one view. @param {HTMLElement} el */
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

/** A canvas in a frame that scrolls, with a mark that lies over it. @param {string} name
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
 * Paint a picture so that each of its pixels is a square of whole device pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {Picture} picture
 * @param {number} room css pixels there are for its width
 * @param {number} zoom
 */
function paint(canvas, picture, room, zoom) {
  const density = window.devicePixelRatio || 1;
  const times = Math.max(1, Math.floor((room * density) / picture.width)) * zoom;
  const [width, height] = [picture.width * times, picture.height * times];
  // To set a size, even the same, takes the canvas's memory away and gives it anew.
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(picture), 0, 0, canvas.width, canvas.height);
  const shown = Math.min(canvas.width / density, room * zoom);
  canvas.style.width = `${shown}px`;
  canvas.style.height = `${(shown * picture.height) / picture.width}px`;
}

/** A picture as something that a canvas can draw, scaled. @param {Picture} picture */
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

/** @param {HTMLElement} bar @param {Scene} scene @param {number} frame @param {boolean} own */
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

/** @param {HTMLElement} box @param {Chart[]} row */
function drawChart(box, row) {
  box.hidden = row.length === 0;
  box.replaceChildren(...row.map((chart) => {
    const one = make("div", "one");
    const title = make("p", "name");
    title.textContent = chart.title;
    one.append(title, chart.kind === "bars" ? barTable(chart) : curvePicture(chart));
    return one;
  }));
}

/** A table: it can be read aloud, searched and copied. @param {Bars} chart */
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

/** @param {Curve} chart */
function curvePicture(chart) {
  const [width, height, left, bottom] = [320, 200, 62, 34];
  const [low, high] = [Math.min(...chart.values), Math.max(...chart.values)];
  const across = (width - left - 8) / Math.max(chart.values.length - 1, 1);
  const up = (height - bottom - 12) / (high - low || 1);
  /** @param {number} i @returns {[number, number]} */
  const at = (i) => [left + i * across, height - bottom - (chart.values[i] - low) * up];
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "vz-curve", role: "img" });
  svg.setAttribute("aria-label", `${chart.title}: ${inWords(chart.values[chart.marked])}`);
  // A place without a number interrupts the line: the pen moves there, and on from there.
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

/** @param {number} x @param {number} y @param {string} text @param {string} anchor */
function letters(x, y, text, anchor) {
  const element = drawn("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

/** @param {string} tag @param {Record<string, string | number>} attributes */
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

/** All that one view remembers besides the model's traits. @param {Model} model
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
    kernel: "", // what is wrong with it
    waiting: 0, // for its answer
    box: /** @type {Element | null} */ (null),
    leaving: new AbortController(),
    keys: /** @type {Record<string, string>} */ ({}),
  };
}

/** @typedef {ReturnType<typeof createView>} View */

/** @param {View} view */
function present({ model, scene }) {
  const chosen = ["i0", "i1", "i2"].map((key) => Number(model.get(key)) || 0);
  const frame = scene ? frameAt(scene.axes, chosen) : 0;
  const blend = scene?.base.length ? Number(model.get("blend")) : 100;
  return { frame, own: Boolean(model.get("own_scale")), blend };
}

/** Draw at the browser's next frame, however many changes came before it. @param {View} view */
function refresh(view) {
  cancelAnimationFrame(view.drawing);
  view.drawing = requestAnimationFrame(() => draw(view));
}

/** Draw a part of the view only where what it shows has changed: most do not move with a slider.
 * @param {View} view @param {string} part @param {any[]} key @param {() => void} drawPart */
function whenChanged(view, part, key, drawPart) {
  const present = key.join();
  if (view.keys[part] === present) return;
  view.keys[part] = present;
  drawPart();
}

/** @param {View} view */
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
  if (!parts.photo.frame.hidden) {
    whenChanged(view, "photo", [room, view.zoom, window.devicePixelRatio], () => {
      paint(parts.photo.canvas, opaque(scene.base, scene.base_size), room, view.zoom);
    });
    // As large as the map, so that the same place is at the same place.
    parts.photo.canvas.style.width = parts.map.canvas.style.width;
    parts.photo.canvas.style.height = parts.map.canvas.style.height;
  }
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

/** How wide a picture may be. @param {View} view */
function roomFor({ parts, scene }) {
  const beside = (parts.photo.frame.hidden ? 1 : 2) + (scene?.charts.length ? 0.8 : 0);
  const free = (parts.root.clientWidth || 640) - 190;
  return Math.max(120, Math.min(360, free / beside - 12));
}

/** @param {View} view @param {number} frame */
function drawTitle({ parts, scene }, frame) {
  if (!scene) return;
  const title = scene.titles[frame] ?? "";
  const where = scene.titles.length > 1 ? `frame ${frame + 1} of ${scene.titles.length}` : "";
  const text = [title.replaceAll("\n", " · "), where].filter(Boolean).join(" · ");
  write(parts.title, text);
  parts.map.canvas.setAttribute("aria-label", `${scene.name}: ${text}. Arrow keys read pixels.`);
}

/** What is being computed, and what went wrong; the picture stays. @param {View} view */
function drawState({ parts, model, kernel }) {
  const busy = kernel === RESTARTED ? "" : String(model.get("busy") || "");
  const done = Number(model.get("progress"));
  parts.root.classList.toggle("vz-working", busy !== "");
  parts.root.setAttribute("aria-busy", String(busy !== ""));
  parts.busy.hidden = busy === "";
  if (busy) {
    // Made once: a button that is replaced between press and release is never clicked.
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

/** @param {HTMLElement} element @param {string} text "" hides the element */
function warn(element, text) {
  element.hidden = text === "";
  write(element, text && `⚠ ${text}`);
}

/** Only buttons that do something. @param {View} view */
function drawTools({ parts, scene, zoom, timer }) {
  const [play, larger, smaller] = /** @type {any} */ (parts.tools.children);
  parts.tools.hidden = !scene?.sizes.length;
  play.hidden = (scene?.titles.length ?? 0) < 2;
  if (play.hidden && timer) play.click();
  larger.disabled = zoom >= LARGEST_ZOOM;
  smaller.disabled = zoom <= 1;
}

/** What is being computed, how far it is, and a button that stops it. @param {Model} model */
function busyParts(model) {
  const stop = make("button", "stop", { type: "button" });
  stop.textContent = "Stop";
  stop.addEventListener("click", () => model.send({ type: "stop" }));
  const words = make("span", "words", { role: "status" });
  return [words, make("progress", "progress", { max: "1" }), stop];
}

/** Thumbnails of all frames; painted anew only when they change, not when one is chosen.
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

/** @param {HTMLCanvasElement} canvas @param {Scene} scene
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

/** @param {View} view @param {number} frame */
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

/** @param {View} view @param {number} frame */
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

// ---------------------------------------------------------------- what hands do

/** Choose a frame by its position: the sliders that are linked to the axes follow.
 * @param {View} view @param {number} frame */
function choose({ model, scene }, frame) {
  if (!scene) return;
  const inside = Math.max(0, Math.min(scene.titles.length - 1, frame));
  chosenAt(scene.axes, inside).forEach((index, i) => model.set(`i${i}`, index));
  model.save_changes();
}

/** @param {View} view */
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

/** @param {View} view @param {HTMLCanvasElement} canvas */
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

/** Buttons that belong to the picture and ask nobody. @param {View} view */
function addTools(view) {
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
  view.parts.tools.append(play);
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

/** JupyterLab takes arrow keys and letters for its own, on all but elements that say this: an arrow
 * on a dropdown would leave for the next cell. @param {Event} event */
function keepKeys({ target }) {
  /** @type {Element} */ (target).setAttribute("data-lm-suppress-shortcuts", "true");
}

/** The names that ipywidgets gave to a search box. @type {WeakMap<Element, string[]>} */
const NAMES = new WeakMap();

/** Suggest words to who types in a search box: a browser by itself matches any part of a name, so
 * that "cat" would bring crates and castles. @param {Event} event */
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

/** Say what is wrong with the kernel, or "". @param {View} view @param {string} text */
function sayOfKernel(view, text) {
  clearTimeout(view.waiting);
  view.waiting = 0;
  view.kernel = text;
  refresh(view);
}

/** Say it when the kernel is gone. JupyterLab and the classic Notebook mark the view; for the others
 * a control that needs the kernel asks for a sign of life. Returns what undoes it.
 * @param {View} view */
function watchKernel(view) {
  const { model, parts } = view;
  const answered = (/** @type {any} */ content) => {
    if (content?.type === "pong") sayOfKernel(view, "");
  };
  // Later: the view is marked by a listener of the front end's own.
  const told = () => setTimeout(() => {
    const dead = parts.root.closest(".jupyter-widgets-disconnected");
    sayOfKernel(view, dead ? RESTARTED : "");
  });
  model.on("msg:custom", answered);
  model.on("comm_live_update", told);
  return () => {
    clearTimeout(view.waiting);
    model.off("msg:custom", answered);
    model.off("comm_live_update", told);
  };
}

/** Listen to the box that holds the view and its controls, once there is one. A front end keeps the
 * box of a closed panel, so that no listener of it may keep the view. @param {View} view */
function listenToBox(view) {
  const box = view.parts.root.closest(".widget-vbox");
  if (!box || box === view.box) return;
  view.box = box;
  /** @param {Event} event */
  const ask = ({ target }) => {
    const needed = /** @type {Element} */ (target).closest(".vizhelpers-request, .vz-stop");
    if (!needed || view.waiting || view.kernel === RESTARTED) return;
    view.waiting = setTimeout(() => sayOfKernel(view, SILENT), PATIENCE);
    view.model.send({ type: "ping" });
  };
  const { signal } = view.leaving;
  box.addEventListener("focusin", keepKeys);
  ["focusin", "input"].forEach((event) => box.addEventListener(event, suggest));
  ["change", "pointerdown", "keydown"].forEach((event) => {
    box.addEventListener(event, ask, { signal });
  });
}

/** Draw a model into an element; returns what undoes it.
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

/** Free what a view holds; some browsers keep what is drawn on a canvas for long.
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

/** A model that lives in the page alone. @param {Record<string, any>} state @returns {Model} */
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
 * @typedef {{ trait: string, name: string, kind: "range" | "choice", labels: string[],
 *   low: number, high: number, step: number }} Control
 * @typedef {{ requests: Axis[], scenes: any[], controls: Control[][],
 *   state: Record<string, any>, blobs: string[] }} Page
 */

/**
 * A page from its JSON; bytes that several scenes share stand there once.
 * @param {string} text
 * @returns {Page}
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

/** One control of a page. @param {Control} control @param {number} value
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

/** The controls of one scene; returns what takes them off the model again.
 * @param {HTMLElement} box @param {Model} model @param {Control[]} controls */
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

/** Bring a saved page to life. @param {HTMLElement} el @param {string} text its JSON */
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

/** The pure functions of `view.js`, on scenes made by hand. Run by `node --test`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { view } from "./load.mjs";

// A colour table that tells its level: red is the level, green its complement, blue is fixed.
const TABLE = Uint8Array.from({ length: 768 }, (_, i) => {
  return [Math.floor(i / 3), 255 - Math.floor(i / 3), 7][i % 3];
});
const AXES = [2, 3, 4].map((length, i) => ({
  name: "abc"[i],
  labels: Array.from({ length }, (_, label) => String(label)),
}));

/** A scene of maps; each frame is its rows of levels, 0..255. */
function maps(frames, { ranges = frames.map(() => [0, 1]), ...more } = {}) {
  return view.unpacked({
    scale: "sequential",
    sizes: frames.map((rows) => [rows.length, rows[0].length]),
    data: Uint8Array.from(frames.flat(2)),
    fine: new Uint8Array(0),
    gaps: frames.map(() => false),
    lo: ranges.map(([low]) => low),
    hi: ranges.map(([, high]) => high),
    limits: ranges,
    group: "all",
    titles: frames.map((_, i) => `frame ${i}`),
    unit: "activation",
    factor: 1,
    lut: TABLE,
    base: new Uint8Array(0),
    base_size: [],
    charts: [],
    ...more,
  });
}

/** Bytes of one channel of a picture. */
function channel({ rgba }, c) {
  return [...rgba].filter((_, i) => i % 4 === c);
}

const reds = (picture) => channel(picture, 0);
const colourised = (values, limits, diverging = false) => {
  return { rgba: view.colourise(Float64Array.from(values), TABLE, limits, diverging) };
};
const stretched = (rows, to) => {
  return [...view.stretch(Float64Array.from(rows.flat()), [rows.length, rows[0].length], to)];
};

// ---------------------------------------------------------------- frames and axes

test("the position of a frame and its indices on the axes are inverses", () => {
  const seen = new Set();
  for (let frame = 0; frame < 24; frame++) {
    const chosen = view.chosenAt(AXES, frame);
    assert.equal(view.frameAt(AXES, chosen), frame);
    seen.add(chosen.join());
  }
  assert.equal(seen.size, 24);
});

test("the first axis is the slowest", () => {
  assert.equal(view.frameAt(AXES, [1, 0, 0]), 12);
  assert.equal(view.frameAt(AXES, [0, 0, 1]), 1);
  assert.deepEqual(view.chosenAt(AXES, 23), [1, 2, 3]);
});

test("an index beyond its axis counts as the nearest, and a missing one as the first", () => {
  assert.equal(view.frameAt(AXES, [9, 0, 0]), 12);
  assert.equal(view.frameAt(AXES, [0, -4, 2]), 2);
  assert.equal(view.frameAt(AXES, [1]), 12);
  assert.equal(view.frameAt([], []), 0);
});

// ---------------------------------------------------------------- values and scales

test("values are read back within 1/255 of the frame's own range, weak beside strong", () => {
  const shares = [0, 0.1234, 0.5, 0.777, 0.9999, 1];
  const levels = shares.map((share) => Math.round(share * 255));
  const ranges = [[-1000, 1000], [0.001, 0.003], [-2, -1]];
  const scene = maps([[levels], [levels], [levels]], { ranges });
  ranges.forEach(([low, high], frame) => {
    const values = view.valuesOf(scene, frame);
    shares.forEach((share, i) => {
      const wrong = Math.abs(values[i] - (low + share * (high - low)));
      assert.ok(wrong <= (high - low) / 255, `frame ${frame}, value ${i}: ${wrong}`);
    });
    assert.deepEqual([values[0], values.at(-1)], [low, high]);
  });
});

test("a constant frame is read back as its constant", () => {
  assert.deepEqual([...view.valuesOf(maps([[[0, 0]]], { ranges: [[3, 3]] }), 0)], [3, 3]);
});

test("the shared scale is the stack's, whatever the frame holds", () => {
  const scene = maps([[[0]], [[0]]], { ranges: [[1, 2], [3, 4]], limits: [[0, 9], [-9, 9]] });
  assert.deepEqual(view.limitsOf(scene, 0, false), [0, 9]);
  assert.deepEqual(view.limitsOf(scene, 1, false), [-9, 9]);
});

test("a sequential scale of a frame's own contains zero", () => {
  const scene = maps([[[0]], [[0]]], { ranges: [[1, 2], [-3, 4]], limits: [[0, 9], [0, 9]] });
  assert.deepEqual(view.limitsOf(scene, 0, true), [0, 2]);
  assert.deepEqual(view.limitsOf(scene, 1, true), [-3, 4]);
});

test("a diverging scale of a frame's own is symmetric about zero", () => {
  const ranges = [[-3, 1], [-1, 3], [2, 5]];
  const scene = maps([[[0]], [[0]], [[0]]], { ranges, scale: "diverging" });
  const found = ranges.map((_, frame) => view.limitsOf(scene, frame, true));
  assert.deepEqual(found, [[-3, 3], [-3, 3], [-5, 5]]);
});

test("the scale is always said in words", () => {
  const words = (group, own) => view.scaleInWords(maps([[[0]]], { group }), own);
  assert.equal(words("all", false), "one scale for all");
  assert.equal(words("layer", false), "one scale for each layer");
  assert.equal(words("frame", false), words("all", true));
  assert.equal(words("layer", true), words("all", true));
  assert.match(words("all", true), /own scale/);
});

// ---------------------------------------------------------------- colours

test("the ends of a scale take the first and the last colour, the middle the middle one", () => {
  const picture = colourised([2, 4, 6], [2, 6]);
  assert.deepEqual(reds(picture), [0, 128, 255]);
  assert.deepEqual(channel(picture, 1), [255, 127, 0]);
  assert.deepEqual(channel(picture, 2), [7, 7, 7]);
  assert.deepEqual(channel(picture, 3), [255, 255, 255]);
});

test("zero takes the middle colour of a symmetric scale", () => {
  assert.deepEqual(reds(colourised([0], [-5, 5], true)), [128]);
});

test("values outside the scale take the colours of its ends", () => {
  assert.deepEqual(reds(colourised([-1e9, 1e9], [0, 1])), [0, 255]);
});

test("a flat scale shows the colour of zero: the first, or the middle of a diverging one", () => {
  assert.deepEqual(reds(colourised([3, 3], [3, 3])), [0, 0]);
  assert.deepEqual(reds(colourised([0, 0], [0, 0], true)), [128, 128]);
});

// ---------------------------------------------------------------- what is no number

const GAPS = { ranges: [[0, 252]], gaps: [true] };

test("the last three levels of a frame with gaps are no numbers, in one colour, and said so", () => {
  const scene = maps([[[0, 252, 253, 254, 255]]], GAPS);
  assert.deepEqual([...view.valuesOf(scene, 0)], [0, 252, -Infinity, Infinity, NaN]);
  const picture = view.pictureOf(scene, 0, { own: false, blend: 100 });
  assert.deepEqual(reds(picture), [0, 255, 105, 105, 105]);
  assert.deepEqual(channel(picture, 1).slice(2), [30, 30, 30]);
  const said = [0, 1, 2, 3, 4].map((column) => view.readout(scene, 0, 0, column).split(": ")[1]);
  assert.deepEqual(said, ["0 (activation)", "252 (activation)", "-Infinity, no number",
    "Infinity, no number", "NaN, no number"]);
});

test("in a frame without gaps the last levels are numbers, also beside a frame that has some", () => {
  const scene = maps([[[253, 255]], [[253, 255]]], {
    ranges: [[0, 255], [0, 252]],
    gaps: [false, true],
  });
  assert.deepEqual([...view.valuesOf(scene, 0)], [253, 255]);
  assert.deepEqual([...view.valuesOf(scene, 1)], [-Infinity, NaN]);
});

test("a second byte makes 65,536 levels, whose last three are the gaps", () => {
  const fine = Uint8Array.from([0, 255, 252, 255]);
  const scene = maps([[[1, 255, 255, 255]]], { ranges: [[0, 65532]], gaps: [true], fine });
  assert.deepEqual([...view.valuesOf(scene, 0)], [256, NaN, 65532, NaN]);
  const whole = maps([[[1, 255]]], { ranges: [[0, 65535]], fine: fine.slice(0, 2) });
  assert.deepEqual([...view.valuesOf(whole, 0)], [256, 65535]);
});

test("stretched, a gap spreads as far as it would count, and no further", () => {
  const found = [...stretched([[1, Infinity, 3, 4]], [1, 8])];
  assert.deepEqual(found, [1, NaN, NaN, NaN, NaN, 3.25, 3.75, 4]);
});

test("a gap laid on a photograph is mixed into it like any other colour", () => {
  const base = Uint8Array.from([201, 201, 201, 201, 201, 201]);
  const scene = maps([[[255, 0]]], { ...GAPS, base, base_size: [1, 2] });
  assert.deepEqual(reds(view.pictureOf(scene, 0, { own: false, blend: 50 })), [153, 101]);
});

// ---------------------------------------------------------------- stretching

test("a map stretched to its own size stays as it is", () => {
  const rows = [[1, -2, 3.5], [4, 0.25, -6]];
  assert.deepEqual(stretched(rows, [2, 3]), rows.flat());
});

test("a constant map stays constant at any size", () => {
  const found = stretched([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], [7, 5]);
  assert.deepEqual(found, Array(35).fill(0.5));
});

test("twice as large, new pixels lie at quarters between the old centres", () => {
  assert.deepEqual(stretched([[0, 4]], [1, 4]), [0, 1, 3, 4]);
  assert.deepEqual(stretched([[0], [4]], [4, 1]), [0, 1, 3, 4]);
  const found = stretched([[0, 4], [8, 12]], [4, 4]);
  assert.deepEqual(found, [0, 1, 3, 4, 2, 3, 5, 6, 6, 7, 9, 10, 8, 9, 11, 12]);
});

test("one pixel fills any size", () => {
  assert.deepEqual(stretched([[3]], [2, 2]), [3, 3, 3, 3]);
});

// ---------------------------------------------------------------- pictures

test("a map is drawn pixel by pixel, on the shared scale or on its own", () => {
  const scene = maps([[[0, 51, 255]], [[0, 51, 255]]], {
    ranges: [[0, 1], [0, 10]],
    limits: [[0, 10], [0, 10]],
  });
  const draw = (frame, own) => view.pictureOf(scene, frame, { own, blend: 100 });
  assert.deepEqual([draw(0, false).height, draw(0, false).width], [1, 3]);
  assert.deepEqual(reds(draw(0, false)), [0, 5, 26]);
  assert.deepEqual(reds(draw(1, false)), [0, 51, 255]);
  assert.deepEqual(reds(draw(0, true)), [0, 51, 255]);
});

test("a diverging map shows zero in the middle colour, shared or own", () => {
  const scene = maps([[[0, 85, 255]]], {
    ranges: [[-1, 2]],
    limits: [[-4, 4]],
    scale: "diverging",
  });
  assert.deepEqual(reds(view.pictureOf(scene, 0, { own: false, blend: 100 })), [96, 128, 191]);
  assert.deepEqual(reds(view.pictureOf(scene, 0, { own: true, blend: 100 })), [64, 128, 255]);
});

test("a flat diverging map is not drawn in a colour that means negative", () => {
  const scene = maps([[[0]]], { ranges: [[0, 0]], scale: "diverging" });
  assert.deepEqual(reds(view.pictureOf(scene, 0, { own: true, blend: 100 })), [128]);
});

test("an rgb frame is drawn as it is, whatever scale or blend is asked for", () => {
  const frames = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]];
  const scene = maps(frames, { scale: "rgb", sizes: [[1, 2], [1, 2]] });
  const picture = view.pictureOf(scene, 1, { own: true, blend: 50 });
  assert.deepEqual([picture.height, picture.width], [1, 2]);
  assert.deepEqual([...picture.rgba], [7, 8, 9, 255, 10, 11, 12, 255]);
});

test("laid on a photograph, a map is mixed into it by its share", () => {
  const base = Uint8Array.from([200, 100, 0, 200, 100, 0]);
  const scene = maps([[[0, 255]]], { base, base_size: [1, 2] });
  const draw = (blend) => [...view.pictureOf(scene, 0, { own: false, blend }).rgba];
  assert.deepEqual(draw(0), [200, 100, 0, 255, 200, 100, 0, 255]);
  assert.deepEqual(draw(50), [100, 178, 4, 255, 228, 50, 4, 255]);
  assert.deepEqual(draw(75), [50, 216, 5, 255, 241, 25, 5, 255]);
  assert.deepEqual(draw(100), [0, 255, 7, 255, 255, 0, 7, 255]);
});

test("at its full share a map is not laid on the photograph, but drawn at its own size", () => {
  const scene = maps([[[0, 255]]], { base: new Uint8Array(24), base_size: [2, 4] });
  const size = (blend) => {
    const { height, width } = view.pictureOf(scene, 0, { own: false, blend });
    return [height, width];
  };
  assert.deepEqual(size(100), [1, 2]);
  assert.deepEqual(size(95), [2, 4]);
});

test("laid on a photograph, numbers are stretched and then coloured, not colours", () => {
  const comb = Uint8Array.from({ length: 768 }, (_, i) => (i >= 150 && i < 600 ? 200 : 0));
  const scene = maps([[[0, 255]]], {
    lut: comb,
    base: new Uint8Array(12),
    base_size: [1, 4],
  });
  const picture = view.pictureOf(scene, 0, { own: false, blend: 50 });
  assert.deepEqual([picture.height, picture.width], [1, 4]);
  assert.deepEqual(reds(picture), [0, 100, 100, 0]);
});

test("without a photograph the map is shown alone at any blend", () => {
  const picture = view.pictureOf(maps([[[0, 255]]]), 0, { own: false, blend: 10 });
  assert.deepEqual(reds(picture), [0, 255]);
});

test("frames of different sizes in one scene each find their own bytes", () => {
  const scene = maps([[[1, 2], [3, 4]], [[5]], [[6, 7, 8]]]);
  const pictures = [0, 1, 2].map((i) => view.pictureOf(scene, i, { own: false, blend: 100 }));
  assert.deepEqual(pictures.map(({ height, width }) => [height, width]), [[2, 2], [1, 1], [1, 3]]);
  assert.deepEqual(pictures.map(reds), [[1, 2, 3, 4], [5], [6, 7, 8]]);
});

test("frames of different sizes are stretched to the one photograph", () => {
  const base = { base: new Uint8Array(12), base_size: [2, 2] };
  const scene = maps([[[0, 0]], [[255], [255], [255]]], base);
  const pictures = [0, 1].map((i) => view.pictureOf(scene, i, { own: false, blend: 50 }));
  assert.deepEqual(pictures.map(reds), [[0, 0, 0, 0], [128, 128, 128, 128]]);
});

// ---------------------------------------------------------------- words

test("a number is written with three digits that count, and no zeros behind them", () => {
  const numbers = [0, 1, 0.5, -0.25, 1.2345, -12.345, 123.456, 0.00123456];
  const written = ["0", "1", "0.5", "-0.25", "1.23", "-12.3", "123", "0.00123"];
  assert.deepEqual(numbers.map((x) => view.inWords(x)), written);
});

test("a number has as many digits as asked for", () => {
  assert.equal(view.inWords(1.23456, 4), "1.235");
  assert.equal(view.inWords(1234, 4), "1234");
});

test("very small and very large numbers are written with a power of ten", () => {
  assert.equal(view.inWords(0.0000123456), "1.23e-5");
  assert.equal(view.inWords(-12345678), "-1.23e+7");
  assert.equal(view.inWords(3e-42, 4), "3.000e-42");
});

test("what stands at a place is its row, its column, its value and the unit", () => {
  const frames = [[[9, 9]], [[0, 51], [102, 255]]];
  const scene = maps(frames, { ranges: [[0, 1], [-1, 4]], unit: "logit\nper pixel" });
  const said = view.readout(scene, 1, 1, 0);
  assert.match(said, /^row 1, column 0: 1\b/);
  assert.match(said, /logit/);
  assert.doesNotMatch(said, /per pixel/);
  assert.match(view.readout(scene, 1, 0, 1), /^row 0, column 1: 0\b/);
  assert.match(view.readout(scene, 1, 1, 1), /^row 1, column 1: 4\b/);
});

test("what stands at a place of an rgb frame is its colour", () => {
  const frames = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]];
  const scene = maps(frames, { scale: "rgb", sizes: [[1, 2], [2, 1]] });
  assert.equal(view.readout(scene, 0, 0, 1), "row 0, column 1: red 4, green 5, blue 6");
  assert.equal(view.readout(scene, 1, 1, 0), "row 1, column 0: red 10, green 11, blue 12");
});

test("rows and columns of a reduced frame are those of the frame before it was reduced", () => {
  const scene = maps([[[0, 0], [0, 0]]], { factor: 4 });
  assert.match(view.readout(scene, 0, 1, 1), /^row 4, column 4:/);
});

// ---------------------------------------------------------------- what comes over the wire

test("bytes come as base64, as a buffer, or as a view of a part of one", () => {
  const whole = Uint8Array.from([9, 0, 128, 255, 9]);
  const parts = [
    "AID/",
    whole.slice(1, 4).buffer,
    whole.subarray(1, 4),
    new DataView(whole.buffer, 1, 3),
  ];
  for (const part of parts) assert.deepEqual([...view.asBytes(part)], [0, 128, 255]);
  for (const nothing of ["", null, undefined]) assert.equal(view.asBytes(nothing).length, 0);
});

test("a view that has no scene yet is told from one that has", () => {
  assert.equal(view.unpacked({}), null);
  assert.equal(view.unpacked(undefined), null);
  assert.notEqual(view.unpacked({ titles: [""], sizes: [] }), null);
});

test("a page's bytes stand there once, and the scenes share them", () => {
  const scene = { data: { blob: 0 }, lut: { blob: 1 }, base: { blob: 2 } };
  const text = JSON.stringify({
    requests: [],
    scenes: [scene, { ...scene, data: { blob: 3 } }],
    controls: [],
    state: { scene: 0 },
    blobs: ["AQI=", "AwQ=", "BQY=", "Bwg="],
  });
  const [first, second] = view.parsed(text).scenes;
  assert.deepEqual([...first.data, ...first.lut, ...first.base], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([...second.data], [7, 8]);
  assert.equal(first.base, second.base);
  assert.equal(first.lut, second.lut);
});

// ---------------------------------------------------------------- the class search

const CLASSES = ["crate", "oxcart", "castle", "catamaran", "tiger cat", "Persian cat"];
const suggested = (typed, names = CLASSES) => view.suggestions(names, typed).map(([name]) => name);

test("a search suggests names with the whole word first, then those that begin with it", () => {
  assert.deepEqual(suggested("cat"), ["tiger cat", "Persian cat", "catamaran"]);
  assert.deepEqual(suggested(" CAT "), suggested("cat"));
  assert.deepEqual(suggested("cat-b", ["tom-cat-b", "tomcat-b"]), ["tom-cat-b"]);
});

test("a search without words or without a match leaves all names to the browser", () => {
  for (const typed of ["", "  ", "xcar", "(", "[a-z]"]) {
    assert.deepEqual(suggested(typed), CLASSES);
  }
});

test("a number suggests the class of this index, unless a name holds it", () => {
  assert.deepEqual(view.suggestions(CLASSES, "4"), [["4", "tiger cat"]]);
  assert.deepEqual(suggested("4", ["4", "0"]), ["4"]);
  assert.deepEqual(suggested("99"), CLASSES);
});

// ---------------------------------------------------------------- a page's own model

test("setting a trait tells whoever follows it, and no one else", () => {
  const model = view.localModel({ i0: 1, i1: 2 });
  const told = [];
  model.on("change:i0", () => told.push(`first ${model.get("i0")}`));
  model.on("change:i0", () => told.push(`second ${model.get("i0")}`));
  model.on("change:i1", () => told.push("i1"));
  model.set("i0", 5);
  assert.deepEqual(told, ["first 5", "second 5"]);
  assert.equal(model.get("i1"), 2);
});

test("setting a trait to what it is tells nobody", () => {
  const model = view.localModel({ i0: 1 });
  let told = 0;
  model.on("change:i0", () => told++);
  model.set("i0", 1);
  assert.equal(told, 0);
  model.set("i0", 2);
  assert.equal(told, 1);
});

test("who stops following is not told any more, and the others still are", () => {
  const model = view.localModel({ i0: 0 });
  const told = [];
  const leaving = () => told.push("leaving");
  model.on("change:i0", leaving);
  model.on("change:i0", () => told.push("staying"));
  model.set("i0", 1);
  model.off("change:i0", leaving);
  model.off("change:nothing", leaving);
  model.set("i0", 2);
  assert.deepEqual(told, ["leaving", "staying", "staying"]);
});

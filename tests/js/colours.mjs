/**
 * The pictures that `view.js` makes, for `tests/test_wire.py` to compare with Python's.
 * stdin: scenes as `wire.pack` returns them, bytes as base64. stdout: the pictures of each scene,
 * for each frame one for each entry of HOW.
 */

import { readFileSync } from "node:fs";
import { view } from "./load.mjs";

const HOW = [false, true].flatMap((own) => [100, 50].map((blend) => ({ own, blend })));

/** @param {{ width: number, height: number, rgba: Uint8ClampedArray }} picture */
function sent({ width, height, rgba }) {
  return { size: [height, width], rgba: Buffer.from(rgba).toString("base64") };
}

const pictures = JSON.parse(readFileSync(0, "utf8")).map((payload) => {
  const scene = view.unpacked(payload);
  const frames = scene.sizes.map((_, frame) => frame);
  return frames.flatMap((frame) => HOW.map((how) => sent(view.pictureOf(scene, frame, how))));
});
process.stdout.write(JSON.stringify(pictures));

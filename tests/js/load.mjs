/**
 * `view.js` as a module. No package.json stands beside it, so that Node before 20.19 would take
 * it for CommonJS; under the name `view.mjs` every Node knows what it is.
 */

import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const source = fileURLToPath(new URL("../../vizhelpers/view/live/view.js", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "vizhelpers-"));
const copy = join(folder, "view.mjs");
await copyFile(source, copy);

export const view = await import(pathToFileURL(copy).href);

await rm(folder, { recursive: true });

/**
 * Writes dist/, a folder that any web server can serve as it is: `node build.js
 * [MODEL.tflite ...]`, with the models in it.
 */

import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";

import { build } from "esbuild";

const FILES = ["litert_wasm_internal", "litert_wasm_compat_internal"];
const litert = createRequire(import.meta.url).resolve("@litertjs/core");
const wasm = join(dirname(litert), "..", "wasm");
const models = process.argv.slice(2);
for (const model of models.filter((path) => !existsSync(path))) {
  console.error(`There is no ${model}.`);
  process.exit(1);
}

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist/wasm", { recursive: true });
for (const name of FILES) {
  for (const end of [".js", ".wasm"]) {
    cpSync(join(wasm, name + end), join("dist/wasm", name + end));
  }
}
cpSync("index.html", "dist/index.html");
await build({
  entryPoints: ["src/page.js"],
  outdir: "dist",
  bundle: true,
  format: "esm",
  minify: true,
  sourcemap: true,
  target: "es2022",
});
for (const model of models) cpSync(model, join("dist", basename(model)));
console.log(
  "edge/web/dist is ready: python3 -m http.server --directory edge/web/dist,\n" +
    "then http://localhost:8000/" +
    (models.length ? `?model=${encodeURIComponent(basename(models[0]))}` : ""),
);

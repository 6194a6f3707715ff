/**
 * Writes a folder that any web server can serve as it is, with the models in
 * it: `node build.js [--out=dist] [MODEL.tflite ...]`. Other files in it stay.
 */

import { cpSync, mkdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { build } from "esbuild";

const FILES = ["litert_wasm_internal", "litert_wasm_compat_internal"];
const litert = createRequire(import.meta.url).resolve("@litertjs/core");
const wasm = join(dirname(litert), "..", "wasm");

const { values, positionals: models } = parseArgs({
  options: { out: { type: "string", default: "dist" } },
  allowPositionals: true,
});
const out = resolve(values.out);
const names = models.map((model) => basename(model));
for (const [place, model] of models.entries()) {
  if (!statSync(model, { throwIfNoEntry: false })?.isFile()) {
    console.error(`There is no file ${model}.`);
    process.exit(1);
  }
  if (names.indexOf(names[place]) !== place) {
    console.error(`Two files are called ${names[place]}.`);
    process.exit(1);
  }
}

// What else lies there stays: it may be anything, a model to be built in too.
rmSync(join(out, "wasm"), { recursive: true, force: true });
mkdirSync(join(out, "wasm"), { recursive: true });
for (const name of FILES) {
  for (const end of [".js", ".wasm"]) {
    cpSync(join(wasm, name + end), join(out, "wasm", name + end));
  }
}
cpSync("index.html", join(out, "index.html"));
await build({
  entryPoints: ["src/page.js"],
  outdir: out,
  bundle: true,
  format: "esm",
  minify: true,
  sourcemap: true,
  target: "es2022",
});
for (const [place, model] of models.entries()) {
  const target = join(out, names[place]);
  if (resolve(model) !== target) cpSync(model, target);
}
const page = models.length
  ? `index.html?model=${encodeURIComponent(names[0])}`
  : "";
console.log(
  `Ready: python3 -m http.server --directory ${out}\n` +
    `then http://localhost:8000/${page}`,
);

// Runs edge/web/src in Node.js for web_test.py, which stands in for a browser:
// `node web_run.mjs REQUEST ANSWER`, two JSON files. A request is a list of
// calls; each is answered with `{value}` or `{error}`.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInThisContext } from "node:vm";

const web = join(dirname(fileURLToPath(import.meta.url)), "../../edge/web");
const wasm = join(web, "node_modules/@litertjs/core/wasm/");

// LiteRT.js loads its WebAssembly as a page or a worker would.
globalThis.self = globalThis;
globalThis.navigator ??= {};
globalThis.require = createRequire(import.meta.url);
globalThis.__filename = join(wasm, "litert_wasm_internal.js");
globalThis.__dirname = wasm;
globalThis.importScripts = (path) =>
  runInThisContext(readFileSync(path, "utf8"), { filename: path });

const litert = join(web, "node_modules/@litertjs/core/dist/index.js");
const { CompiledModel } = await import(litert);
const frames = await import(join(web, "src/frames.js"));
const { readModel } = await import(join(web, "src/manifest.js"));
const { Recognizer } = await import(join(web, "src/recognizer.js"));
const { clipTimes } = await import(join(web, "src/video.js"));

/** Frames out of a file of uint8 values. */
function readFrames({ file, count, height, width, channels, type }) {
  const data = new Uint8Array(readFileSync(file));
  const length = data.length / count;
  return Array.from({ length: count }, (_, i) => {
    const part = data.subarray(i * length, (i + 1) * length);
    const frame = channels === 4 ? part : addAlpha(part);
    const pixels = type ? globalThis[type].from(frame) : frame;
    return { data: pixels, width, height };
  });
}

function addAlpha(rgb) {
  const rgba = new Uint8ClampedArray((rgb.length / 3) * 4).fill(255);
  rgb.forEach((value, i) => (rgba[Math.trunc(i / 3) * 4 + (i % 3)] = value));
  return rgba;
}

function load({ model, options = {} }) {
  const source = model && new Uint8Array(readFileSync(model));
  return Recognizer.load(source, { wasm, ...options });
}

const CALLS = {
  sampleIndices: ({ given }) => frames.sampleIndices(...given),
  clipTimes: ({ given }) => clipTimes(...given),
  cut: ({ clip, given, rgb }) =>
    readFrames(clip).map((frame) => {
      const data = rgb ? frames.toRgb(frame) : frame.data;
      return Array.from(frames.cutFrame({ ...frame, data }, ...given).data);
    }),
  standardize: ({ clip, how }) => {
    const values = new Uint8Array(readFileSync(clip.file));
    frames.standardize(values, clip.count, how);
    return Array.from(values);
  },
  manifest: async ({ model }) =>
    (await readModel(new Uint8Array(readFileSync(model)))).manifest.labels,
  about: async (call) => {
    const { labels, clipShape, hop, window, fps } = await load(call);
    return [labels, clipShape, hop, window, fps];
  },
  named: async (call) => (await load(call)).named(call.given[0], call.top),
  frameNumbers: async (call) => (await load(call)).frameNumbers(...call.given),
  clipOf: async (call) =>
    Array.from((await load(call)).clipOf(readFrames(call.clip))),
  makeClip: async (call) =>
    Array.from((await load(call)).makeClip(readFrames(call.clip))),
  scores: async (call) => {
    const clip = new Uint8Array(readFileSync(call.clip.file));
    return Array.from(await (await load(call)).scores(clip));
  },
  failed: async (call) => {
    const recognizer = await load(call);
    const clip = new Uint8Array(readFileSync(call.clip.file));
    const whole = clip.subarray.bind(clip);
    clip.subarray = (from, to) => {
      if (from >= call.given[0]) throw new Error("no memory");
      return whole(from, to);
    };
    const message = await recognizer.scores(clip).catch((e) => e.message);
    const scores = await recognizer.push(readFrames(call.clip)[0]);
    return [message, Array.from(scores)];
  },
  kept: async (call) => {
    const recognizer = await load(call);
    const clip = new Uint8Array(readFileSync(call.clip.file));
    let given;
    const { run } = CompiledModel.prototype;
    CompiledModel.prototype.run = async (inputs) => {
      given = Object.values(inputs);
      throw new Error("no memory");
    };
    const message = await recognizer.scores(clip).catch((e) => e.message);
    CompiledModel.prototype.run = run;
    return [message, given.map((tensor) => tensor.deleted)];
  },
  classify: async (call) =>
    (await load(call)).classify(readFrames(call.clip), call.top),
  method: async (call) => {
    const recognizer = await load(call);
    const [frame] = readFrames(call.clip);
    const [method, ...given] = call.given;
    const values = given.map((value) => (value === "frame" ? frame : value));
    return recognizer[method](...values);
  },
  closed: async (call) => {
    const recognizer = await load(call);
    const [frame] = readFrames(call.clip);
    const found = recognizer.push(frame);
    await Promise.all([recognizer.close(), recognizer.close(), found]);
    return recognizer[call.given[0]](call.given[0] === "push" ? frame : {});
  },
  push: async (call) => {
    const recognizer = await load(call);
    // All at once: they must queue up.
    const found = await Promise.all(
      readFrames(call.clip).map((frame, i) =>
        recognizer.push(frame, { seconds: call.seconds?.[i] }),
      ),
    );
    await recognizer.reset();
    const again = await recognizer.push(readFrames(call.clip)[0]);
    await recognizer.close();
    return [...found, again].map((scores) => scores && Array.from(scores));
  },
};

const [request, answer] = process.argv.slice(2);
const answers = [];
for (const call of JSON.parse(readFileSync(request, "utf8"))) {
  try {
    answers.push({ value: await CALLS[call.do](call) });
  } catch (error) {
    answers.push({ error: error.message });
  }
}
writeFileSync(answer, JSON.stringify(answers));
process.exit(0);

/**
 * Runs an exported model in a browser: frames in, labels out. What it does
 * with frames, and how `push` paces them, is that of autox3d_edge.Recognizer.
 */

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

import {
  cutFrame,
  roundHalfEven,
  sampleIndices,
  standardize,
  toRgb,
} from "./frames.js";
import { checkKind, isCount, KIND, readModel } from "./manifest.js";

const FRAME = "frame"; // tensors of a stream
const SCORES = "scores";
const SCORE_STEP = 1 / 256; // of a uint8 softmax, by TFLite's specification
const PACE = ["hop", "window", "fps"]; // options
const MOST_FPS = 1000; // more are thousandths, or no rate of a video
const MOST_WINDOW = 1e6; // frames: `push` keeps as many
const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

let runtime; // one for the page, by LiteRT.js's own rule

/**
 * Names what happens in a video, with one exported .tflite file.
 *
 * Has also `manifest`, `clipShape` (`[frames, height, width, 3]`), `hop`,
 * `window` and `fps`, as given or their defaults; `fps` is that of the training
 * videos then, 0 if not known.
 */
export class Recognizer {
  #compiled;
  #input;
  #inputs;
  #frames;
  #pushed;
  #due; // which the network looks at next
  #seconds;
  #began;
  #latest;
  #turn = Promise.resolve();
  #closed;

  /**
   * @param {string|Blob|ArrayBuffer|Uint8Array} source Address or content of a
   *     file that autox3d-export wrote; of a stream, the one with uint8 states.
   * @param {object} options
   *   - wasm: Address of the folder with LiteRT.js's WebAssembly files.
   *   - hop: `push` runs the network at every `hop`-th frame. By default at
   *     those that a stream was trained on; a network of whole clips at every
   *     quarter of its window.
   *   - window: Frames that a network of whole clips looks back on in `push`;
   *     by default those that a clip of its training spans. At most 1,000,000.
   *   - fps: Frames per second of what `push` and `classify` get, for these
   *     defaults to last as long as in training; at most 1000.
   * @return {Promise<Recognizer>}
   * @throws {Error} The file is missing, cut short, changed or not ours, or a
   *     browser cannot run it.
   */
  static async load(source, options = {}) {
    checkOptions(options, ["wasm", ...PACE]);
    const { wasm = "wasm/", ...pace } = options;
    const { model, manifest } = await readModel(await bytesOf(source));
    const states = manifest.stream?.states ?? [];
    const unknown = states.find((state) => !(state.dtype in ARRAYS));
    if (unknown) {
      throw new Error(
        `Browsers take no ${unknown.dtype} tensors, as the states of this ` +
          "stream are; take the int8 stream that is not called native.",
      );
    }
    await loadRuntime(wasm);
    const compiled = await loadAndCompile(model, { accelerator: "wasm" });
    try {
      return new Recognizer(compiled, manifest, pace);
    } catch (error) {
      compiled.delete();
      throw error;
    }
  }

  /** For `load`. */
  constructor(compiled, manifest, pace) {
    const { stream, preprocessing } = manifest;
    this.manifest = manifest;
    this.#compiled = compiled;
    const inputs = compiled.getInputDetails();
    this.#input = stream
      ? inputs.find((detail) => detail.name === FRAME)
      : inputs[0];
    const { clip_frames: frames, crop_size: size } = preprocessing;
    this.clipShape = [frames, size, size, 3];
    if (stream) checkStates(stream.states, compiled);
    checkLabels(manifest.labels, compiled, stream);
    const fits = [stream ? 1 : frames, size, size, 3];
    if (this.#input.shape.join() !== fits.join()) {
      throw new Error(
        "The manifest must fit its network, which takes frames of shape " +
          `${this.#input.shape}. Received: ${fits}. Export the model again.`,
      );
    }
    this.#pace(pace);
    this.#reset();
  }

  /** Names of the classes, in the order of the scores. */
  get labels() {
    return this.manifest.labels;
  }

  /**
   * Takes one more frame of a video; returns the latest scores.
   *
   * A stream has scores from the first frame on. A network of whole clips has
   * none until `window` frames are there; then it looks at a clip of the last
   * `window` frames at every `hop`-th frame. In between, the scores stay what
   * they were.
   *
   * @param {ImageData} frame Of any size; see frames.js. Its pixels are read
   *     when those before it are done: leave them as they are until then.
   * @param {object} options
   *   - seconds: When it was seen, by any clock, such as
   *     `performance.now() / 1000`. `window` and `hop` then count frames at
   *     `fps`, however many come: those beyond are left out, for those that
   *     are missing a network of whole clips holds the one before. A stream
   *     leaves the looks out that it missed: where each takes too long, more
   *     of them would fall behind for good.
   * @return {Promise<Float32Array|null>} `(classes,)`; null before the first
   *     look.
   */
  async push(frame, options = {}) {
    checkOptions(options, ["seconds"]);
    const { seconds } = options;
    checkFrame(frame);
    return this.#inTurn(async () => {
      const count = seconds == null ? 1 : this.#countUntil(seconds);
      if (count) await this.#push(frame, count);
      return this.#latest?.slice() ?? null;
    });
  }

  /**
   * Returns `[label, probability]` pairs, most probable first.
   *
   * What was pushed to a stream before is forgotten.
   *
   * @param {ImageData[]} frames All frames of a video, in order.
   * @param {number} top How many pairs; all by default.
   */
  async classify(frames, top) {
    return this.named(await this.scores(this.makeClip(frames)), top);
  }

  /**
   * Samples, scales and crops the frames of a whole video: uint8 RGB,
   * `clipShape`. Frames of the shape of a clip, as `cut` makes them, are not
   * sampled, scaled or cropped.
   */
  makeClip(frames) {
    if (!Array.isArray(frames) || !frames.length) {
      throw new Error(
        "`frames` must be an array of frames, not empty. " +
          `Received: ${frames?.constructor?.name}.`,
      );
    }
    for (const frame of frames) checkFrame(frame); // what is left out, too
    const [count, size] = this.clipShape;
    if (
      frames.length === count &&
      frames.every(({ width, height }) => width === size && height === size)
    ) {
      return this.#join(frames.map(toRgb));
    }
    const numbers = this.frameNumbers(frames.length);
    return this.clipOf(numbers.map((number) => frames[number]));
  }

  /**
   * Numbers of the frames that a clip is made of, for `clipOf`, so that no
   * others need to be decoded.
   *
   * @param {number} count Frames of the video.
   * @param {number} fps Frames per second of it; by default, or if 0, those of
   *     the recognizer.
   * @return {number[]}
   */
  frameNumbers(count, fps) {
    checkCounts({ count });
    if (fps != null && fps !== 0) checkFps(fps);
    const { preprocessing } = this.manifest;
    return sampleIndices(
      preprocessing.sampling,
      count,
      this.clipShape[0],
      strideAt(preprocessing, fps || this.fps),
    );
  }

  /** Scales and crops sampled frames, those of `frameNumbers`. */
  clipOf(sampled) {
    const [count] = this.clipShape;
    const isArray = Array.isArray(sampled);
    if (!isArray || sampled.length !== count) {
      const received = isArray ? sampled.length : sampled?.constructor?.name;
      throw new Error(
        `\`sampled\` must be the ${count} frames of a clip. ` +
          `Received: ${received}.`,
      );
    }
    for (const frame of sampled) checkFrame(frame);
    return this.#join(sampled.map((frame) => this.cut(frame).data));
  }

  /** Scales a frame and cuts out the centre; RGB, as large as in a clip. */
  cut(frame) {
    const wanted = this.manifest.preprocessing;
    return cutFrame(
      frame,
      wanted.short_side,
      wanted.crop_size,
      wanted.squash,
    );
  }

  /**
   * Returns the Float32Array of scores of one prepared clip.
   *
   * What was pushed to a stream before is forgotten.
   *
   * @param {Uint8Array} clip As of `makeClip`.
   */
  async scores(clip) {
    if (!(clip instanceof Uint8Array)) {
      throw new Error("`clip` must be a Uint8Array, as of `makeClip`.");
    }
    checkLength(clip, this.clipShape);
    return this.#inTurn(async () => {
      if (!this.manifest.stream) return this.#runClip(clip);
      this.#reset();
      const [count] = this.clipShape;
      const length = clip.length / count;
      try {
        let scores;
        for (let number = 0; number < count; number++) {
          const from = number * length;
          scores = await this.#runFrame(clip.subarray(from, from + length));
        }
        return scores;
      } finally {
        this.#reset(); // of a run that failed half way, too
      }
    });
  }

  /** Returns `[label, probability]` pairs, most probable first. */
  named(scores, top) {
    const classes = this.labels.length;
    if (scores?.length !== classes) {
      const received =
        scores?.length ?? "null, as of `push` before it has looked";
      throw new Error(
        `\`scores\` must be ${classes} numbers, one per class. ` +
          `Received: ${received}.`,
      );
    }
    checkCounts({ top: top ?? classes });
    const order = Array.from(scores.keys());
    order.sort((a, b) => scores[b] - scores[a]);
    const first = order.slice(0, top ?? classes);
    return first.map((i) => [this.labels[i], scores[i]]);
  }

  /**
   * Forgets the frames that were pushed.
   *
   * @param {object} options `hop`, `window` and `fps` from here on, as of
   *     `load`; without, they stay.
   */
  async reset(options) {
    return this.#inTurn(() => {
      if (options) this.#pace(options);
      this.#reset();
    });
  }

  /** Frees the memory of the model, once the calls before it are done. */
  close() {
    this.#closed ??= this.#inTurn(() => {
      freeAll(this.#inputs);
      this.#compiled.delete();
    });
    return this.#closed;
  }

  /** One call after the other: they share the state of the stream. */
  #inTurn(call) {
    if (this.#closed) {
      throw new Error("This recognizer is closed. Load the model again.");
    }
    const result = this.#turn.then(call);
    this.#turn = result.catch(() => {});
    return result;
  }

  #pace(options) {
    checkOptions(options, PACE);
    let { hop, window, fps } = options;
    if (fps != null) checkFps(fps);
    const { stream, preprocessing } = this.manifest;
    const stride = strideAt(preprocessing, fps);
    const spanned = preprocessing.clip_frames * Math.max(1, stride);
    window ??= roundHalfEven(spanned);
    const looks = stream
      ? atRate(stream.stride, stream.stride * stream.fps, fps)
      : Math.trunc(window / 4);
    hop ??= Math.max(1, roundHalfEven(looks));
    checkCounts({ window, hop });
    if (!stream) checkWindow(window);
    Object.assign(this, { window, hop });
    this.fps = fps || preprocessing.fps || preprocessing.stride_fps;
  }

  #reset() {
    this.#frames = [];
    this.#pushed = 0;
    this.#due = this.manifest.stream ? 1 : this.window;
    this.#seconds = -Infinity;
    this.#latest = null;
    freeAll(this.#inputs ?? {});
    this.#inputs = {};
    for (const state of this.manifest.stream?.states ?? []) {
      const values = new ARRAYS[state.dtype](product(state.shape));
      this.#inputs[state.input] = new Tensor(
        values.fill(state.initial),
        state.shape,
      );
    }
  }

  /** Takes the last of `count` frames; the others were not seen. */
  async #push(frame, count) {
    const pushed = this.#pushed + count;
    const looks = pushed >= this.#due;
    const { stream, preprocessing } = this.manifest;
    // A frame counts once nothing can fail that is its own.
    const data = stream && !looks ? null : this.cut(frame).data;
    if (!stream) {
      const held = this.#frames.at(-1) ?? data;
      for (let i = Math.min(count, this.window); i > 1; i--) {
        this.#frames.push(held);
      }
      this.#frames.push(data);
      this.#frames.splice(0, Math.max(0, this.#frames.length - this.window));
    }
    this.#pushed = pushed;
    if (!looks) return;
    this.#due += this.hop * (Math.floor((pushed - this.#due) / this.hop) + 1);
    if (stream) {
      standardize(data, 1, preprocessing.standardize);
      this.#latest = await this.#runFrame(data);
    } else {
      this.#latest = await this.#runClip(this.#windowClip());
    }
  }

  /** Frames at `fps` from the last one that was pushed to `seconds`. */
  #countUntil(seconds) {
    if (!this.fps) {
      throw new Error(
        "`seconds` need a frame rate, and the model knows none. Say `fps`.",
      );
    }
    if (!Number.isFinite(seconds) || seconds < this.#seconds) {
      throw new Error(
        "`seconds` must be a number and not fall until `reset`. " +
          `Received: seconds=${seconds}, after ${this.#seconds}.`,
      );
    }
    if (this.#seconds === -Infinity) {
      this.#began = seconds - this.#pushed / this.fps;
    }
    this.#seconds = seconds;
    const place = roundHalfEven((seconds - this.#began) * this.fps);
    return Math.max(0, place + 1 - this.#pushed);
  }

  #windowClip() {
    const [count] = this.clipShape;
    const { sampling } = this.manifest.preprocessing;
    const apart = this.window / count;
    const places = sampleIndices(sampling, this.window, count, apart);
    return this.#join(places.map((place) => this.#frames[place]));
  }

  /** One clip of the RGB values of its frames. */
  #join(frames) {
    const clip = new Uint8Array(product(this.clipShape));
    frames.forEach((values, i) => clip.set(values, i * values.length));
    const { standardize: how } = this.manifest.preprocessing;
    standardize(clip, frames.length, how);
    return clip;
  }

  /** The outputs for the values of a clip or frame, and for the states. */
  async #run(values) {
    const { name } = this.#input;
    const input = this.#tensor(values);
    try {
      return await this.#compiled.run({ ...this.#inputs, [name]: input });
    } finally {
      input.delete(); // of a run that failed, too
    }
  }

  async #runClip(clip) {
    const outputs = await this.#run(clip);
    const [scores] = Object.values(outputs).map(toScores);
    freeAll(outputs);
    return scores;
  }

  async #runFrame(frame) {
    const outputs = await this.#run(frame);
    freeAll(this.#inputs);
    for (const state of this.manifest.stream.states) {
      this.#inputs[state.input] = outputs[state.output];
    }
    const scores = toScores(outputs[SCORES]);
    outputs[SCORES].delete();
    return scores;
  }

  #tensor(values) {
    const { dtype, shape } = this.#input;
    checkLength(values, shape);
    return new Tensor(ARRAYS[dtype].from(values), shape);
  }
}

async function loadRuntime(wasm) {
  runtime ??= loadLiteRt(wasm);
  try {
    await runtime;
  } catch (error) {
    runtime = undefined; // The next call may name another folder.
    throw new Error(
      `Cannot load LiteRT.js from ${wasm}: ${error.message ?? "not there"}.`,
      { cause: error },
    );
  }
}

/** Returns the Blob at an address. */
export async function fetchBlob(address) {
  const response = await fetch(address).catch((error) => ({
    status: error.message,
  }));
  if (!response.ok) {
    throw new Error(`Cannot read ${address}: ${response.status}.`);
  }
  return response.blob();
}

async function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (!(source instanceof Blob) && (typeof source !== "string" || !source)) {
    throw new Error(
      "`source` must be an address, a Blob, an ArrayBuffer or a Uint8Array. " +
        `Received: ${source}.`,
    );
  }
  const blob = source instanceof Blob ? source : await fetchBlob(source);
  // Before all of it: a file that is no model may be larger than memory.
  checkKind(await blob.slice(...KIND).text(), blob.size);
  return new Uint8Array(await blob.arrayBuffer());
}

function checkLength(clip, shape) {
  if (clip.length !== product(shape)) {
    throw new Error(
      `\`clip\` must have ${product(shape)} values. ` +
        `Received: ${clip.length}.`,
    );
  }
}

function checkCounts(counts) {
  for (const [name, value] of Object.entries(counts)) {
    if (!isCount(value)) {
      throw new Error(
        `\`${name}\` must be a positive integer. Received: ${value}.`,
      );
    }
  }
}

function checkOptions(options, known) {
  const isObject = typeof options === "object" && options !== null;
  const unknown = isObject
    ? Object.keys(options).filter((name) => !known.includes(name))
    : [String(options)];
  if (unknown.length) {
    throw new Error(
      `Options must be an object of some of ${known.join(", ")}. ` +
        `Received: ${unknown}.`,
    );
  }
}

function checkFps(fps) {
  if (!(typeof fps === "number" && fps > 0 && fps <= MOST_FPS)) {
    throw new Error(
      `\`fps\` must be a positive number, at most ${MOST_FPS}. ` +
        `Received: fps=${fps}.`,
    );
  }
}

function checkWindow(window) {
  if (window > MOST_WINDOW) {
    throw new Error(
      `\`window\` must be at most ${MOST_WINDOW} frames. ` +
        `Received: window=${window}.`,
    );
  }
}

function checkLabels(labels, compiled, stream) {
  const outputs = compiled.getOutputDetails();
  const scores = stream
    ? outputs.find((detail) => detail.name === SCORES)
    : outputs[0];
  if (scores?.shape.at(-1) !== labels.length) {
    throw new Error(
      `The manifest must name the ${scores?.shape.at(-1)} classes of the ` +
        `model. Received: ${labels.length} labels.`,
    );
  }
}

/** A state that nobody feeds would be zeros, or what memory holds. */
function checkStates(states, compiled) {
  for (const [what, main, details] of [
    ["input", FRAME, compiled.getInputDetails()],
    ["output", SCORES, compiled.getOutputDetails()],
  ]) {
    const named = [main, ...states.map((state) => state[what])].sort();
    const there = details.map((detail) => detail.name).sort();
    if (named.join() !== there.join()) {
      throw new Error(
        `The manifest must name the tensors of the model, which are ${there}. ` +
          `Received: ${named}.`,
      );
    }
  }
}

function checkFrame(frame) {
  const { data, width, height } = frame ?? {};
  const isBytes =
    data instanceof Uint8Array || data instanceof Uint8ClampedArray;
  const pixels = isCount(width) && isCount(height) ? width * height : NaN;
  if (!isBytes || ![3 * pixels, 4 * pixels].includes(data.length)) {
    throw new Error(
      "A frame must be ImageData, or {data, width, height} of uint8 RGB. " +
        `Received: ${width} x ${height}, ${data?.length} values ` +
        `(${data?.constructor?.name}).`,
    );
  }
}

/** Frames of a video at `fps` per frame of a clip, as long as in training. */
function strideAt({ stride, stride_fps, fps: usual }, fps) {
  const known = stride_fps || inThousandths(usual);
  return atRate(stride, known, inThousandths(fps || usual));
}

/** Three digits, as lists of clips have them. */
function inThousandths(fps) {
  return Math.floor(fps * 1000 + 0.5) / 1000;
}

/** Frames at `fps` that last as long as `count` at the `known` rate. */
function atRate(count, known, fps) {
  // Of equal rates exactly so many: what is a bit less, is a frame earlier.
  const changes = fps && known && fps !== known;
  return changes ? (count * fps) / known : count;
}

function toScores(tensor) {
  const values = tensor.toTypedArray();
  const step = tensor.type.dtype === "uint8" ? SCORE_STEP : 1;
  return Float32Array.from(values, (value) => value * step);
}

function freeAll(tensors) {
  Object.values(tensors).forEach((tensor) => tensor.delete());
}

function product(shape) {
  return shape.reduce((total, size) => total * size, 1);
}

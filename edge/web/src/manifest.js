/**
 * What a .tflite says about itself: a zip appended behind the flatbuffer, as
 * edge/autox3d_edge/manifest.py writes it.
 */

const FORMAT = "autox3d_edge";
const SCHEMA_VERSION = 1;
const NAME = "manifest.json";
export const KIND = [4, 8]; // where a flatbuffer says what it is
const FIELDS = ["labels", "precision"];
const COUNTS = ["clip_frames", "short_side", "crop_size"];
const OLDER = {
  stride: 1,
  stride_fps: 0,
  fps: 0,
  squash: false,
  standardize: false,
};
const OLDER_STREAM = { stride: 1, fps: 0 };
const STANDARDIZE = [false, true, "frame"];
const STATE_TYPES = new Map([
  // Least and largest value before the first frame.
  ["uint8", [0, 255]],
  ["int8", [-128, 127]],
  ["int32", [-(2 ** 31), 2 ** 31 - 1]],
  ["float32", [0, 0]],
]);
const MOST_BYTES = 16 << 20; // of an entry: it is not to fill the memory

// Of the zip format (APPNOTE.TXT 4.3): signature and length of each record.
const END = [0x06054b50, 22];
const ENTRY = [0x02014b50, 46];
const FILE = [0x04034b50, 30];
const STORED = 0;
const DEFLATED = 8;

/**
 * Checks a whole file before an interpreter sees any of it.
 *
 * @param {Uint8Array} bytes The file.
 * @return {Promise<{model: Uint8Array, manifest: object}>} The flatbuffer and
 *     the fields of autox3d_edge.manifest.ModelManifest.
 * @throws {Error} The file is cut short, changed, or not ours.
 */
export async function readModel(bytes) {
  checkKind(text(bytes.subarray(...KIND)), bytes.length);
  const manifest = parse(await unzip(bytes, NAME));
  if (manifest?.format !== FORMAT) {
    throw new Error(`This file was not exported by ${FORMAT}.`);
  }
  if (manifest.schema_version !== SCHEMA_VERSION) {
    throw new Error(
      "Cannot read the manifest of this file. Expected: schema_version=" +
        `${SCHEMA_VERSION}. Received: ${manifest.schema_version}.`,
    );
  }
  // Older files lack some of these.
  manifest.preprocessing = { ...OLDER, ...manifest.preprocessing };
  if (manifest.stream != null) {
    manifest.stream = { ...OLDER_STREAM, ...manifest.stream };
  }
  checkFields(manifest);
  const model = bytes.slice(0, manifest.model_bytes);
  if ((await sha256(model)) !== manifest.model_sha256) {
    throw new Error(
      "This file is damaged: its model was changed after export.",
    );
  }
  return { model, manifest };
}

/** Throws unless the bytes at `KIND` of a file are those of a .tflite. */
export function checkKind(kind, size) {
  if (kind !== "TFL3") {
    throw new Error(`This is not a .tflite file (${size} bytes).`);
  }
}

function parse(bytes) {
  try {
    return JSON.parse(text(bytes));
  } catch {
    throw new Error("This file is damaged: its manifest is not JSON.");
  }
}

function isListOfTexts(value) {
  return Array.isArray(value) && value.every((x) => typeof x === "string");
}

function checkFields(manifest) {
  const missing = new Set(FIELDS.filter((name) => !(name in manifest)));
  const need = (name, isThere) => {
    if (!isThere) missing.add(name);
  };
  need("labels", isListOfTexts(manifest.labels));
  need("model_bytes", Number.isInteger(manifest.model_bytes));
  needPreprocessing(manifest.preprocessing, need);
  if (manifest.stream != null) needStream(manifest.stream, need);
  if (missing.size) {
    throw new Error(
      "The manifest of this file is incomplete; export the model again. " +
        `Missing: ${[...missing].join(", ")}.`,
    );
  }
}

/** What autox3d_edge.manifest.Preprocessing checks. */
function needPreprocessing(wanted, need) {
  for (const name of COUNTS) need(name, isCount(wanted[name]));
  need("crop_size", !(wanted.crop_size > wanted.short_side));
  need("sampling", ["segment", "dense"].includes(wanted.sampling));
  const isDense = wanted.sampling === "dense";
  need("stride", isDense ? isCount(wanted.stride) : isFrom(1, wanted.stride));
  for (const name of ["stride_fps", "fps"]) need(name, isFrom(0, wanted[name]));
  need("squash", typeof wanted.squash === "boolean");
  need("standardize", STANDARDIZE.includes(wanted.standardize));
}

/** What autox3d_edge.manifest.Stream and StreamState check. */
function needStream(stream, need) {
  for (const name of ["memory", "stride"]) need(name, isCount(stream[name]));
  need("fps", isFrom(0, stream.fps));
  const isList = Array.isArray(stream.states);
  need("states", isList);
  for (const state of isList ? stream.states : []) {
    for (const name of ["input", "output"]) {
      need(name, typeof state?.[name] === "string");
    }
    const { shape, dtype, initial } = state ?? {};
    need("shape", Array.isArray(shape) && shape.every(isCount));
    need("dtype", STATE_TYPES.has(dtype));
    const [least, largest] = STATE_TYPES.get(dtype) ?? [];
    const isWithin = least <= initial && initial <= largest;
    need("initial", Number.isInteger(initial) && isWithin);
  }
}

/** Whether a value is an integer of at least 1. */
export function isCount(value) {
  return Number.isInteger(value) && value >= 1;
}

function isFrom(least, value) {
  return Number.isFinite(value) && value >= least;
}

/** Returns the content of one entry of the zip at the end of `bytes`. */
async function unzip(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = bytes.length - END[1];
  if (end < 0 || view.getUint32(end, true) !== END[0]) {
    throw new Error(
      "This file has no manifest: it was cut short, or not exported by " +
        `${FORMAT}.`,
    );
  }
  try {
    return await readEntry(bytes, view, end, name);
  } catch (error) {
    throw new Error(
      "This file is damaged: its manifest cannot be unpacked " +
        `(${error.message}).`,
      { cause: error },
    );
  }
}

async function readEntry(bytes, view, end, name) {
  const directory = end - view.getUint32(end + 12, true);
  const start = directory - view.getUint32(end + 16, true);
  let at = directory;
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    check(
      view.getUint32(at, true) === ENTRY[0],
      "no entry where one should be",
    );
    const length = view.getUint16(at + 28, true);
    if (text(bytes.subarray(at + ENTRY[1], at + ENTRY[1] + length)) === name) {
      const file = start + view.getUint32(at + 42, true);
      check(view.getUint32(file, true) === FILE[0], "its entry is elsewhere");
      const from =
        file +
        FILE[1] +
        view.getUint16(file + 26, true) +
        view.getUint16(file + 28, true);
      const packed = bytes.subarray(from, from + view.getUint32(at + 20, true));
      const content = await unpack(packed, view.getUint16(at + 10, true));
      check(crc32(content) === view.getUint32(at + 16, true), "bad checksum");
      return content;
    }
    at +=
      ENTRY[1] +
      length +
      view.getUint16(at + 30, true) +
      view.getUint16(at + 32, true);
  }
  throw new Error(`no ${name}`);
}

async function unpack(packed, method) {
  if (method === STORED) return packed;
  check(method === DEFLATED, `compression method ${method}`);
  const stream = new Blob([packed])
    .stream()
    .pipeThrough(new DecompressionStream("deflate-raw"));
  const parts = [];
  let size = 0;
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    size += value.length;
    check(size <= MOST_BYTES, `more than ${MOST_BYTES} bytes`);
    parts.push(value);
  }
}

function check(condition, message) {
  if (!condition) throw new Error(message);
}

function text(bytes) {
  return new TextDecoder().decode(bytes);
}

/** CRC-32 of ISO 3309, which zip takes. */
function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
  }
  return ~crc >>> 0;
}

async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new Error(
      "Cannot check the model: the page must come from https:// or localhost.",
    );
  }
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/**
 * Which frames and which pixels of a video make a clip, step by step as
 * autox3d_tf/data/sampling.py does it, down to the rounding.
 *
 * A frame is `{data, width, height}`, as ImageData: uint8, RGBA or RGB, row by
 * row.
 */

const MEAN = 0.45; // of each channel, and
const DEVIATION = 0.225; // of pixels in [0, 1], as networks expect them

/** Rounds halves to the even neighbour, as numpy and Python do. */
export function roundHalfEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** Frame numbers of a clip under the sampling "segment" or "dense". */
export function sampleIndices(sampling, numFrames, clipFrames, stride = 1) {
  const last = numFrames - 1;
  if (sampling === "segment") {
    return Array.from({ length: clipFrames }, (_, i) =>
      Math.min(last, Math.trunc(((i + 0.5) * numFrames) / clipFrames)),
    );
  }
  const reach = Math.trunc((clipFrames - 1) * stride);
  const start = Math.trunc(Math.max(0, numFrames - reach - 1) / 2);
  return Array.from({ length: clipFrames }, (_, i) =>
    Math.min(last, start + Math.trunc(i * stride)),
  );
}

/** `[height, width]` scaled to a shorter side of `shortSide`. */
export function resizeShape(height, width, shortSide, squash = false) {
  if (squash) return [shortSide, shortSide];
  const longer = (long, short) =>
    Math.max(shortSide, roundHalfEven((long * shortSide) / short));
  return height <= width
    ? [shortSide, longer(width, height)]
    : [longer(height, width), shortSide];
}

/**
 * Scales a frame so that its shorter side is `shortSide`: bilinear, with a
 * wider triangle when shrinking (antialias).
 *
 * @return {{data: Uint8Array, width: number, height: number}} RGB.
 */
export function resizeFrame(frame, shortSide, squash = false) {
  const { width, height } = frame;
  const [newHeight, newWidth] = resizeShape(height, width, shortSide, squash);
  const rgb = toRgb(frame);
  if (newHeight === height && newWidth === width) {
    return { data: rgb, width, height };
  }
  const rows = new Float32Array(newHeight * width * 3);
  resizeAxis(rgb, rows, height, newHeight, 1, width * 3);
  const pixels = new Float32Array(newHeight * newWidth * 3);
  resizeAxis(rows, pixels, width, newWidth, newHeight, 3);
  const data = Uint8Array.from(pixels, toByte);
  return { data, width: newWidth, height: newHeight };
}

/** Resizes the middle axis of `(outer, size, inner)` values. */
function resizeAxis(source, target, size, newSize, outer, inner) {
  const { places, weights, taps } = resizeTaps(size, newSize);
  for (let block = 0; block < outer; block++) {
    for (let row = 0; row < newSize; row++) {
      const to = (block * newSize + row) * inner;
      for (let tap = 0; tap < taps; tap++) {
        const from = (block * size + places[row] + tap) * inner;
        const weight = weights[row * taps + tap];
        for (let i = 0; i < inner; i++) {
          // Each product is float32, as in numpy; so are sums of `target`.
          target[to + i] += Math.fround(source[from + i] * weight);
        }
      }
    }
  }
}

const knownTaps = new Map();

/** First place of each new row, and float32 weights `(newSize, taps)`. */
function resizeTaps(size, newSize) {
  const key = `${size},${newSize}`;
  if (!knownTaps.has(key)) knownTaps.set(key, makeTaps(size, newSize));
  return knownTaps.get(key);
}

function makeTaps(size, newSize) {
  const step = size / newSize;
  const reach = Math.max(step, 1);
  const rows = Array.from({ length: newSize }, (_, row) => {
    const centre = (row + 0.5) * step - 0.5;
    const first = Math.max(0, Math.floor(centre - reach));
    const last = Math.min(size - 1, Math.ceil(centre + reach));
    const triangle = [];
    for (let i = first; i <= last; i++) {
      triangle.push(Math.max(0, 1 - Math.abs(i - centre) / reach));
    }
    const total = triangle.reduce((sum, weight) => sum + weight, 0);
    return triangle
      .map((weight, i) => [first + i, Math.fround(weight / total)])
      .filter(([, weight]) => weight > 0);
  });
  const taps = Math.max(...rows.map((row) => row.length));
  const places = rows.map((row) => Math.min(row[0][0], size - taps));
  const weights = new Float32Array(newSize * taps);
  rows.forEach((row, number) => {
    for (const [place, weight] of row) {
      weights[number * taps + place - places[number]] = weight;
    }
  });
  return { places, weights, taps };
}

/** Cuts the centre square out of an RGB frame. */
export function centerCrop({ data, width, height }, size) {
  const top = (height - size) >> 1;
  const left = (width - size) >> 1;
  const cut = new Uint8Array(size * size * 3);
  for (let row = 0; row < size; row++) {
    const from = ((top + row) * width + left) * 3;
    cut.set(data.subarray(from, from + size * 3), row * size * 3);
  }
  return { data: cut, width: size, height: size };
}

/**
 * Shifts and scales the colours of a clip to the mean and deviation that
 * networks expect.
 *
 * @param {Uint8Array} clip RGB frames, one after another; changed in place.
 * @param {number} frames How many.
 * @param {boolean|string} how false for nothing, true for the clip as a whole,
 *     "frame" for each frame by itself.
 */
export function standardize(clip, frames, how) {
  if (!how) return;
  const parts = how === "frame" ? frames : 1;
  const length = clip.length / parts;
  for (let part = 0; part < parts; part++) {
    standardizePart(clip.subarray(part * length, (part + 1) * length));
  }
}

function standardizePart(values) {
  const means = [0, 0, 0];
  values.forEach((value, i) => (means[i % 3] += value));
  means.forEach((sum, i) => (means[i] = sum / (values.length / 3)));
  let squares = 0;
  values.forEach((value, i) => (squares += (value - means[i % 3]) ** 2));
  const deviation = Math.max(Math.sqrt(squares / values.length), 1);
  const scale = (255 * DEVIATION) / deviation;
  values.forEach((value, i) => {
    values[i] = toByte(255 * MEAN + (value - means[i % 3]) * scale);
  });
}

function toByte(value) {
  return Math.min(255, Math.max(0, roundHalfEven(value)));
}

/** The uint8 RGB values of a frame. */
export function toRgb({ data, width, height }) {
  if (data.length === width * height * 3) return Uint8Array.from(data);
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return rgb;
}

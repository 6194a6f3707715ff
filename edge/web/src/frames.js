/**
 * Which frames and which pixels of a video make a clip, step by step as
 * autox3d_tf/data/sampling.py does it, down to the rounding.
 *
 * A frame is `{data, width, height}`, as ImageData: uint8, RGBA or RGB, row by
 * row.
 */

const MEAN = 0.45; // of each channel, and
const DEVIATION = 0.225; // of pixels in [0, 1], as networks expect them
const ONE = 1 << 16; // the weights of a resized pixel in sum
const MOST_TAPS = 16; // axes of frames whose weights are kept

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
 * Scales a frame so that its shorter side is `shortSide`, or with `squash`
 * both, and cuts out the centre square: bilinear, with a wider triangle when
 * shrinking (antialias). Only what the square is made of is scaled. All sums
 * are whole numbers below 2 ** 53: they are exact, as in Python.
 *
 * @return {{data: Uint8Array, width: number, height: number}} RGB.
 */
export function cutFrame(frame, shortSide, cropSize, squash = false) {
  const { data, width, height } = frame;
  const [newHeight, newWidth] = resizeShape(height, width, shortSide, squash);
  const rows = resizeTaps(height, newHeight, cropSize);
  const columns = resizeTaps(width, newWidth, cropSize);
  const channels = data.length / (width * height);
  const left = columns[0].first;
  const end = columns[cropSize - 1];
  const line = new Int32Array((end.first + end.weights.length - left) * 3);
  const cut = new Uint8Array(cropSize * cropSize * 3);
  let to = 0;
  for (const { first: top, weights } of rows) {
    line.fill(0);
    for (let tap = 0; tap < weights.length; tap++) {
      const from = ((top + tap) * width + left) * channels;
      addPixels(line, data, from, channels, weights[tap]);
    }
    for (const { first, weights } of columns) {
      for (let i = 0; i < 3; i++) {
        const sum = sumUp(line, (first - left) * 3 + i, weights);
        cut[to++] = roundHalfEven(sum / (ONE * ONE));
      }
    }
  }
  return { data: cut, width: cropSize, height: cropSize };
}

/** Adds pixels of 3 or 4 channels to those of a line of 3. */
function addPixels(line, data, from, channels, weight) {
  for (let to = 0; to < line.length; to += 3, from += channels) {
    line[to] += data[from] * weight;
    line[to + 1] += data[from + 1] * weight;
    line[to + 2] += data[from + 2] * weight;
  }
}

function sumUp(line, from, weights) {
  let sum = 0;
  for (let tap = 0; tap < weights.length; tap++) {
    sum += line[from + 3 * tap] * weights[tap];
  }
  return sum;
}

const knownTaps = new Map();

/** What the `count` pixels in the middle of a resized axis are. */
function resizeTaps(size, newSize, count) {
  const key = `${size},${newSize},${count}`;
  if (!knownTaps.has(key)) {
    if (knownTaps.size === MOST_TAPS) knownTaps.clear();
    const start = (newSize - count) >> 1;
    knownTaps.set(
      key,
      Array.from({ length: count }, (_, i) => taps(size, newSize, start + i)),
    );
  }
  return knownTaps.get(key);
}

/**
 * The first old pixel of a new one, and the weights from there on, `ONE` in
 * sum; counted in 1 / (2 * newSize) of an old pixel, in whole numbers.
 */
function taps(size, newSize, number) {
  const unit = 2 * newSize;
  const reach = 2 * Math.max(size, newSize);
  const centre = (2 * number + 1) * size - newSize;
  const first = Math.max(0, Math.floor((centre - reach) / unit) + 1);
  const last = Math.min(size - 1, Math.ceil((centre + reach) / unit) - 1);
  const sums = [0];
  for (let i = first; i <= last; i++) {
    sums.push(sums[i - first] + reach - Math.abs(unit * i - centre));
  }
  const share = (i) => Math.floor((sums[i] * ONE) / sums.at(-1));
  const weights = sums.slice(1).map((_, i) => share(i + 1) - share(i));
  return { first, weights: Int32Array.from(weights) };
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

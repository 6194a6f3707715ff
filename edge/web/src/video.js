/** Frames out of a <video>: those a clip needs, or all that a camera shows. */

const USUAL_FPS = 30;
const LATE = 0.001; // seconds: past the instant at which a frame begins

/**
 * Seconds at which a video is looked at, as sampleIndices counts frames. A
 * browser does not tell a video's frame rate; where it matters, it is taken to
 * be that of the training videos.
 *
 * @param {object} preprocessing Of a manifest.
 * @param {number} duration Seconds.
 */
export function clipTimes(preprocessing, duration) {
  const { clip_frames: count, sampling, stride } = preprocessing;
  const places = Array.from({ length: count }, (_, i) => i);
  if (sampling === "segment") {
    return places.map((i) => ((i + 0.5) * duration) / count);
  }
  const fps = preprocessing.stride_fps || preprocessing.fps || USUAL_FPS;
  const start = Math.max(0, duration - (count - 1) * (stride / fps)) / 2;
  return places.map((i) => Math.min(start + (i * stride) / fps, duration));
}

/** The ImageData of a <video> at each of the `times`, in seconds. */
export async function framesAt(video, times) {
  const frames = [];
  for (const time of times) {
    await seek(video, Math.min(time + LATE, video.duration));
    frames.push(await currentFrame(video));
  }
  return frames;
}

/** Calls `use(ImageData)` for each new frame, until the signal aborts. */
export async function eachFrame(video, use, signal) {
  while (!signal.aborted) {
    await new Promise((resolve) => {
      video.requestVideoFrameCallback(resolve);
      signal.addEventListener("abort", resolve, { once: true });
    });
    if (!signal.aborted) await use(await currentFrame(video));
  }
}

/** Waits until a <video> has a first frame to show. */
export function ready(video) {
  if (video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return;
  return once(video, "loadeddata");
}

async function seek(video, time) {
  const done = once(video, "seeked");
  video.currentTime = time;
  await done;
  if (Math.abs(video.currentTime - time) > 2 * LATE) {
    throw new Error(
      `Cannot go to ${time.toFixed(2)} s of the video: what serves it must ` +
        "answer range requests. Give it as a Blob instead.",
    );
  }
}

function once(video, event) {
  return new Promise((resolve, reject) => {
    const settle = (call) => (argument) => {
      video.removeEventListener(event, succeed);
      video.removeEventListener("error", fail);
      call(argument);
    };
    const succeed = settle(resolve);
    const fail = settle(() =>
      reject(
        new Error(
          "This browser cannot read the video: " +
            (video.error?.message || "unknown format"),
        ),
      ),
    );
    video.addEventListener(event, succeed);
    video.addEventListener("error", fail);
  });
}

let canvas;

async function currentFrame(video) {
  const { videoWidth: width, videoHeight: height } = video;
  canvas ??= document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  return context.getImageData(0, 0, width, height);
}

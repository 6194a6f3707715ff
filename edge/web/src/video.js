/** Frames out of a <video>: those a clip needs, or all that a camera shows. */

export const USUAL_FPS = 30;
const LATE = 0.001; // seconds: past the instant at which a frame begins
const THE_END = 1e9; // seconds
const UNSEEN = 1000; // milliseconds; after these a frame is there in any case

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
  const reach = ((count - 1) * stride + 1) / fps; // its last frame included
  const start = Math.max(0, duration - reach) / 2;
  return places.map((i) => Math.min(start + (i * stride) / fps, duration));
}

/** What `use` makes of the ImageData of a <video> at each of the `times`. */
export async function framesAt(video, times, use, signal) {
  const made = [];
  for (const time of times) {
    await seek(video, Math.min(time + LATE, video.duration));
    signal.throwIfAborted();
    made.push(use(currentFrame(video)));
  }
  return made;
}

/**
 * Calls `use(ImageData, seconds)` for frames as they come, until the signal
 * aborts.
 *
 * @param {number} fps As many a second, if so many come.
 */
export async function eachFrame(video, use, signal, fps) {
  const period = 1000 / fps;
  let due = 0;
  for (;;) {
    const now = await new Promise((resolve) =>
      video.requestVideoFrameCallback(resolve),
    );
    if (signal.aborted) return;
    if (now < due - period / 4) continue; // a quarter: frames come unevenly
    due = Math.max(due, now - period) + period;
    await use(currentFrame(video), now / 1000);
  }
}

/** Gives a <video> a source; its first frame and its length are then known. */
export async function load(video, source) {
  const shown = presented(video);
  video.src = source;
  await once(video, "loadeddata");
  if (!video.videoWidth) throw new Error("This file has no picture.");
  await shown;
  if (video.duration === Infinity) {
    // A recording that does not say: it is known once the end was seen.
    const known = once(video, "durationchange");
    const end = presented(video);
    video.currentTime = THE_END;
    await known;
    await end;
  }
}

async function seek(video, time) {
  const done = once(video, "seeked");
  const shown = presented(video);
  video.currentTime = time;
  await done;
  if (Math.abs(video.currentTime - time) > 2 * LATE) {
    throw new Error(
      `Cannot go to ${time.toFixed(2)} s of the video: what serves it must ` +
        "answer range requests. Give it as a Blob instead.",
    );
  }
  await shown;
}

/**
 * Waits for the next new frame of a <video>. Events such as "seeked" may come
 * earlier, when a canvas still gets the frame before.
 *
 * A page that nobody sees presents no frames, so this ends without one too.
 */
function presented(video) {
  return new Promise((resolve) => {
    const settle = () => {
      video.cancelVideoFrameCallback(asked);
      clearTimeout(timer);
      resolve();
    };
    const asked = video.requestVideoFrameCallback(settle);
    const timer = setTimeout(settle, UNSEEN);
  });
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
    if (video.error) fail();
  });
}

let canvas;

function currentFrame(video) {
  const { videoWidth: width, videoHeight: height } = video;
  canvas ??= document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  return context.getImageData(0, 0, width, height);
}

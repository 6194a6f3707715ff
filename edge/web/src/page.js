/** The page: a model, a video or the camera, and what the network says. */

import { fetchBlob, Recognizer } from "./recognizer.js";
import { clipTimes, eachFrame, framesAt, load, USUAL_FPS } from "./video.js";

const TOP = 5;
const find = (id) => document.getElementById(id);
const video = find("video");
const cameraButton = find("camera");
let recognizer;
let current = new AbortController();

/**
 * Makes an action of the user of a function of a signal: it ends the one
 * before, whose results and errors are not shown any more.
 */
function act(action) {
  return async (...given) => {
    const signal = stop();
    try {
      await action(signal, ...given);
    } catch (error) {
      if (signal.aborted) return;
      stop(); // a camera must not go on beside the error
      say("error", error.message);
    }
  };
}

/** Ends what goes on; returns the signal of what comes next. */
function stop() {
  current.abort();
  current = new AbortController();
  video.srcObject = null;
  cameraButton.ariaPressed = "false";
  find("time").textContent = "";
  show([]);
  return current.signal;
}

function say(state, text) {
  document.body.dataset.state = state;
  find("status").textContent = text;
}

const openModel = act(async (signal, source, name) => {
  say("loading", `Loading ${name} ...`);
  const next = await Recognizer.load(source);
  if (signal.aborted) return next.close();
  recognizer?.close();
  recognizer = next;
  const { precision, stream } = recognizer.manifest;
  const kind = stream ? "frame by frame" : `${recognizer.clipShape[0]} frames`;
  for (const control of [find("file"), cameraButton]) control.disabled = false;
  say(
    "loaded",
    `${name}: ${recognizer.labels.length} classes, ${precision}, ${kind}`,
  );
});

const openVideo = act(async (signal, source) => {
  say("running", "Reading the video ...");
  // As a whole: not every server lets a browser seek in a video.
  const blob = source instanceof Blob ? source : await fetchBlob(source);
  signal.throwIfAborted();
  URL.revokeObjectURL(video.src);
  await load(video, URL.createObjectURL(blob));
  signal.throwIfAborted();
  const times = clipTimes(recognizer.manifest.preprocessing, video.duration);
  const cut = (frame) => recognizer.cut(frame);
  const frames = await framesAt(video, times, cut, signal);
  const begin = performance.now();
  const pairs = await recognizer.classify(frames);
  signal.throwIfAborted();
  show(pairs);
  took(begin, "clip");
  say("done", `Most likely ${pairs[0][0]}`);
});

const openCamera = act(async (signal) => {
  const camera = await navigator.mediaDevices.getUserMedia({ video: true });
  const [track] = camera.getVideoTracks();
  const end = () => track.stop();
  if (signal.aborted) return end();
  signal.addEventListener("abort", end);
  track.addEventListener("ended", () => lost(signal));
  cameraButton.ariaPressed = "true";
  video.srcObject = camera;
  await video.play();
  // As fast as the network's training videos, or as the camera can.
  const { stride_fps, fps: usual } = recognizer.manifest.preprocessing;
  const wanted = stride_fps || usual || USUAL_FPS;
  const fps = Math.min(track.getSettings().frameRate || wanted, wanted);
  await recognizer.reset({ fps });
  signal.throwIfAborted();
  say("running", "Watching ...");
  let latest = [];
  const look = async (frame, seconds) => {
    const begin = performance.now();
    const scores = await recognizer.push(frame, { seconds });
    if (!scores || signal.aborted) return;
    if (scores.every((score, i) => score === latest[i])) return; // no look
    latest = scores;
    show(recognizer.named(scores));
    took(begin, "frame");
  };
  await eachFrame(video, look, signal, fps);
});

const closeCamera = act(async () => say("loaded", "The camera is off."));

function lost(signal) {
  if (signal.aborted) return;
  stop();
  say("error", "The camera went away.");
}

function show(pairs) {
  const rows = pairs.slice(0, TOP).map(([label, probability]) => {
    const row = document.createElement("tr");
    row.insertCell().textContent = label;
    row.insertCell().textContent = `${(100 * probability).toFixed(1)} %`;
    return row;
  });
  find("labels").replaceChildren(...rows);
}

function took(begin, what) {
  const milliseconds = (performance.now() - begin).toFixed(1);
  find("time").textContent = `${milliseconds} ms for the ${what}`;
}

for (const [id, open] of [
  ["model", (file) => openModel(file, file.name)],
  ["file", openVideo],
]) {
  const input = find(id);
  // So that the same file can be chosen again.
  input.addEventListener("click", () => (input.value = ""));
  input.addEventListener("change", () => {
    if (input.files.length) open(input.files[0]);
  });
}
cameraButton.addEventListener("click", () =>
  cameraButton.ariaPressed === "true" ? closeCamera() : openCamera(),
);
say("waiting", "Choose a model that autox3d-export wrote.");

// index.html?model=model_int8.tflite&video=clip.mp4 does both at once.
const wanted = new URLSearchParams(location.search);
if (wanted.has("model")) {
  await openModel(wanted.get("model"), wanted.get("model"));
  if (recognizer && wanted.has("video")) openVideo(wanted.get("video"));
}

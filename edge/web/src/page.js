/** The page: a model, a video or the camera, and what the network says. */

import { fetchBlob, Recognizer } from "./recognizer.js";
import { clipTimes, eachFrame, framesAt, ready } from "./video.js";

const TOP = 5;
const find = (id) => document.getElementById(id);
const video = find("video");
let recognizer;
let watching = new AbortController();

/** Runs an action of the user; what goes wrong is said on the page. */
function act(action) {
  return async (...given) => {
    try {
      await action(...given);
    } catch (error) {
      document.body.dataset.state = "error";
      find("status").textContent = error.message;
    }
  };
}

function say(state, text) {
  document.body.dataset.state = state;
  find("status").textContent = text;
}

const openModel = act(async (source, name) => {
  stop();
  say("loading", `Loading ${name} ...`);
  const next = await Recognizer.load(source);
  await recognizer?.delete();
  recognizer = next;
  const { precision, stream } = recognizer.manifest;
  const kind = stream ? "frame by frame" : `${recognizer.clipShape[0]} frames`;
  for (const id of ["file", "camera"]) find(id).disabled = false;
  say(
    "loaded",
    `${name}: ${recognizer.labels.length} classes, ${precision}, ${kind}`,
  );
});

const openVideo = act(async (blob) => {
  stop();
  say("running", "Reading the video ...");
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(blob);
  await ready(video);
  const times = clipTimes(recognizer.manifest.preprocessing, video.duration);
  const frames = await framesAt(video, times);
  const begin = performance.now();
  const pairs = await recognizer.classify(frames, { sampled: true });
  show(pairs);
  say("done", `${milliseconds(begin)} for the clip`);
});

const openCamera = act(async () => {
  stop();
  const camera = await navigator.mediaDevices.getUserMedia({ video: true });
  const { signal } = watching;
  signal.addEventListener("abort", () => {
    camera.getTracks().forEach((track) => track.stop());
  });
  video.srcObject = camera;
  await video.play();
  await recognizer.reset();
  say("running", "Watching ...");
  await eachFrame(
    video,
    async (frame) => {
      const begin = performance.now();
      const scores = await recognizer.push(frame);
      if (scores) {
        show(recognizer.named(scores));
        say("running", `${milliseconds(begin)} for the frame`);
      }
    },
    signal,
  );
});

function stop() {
  watching.abort();
  watching = new AbortController();
  video.srcObject = null;
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

function milliseconds(begin) {
  return `${(performance.now() - begin).toFixed(1)} ms`;
}

find("model").addEventListener("change", ({ target: { files } }) => {
  if (files.length) openModel(files[0], files[0].name);
});
find("file").addEventListener("change", ({ target: { files } }) => {
  if (files.length) openVideo(files[0]);
});
find("camera").addEventListener("click", openCamera);

// index.html?model=model_int8.tflite&video=clip.mp4 does both at once.
const wanted = new URLSearchParams(location.search);
if (wanted.has("model")) {
  await openModel(wanted.get("model"), wanted.get("model"));
  if (recognizer && wanted.has("video")) {
    // As a whole: not every server lets a browser seek in a video.
    openVideo(await fetchBlob(wanted.get("video")));
  }
}

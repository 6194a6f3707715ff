// Opens the page of edge/web in Chromium for web_test.py:
// `node web_browser.mjs CHROMIUM ANSWER ADDRESS...`. For each address, what the
// page says of the video and then of a camera, as JSON; at last of a camera
// whose frames cannot be read, and what became of that.

import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const web = createRequire(new URL("../../edge/web/", import.meta.url));
const { chromium } = web("playwright-core");

const [executablePath, answer, ...addresses] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
  ],
});
const page = await browser.newPage();

async function seen(...states) {
  const find = (wanted) => wanted.includes(document.body.dataset.state);
  await page.waitForFunction(find, states, { timeout: 120_000 });
  const rows = await page.locator("#labels tr").allInnerTexts();
  const status = await page.textContent("#status");
  const time = await page.textContent("#time");
  return { status, time, rows: rows.map((row) => row.split("\t")) };
}

/** The camera's track ends with what failed, and the button says so. */
async function failed() {
  await page.evaluate(() => {
    const video = document.getElementById("video");
    const context = CanvasRenderingContext2D.prototype;
    context.getImageData = () => {
      globalThis.track = video.srcObject.getVideoTracks()[0];
      throw new Error("no memory");
    };
  });
  await page.click("#camera");
  const { status, rows } = await seen("error");
  const pressed = await page.getAttribute("#camera", "aria-pressed");
  const track = await page.evaluate(() => globalThis.track.readyState);
  return { status, rows, pressed, track };
}

const answers = [];
for (const address of addresses) {
  await page.goto(address);
  const video = await seen("done", "error");
  let camera = null;
  let off = null;
  let broken = null;
  if (await page.isEnabled("#camera")) {
    await page.click("#camera");
    await page.waitForSelector("#labels tr", { timeout: 120_000 });
    camera = await seen("running", "error");
    await page.click("#camera");
    off = await seen("loaded", "error");
    broken = await failed();
  }
  answers.push({ video, camera, off, broken });
}
await browser.close();
writeFileSync(answer, JSON.stringify(answers));

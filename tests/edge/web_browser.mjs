// Opens the page of edge/web in Chromium for web_test.py:
// `node web_browser.mjs CHROMIUM ANSWER ADDRESS...`. For each address, what the
// page says of the video and then of a camera, as JSON.

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

const answers = [];
for (const address of addresses) {
  await page.goto(address);
  const video = await seen("done", "error");
  let camera = null;
  let off = null;
  if (await page.isEnabled("#camera")) {
    await page.click("#camera");
    await page.waitForSelector("#labels tr", { timeout: 120_000 });
    camera = await seen("running", "error");
    await page.click("#camera");
    off = await seen("loaded", "error");
  }
  answers.push({ video, camera, off });
}
await browser.close();
writeFileSync(answer, JSON.stringify(answers));

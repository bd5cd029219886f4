/** The program `scene.rs` in a process of its own, and pages of a browser that show its distributor. */

import { spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? `${repository}target`;
const program = process.env.PGHERALD_PAGE_SCENE ?? `${target}/debug/examples/page_scene`;
export const screenshots = `${repository}target/page`;

/** How long a test waits for an expected condition before it fails. */
export const DEADLINE = 60_000;

export class Scene {
  #child;
  #lines;
  #browser;

  static async start() {
    if (!existsSync(program))
      throw new Error(`${program} is missing: run cargo build -p pgherald-distributor --example page_scene`);
    mkdirSync(screenshots, { recursive: true });
    const scene = new Scene();
    scene.#child = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
    scene.#lines = createInterface({ input: scene.#child.stdout })[Symbol.asyncIterator]();
    scene.addresses = await scene.#answer();
    scene.url = scene.addresses.page;
    scene.#browser = await puppeteer.launch({
      executablePath: process.env.PGHERALD_CHROMIUM ?? "/usr/bin/chromium",
      pipe: true,
      // Containers have neither user namespaces nor much shared memory.
      args: ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
    });
    return scene;
  }

  async #answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the program has ended");
    return JSON.parse(value);
  }

  /** Sends a command of `scene.rs`. */
  async run(command) {
    this.#child.stdin.write(`${command}\n`);
    const answer = await this.#answer();
    if (answer.error) throw new Error(`${command}: ${answer.error}`);
    return answer;
  }

  sql(statements) {
    return this.run(`sql ${statements.replaceAll("\n", " ")}`);
  }

  /** Opens the page in a profile of its own. Errors of the page are collected in `page.errors`. */
  async open({ width = 1280, height = 900, scheme = "light", locked = false } = {}) {
    const context = await this.#browser.createBrowserContext();
    const page = await context.newPage();
    page.setDefaultTimeout(DEADLINE);
    page.errors = [];
    page.on("console", (message) => ["error", "warn"].includes(message.type()) && page.errors.push(message.text()));
    page.on("pageerror", (error) => page.errors.push(String(error)));
    page.on("dialog", (dialog) => page.errors.push(`a script has run: ${dialog.message()}`));
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    await page.goto(locked ? this.addresses.locked : this.url);
    if (!locked) await this.live(page);
    return page;
  }

  /** Waits until the page shows a live listener and follows the events. */
  async live(page) {
    await page.waitForFunction(
      () =>
        document.getElementById("state").textContent === "Live" && document.getElementById("stream").textContent === "connected",
    );
  }

  async close() {
    await this.#browser?.close();
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin.end();
    await ended;
  }
}

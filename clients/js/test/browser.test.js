// The client in a page, without a bundler. PGHERALD_CHROMIUM is the path of Chromium; without it, nothing is tested.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { event, serve } from "./server.js";

const CHROMIUM = process.env.PGHERALD_CHROMIUM;

/** Connects with each transport until three events have arrived, then asks for a filter that is refused. */
const PAGE = `<!doctype html><script type="module">
  import { connect } from "/src/index.js";
  const report = {};
  for (const transport of ["sse", "ws"]) {
    const seen = (report[transport] = []);
    for await (const { type, id } of connect("/", { transport })) {
      seen.push(id ?? type);
      if (id === "i3") break;
    }
    try {
      for await (const _ of connect("/", { transport, tables: ["refused"] }));
    } catch (error) {
      seen.push(error.name, error.kind, error.code);
    }
  }
  await fetch("/report?" + encodeURIComponent(JSON.stringify(report)));
</script>`;

test("the client works in Chromium", { skip: CHROMIUM === undefined, timeout: 60_000 }, async (t) => {
  const files = new Map([["/", { type: "text/html", body: PAGE }]]);
  for (const name of "backoff buffer continuity error index json message options request sse stream time transport".split(" ")) {
    const body = await readFile(new URL(`../src/${name}.js`, import.meta.url));
    files.set(`/src/${name}.js`, { type: "text/javascript", body });
  }
  let finish;
  const report = new Promise((resolve) => {
    finish = resolve;
  });
  const answer = ({ url }) => {
    const file = files.get(url.pathname);
    if (file) return { status: 200, headers: { "content-type": file.type }, body: file.body };
    if (url.pathname === "/report") finish(JSON.parse(decodeURIComponent(url.search.slice(1))));
    if (url.pathname.startsWith("/v1/")) {
      const body = JSON.stringify({ error: { code: "bad_filter", message: "no such table" } });
      return url.searchParams.has("table") ? { status: 400, headers: {}, body } : undefined;
    }
    return { status: 404, headers: {} };
  };
  const server = await serve(
    (client) => {
      const since = client.query.get("since");
      client.hello();
      client.send(since === null ? { type: "resync", reasons: ["started"], lost: 0, scope: {} } : { type: "resumed" });
      client.send({ type: "live" });
      const next = since === null ? 1 : Number(since.slice(1)) + 1;
      client.send(event(next));
      client.sendPart(event(next + 1), 0.7);
    },
    { refuse: answer },
  );
  const profile = await mkdtemp(join(tmpdir(), "pgherald-chromium-"));
  const options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", `--user-data-dir=${profile}`];
  const browser = spawn(CHROMIUM, [...options, server.url], { stdio: "ignore" });
  const exited = new Promise((resolve) => browser.on("exit", resolve));
  t.after(async () => {
    browser.kill();
    await exited;
    await server.stop();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  const seen = ["resync", "live", "i1", "down", "resumed", "live", "i2", "down", "resumed", "live", "i3"];
  const all = [...seen, "PgheraldError", "bad_request", "bad_filter"];
  assert.deepEqual(await report, { sse: all, ws: all });
});

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { event, serve } from "./server.js";

const example = new URL("../examples/follow.js", import.meta.url);

test("the example of the README is the one in examples/", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  assert.ok(readme.includes(`\`\`\`js\n${await readFile(example, "utf8")}\`\`\``));
});

test("the example runs", { timeout: 30_000 }, async (t) => {
  const server = await serve((client) => {
    client.hello();
    client.send({ type: "live" });
    client.send(event(7));
    client.send({ type: "event", event: { operation: "truncate", table: "users" } });
    client.send({ type: "down", reason: "database" });
  });
  const program = spawn(process.execPath, [fileURLToPath(example), server.url], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => {
    program.kill();
    return server.stop();
  });
  const lines = [];
  for await (const line of createInterface({ input: program.stdout })) {
    lines.push(line);
    if (line === "down") break;
  }
  assert.deepEqual(lines, ["read the table again", "live", "insert 7 { text: 'Grüße 🐘\\r\\n' }", "truncate any row ", "down"]);
});

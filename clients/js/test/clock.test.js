// Waits and silence, with a clock that the test moves and a connection that it writes to.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "pgherald";
import { event, isLive, readUntil, serve } from "./server.js";

/** Lets everything run that waits for neither time nor network. */
const settle = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/** Starts a client with a fake clock. `answers` are functions that return the response to each attempt; the last one repeats. */
async function start(t, answers, options = {}) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const random = t.mock.method(Math, "random", () => 1);
  const attempts = [];
  const statuses = [];
  const fetch = async (url, { signal }) => {
    attempts.push(url);
    return answers[Math.min(attempts.length, answers.length) - 1](signal);
  };
  const stream = connect("http://server", { fetch, onStatus: (status) => statuses.push(status), ...options });
  t.after(() => stream.close());
  await settle();
  const waits = () => statuses.filter(({ state }) => state === "waiting");
  const pass = async (ms) => {
    t.mock.timers.tick(ms);
    await settle();
  };
  return { stream, attempts, waits, pass, random };
}

/** An answer whose stream the test writes to with `send` and `write`. */
function connection() {
  let controller;
  const encoder = new TextEncoder();
  const write = (text) => controller.enqueue(encoder.encode(text));
  const answer = (signal) => {
    const body = new ReadableStream({
      start(started) {
        controller = started;
      },
    });
    signal.addEventListener("abort", () => controller.error(signal.reason));
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  };
  const send = (message) => write(`data: ${JSON.stringify(message)}\n\n`);
  return { answer, write, send, end: () => controller.close() };
}

const hello = { type: "hello", version: 1, heartbeat_ms: 1000, resumable: true };
const refused = () => {
  throw new TypeError("fetch failed");
};
const status = (code, headers = {}) => () => new Response("", { status: code, headers });

test("waits grow to 30 s, and are drawn from the whole range", async (t) => {
  const { attempts, waits, pass, random } = await start(t, [refused]);
  for (const wait of [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    assert.equal(waits().at(-1).retryMs, wait);
    const before = attempts.length;
    await pass(wait - 1);
    assert.equal(attempts.length, before);
    await pass(1);
    assert.equal(attempts.length, before + 1);
  }
  random.mock.mockImplementation(() => 0.25);
  await pass(30_000);
  assert.equal(waits().at(-1).retryMs, 7_500);
});

test("waits begin again after a heartbeat or an event, not after hello", async (t) => {
  const [first, second] = [connection(), connection()];
  const { waits, pass } = await start(t, [refused, refused, first.answer, second.answer]);
  await pass(250);
  await pass(500);
  first.send(hello);
  first.end();
  await settle();
  assert.equal(waits().at(-1).retryMs, 1000);
  await pass(1000);
  second.send(hello);
  second.send({ type: "heartbeat", at: "" });
  second.end();
  await settle();
  assert.equal(waits().at(-1).retryMs, 250);
});

test("Retry-After, closing and retry are floors of the wait", async (t) => {
  const [closing, retry] = [connection(), connection()];
  const answers = [status(429, { "retry-after": "7" }), status(503, { "retry-after": "1e9" }), closing.answer, retry.answer, refused];
  const { attempts, waits, pass } = await start(t, answers);
  assert.equal(waits().at(-1).retryMs, 7_250);
  await pass(7_249);
  assert.equal(attempts.length, 1);
  await pass(1);
  assert.equal(attempts.length, 2);
  assert.equal(waits().at(-1).retryMs, 500);
  await pass(500);
  closing.send(hello);
  closing.send({ type: "closing", reason: "shutdown", retry_ms: 1234 });
  await settle();
  assert.deepEqual([waits().at(-1).error.kind, waits().at(-1).retryMs], ["closing", 2_234]);
  await pass(2_234);
  retry.write("retry: 5000\n\n");
  retry.end();
  await settle();
  assert.equal(waits().at(-1).retryMs, 7_000);
  await pass(7_000);
  assert.equal(waits().at(-1).retryMs, 9_000);
});

test("Retry-After may be a date, and is an hour at most", async (t) => {
  const date = new Date(Date.now() + 60_000).toUTCString();
  const { waits, pass } = await start(t, [status(503, { "retry-after": date }), status(429, { "retry-after": "9999999999" })]);
  assert.ok(waits()[0].error.retryMs > 50_000 && waits()[0].error.retryMs <= 60_000);
  await pass(60_250);
  assert.equal(waits()[1].error.retryMs, 3_600_000);
});

test("a server that accepts and sends nothing is left after 10 s", async (t) => {
  const { attempts, waits, pass } = await start(t, [connection().answer]);
  await pass(9_999);
  assert.equal(waits().length, 0);
  await pass(1);
  assert.equal(waits()[0].error.kind, "timeout");
  await pass(250);
  assert.equal(attempts.length, 2);
});

test("a server that does not answer, and a token that does not come, are left after 10 s", async (t) => {
  const never = (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const { waits, pass } = await start(t, [never]);
  await pass(10_000);
  assert.equal(waits()[0].error.kind, "timeout");
  t.mock.timers.reset();
  const other = await start(t, [never], { token: () => new Promise(() => {}) });
  await other.pass(10_000);
  assert.equal(other.waits()[0].error.kind, "timeout");
  assert.equal(other.attempts.length, 0);
});

test("a silent connection is left after three heartbeats, and resumed", async (t) => {
  const [first, second] = [connection(), connection()];
  const { stream, attempts, waits, pass } = await start(t, [first.answer, second.answer]);
  first.send(hello);
  first.send({ type: "live" });
  first.send(event(1));
  await readUntil(stream, ({ type }) => type === "event");
  // Anything counts as a sign of life, also a comment.
  for (let second = 0; second < 20; second += 1) {
    await pass(1000);
    if (second % 2 === 0) first.write(": still here\n");
    await settle();
  }
  assert.equal(waits().length, 0);
  await pass(1000);
  first.write(":\n");
  await settle();
  await pass(1000);
  await pass(1000);
  await pass(1000);
  assert.equal(waits().length, 0);
  await pass(1000);
  assert.equal(waits()[0].error.kind, "timeout");
  await pass(250);
  assert.equal(new URL(attempts[1]).searchParams.get("since"), "i1");
  second.send(hello);
  second.send({ type: "resumed" });
  second.send({ type: "live" });
  const messages = await readUntil(stream, isLive);
  assert.deepEqual(messages.map(({ type }) => type), ["down", "resumed", "live"]);
  assert.match(messages[0].reason, /nothing for 3000 ms/);
});

test("a program that was busy does not take waiting messages for silence", async (t) => {
  const statuses = [];
  let client;
  const server = await serve((connected) => {
    client = connected;
    client.hello({ heartbeat_ms: 10 });
    client.send({ type: "live" });
  });
  const stream = connect(server.url, { onStatus: ({ state }) => statuses.push(state) });
  t.after(() => {
    stream.close();
    return server.stop();
  });
  await readUntil(stream, isLive);
  client.send(event(1));
  // Twenty heartbeats pass while the event waits in the socket.
  for (const end = Date.now() + 200; Date.now() < end; );
  assert.equal((await stream.next()).value.type, "event");
  assert.ok(!statuses.includes("waiting"));
});

test("nothing stays behind after close", async (t) => {
  const first = connection();
  let signal;
  const { stream, attempts, pass } = await start(t, [(given) => first.answer((signal = given))]);
  first.send(hello);
  await settle();
  stream.close();
  assert.equal(signal.aborted, true);
  await pass(100_000);
  assert.equal(attempts.length, 1);
  t.mock.timers.reset();
  const waiting = await start(t, [refused]);
  waiting.stream.close();
  await waiting.pass(100_000);
  assert.equal(waiting.attempts.length, 1);
});

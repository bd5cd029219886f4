import assert from "node:assert/strict";
import { test } from "node:test";

import { Buffer } from "../src/buffer.js";
import { Continuity } from "../src/continuity.js";
import { keyJson, parse } from "../src/json.js";
import { readMessage } from "../src/message.js";
import { event, types } from "./server.js";

test("integers beyond the safe range keep all their digits", () => {
  const read = (text) => parse(text);
  assert.deepEqual(read("[9007199254740991,-9007199254740991,7]"), [9007199254740991, -9007199254740991, 7]);
  assert.deepEqual(read("[9007199254740993,-9223372036854775808]"), ["9007199254740993", "-9223372036854775808"]);
  assert.deepEqual(read('{"a":"9007199254740993","b":"\\"9007199254740993,","c":[9007199254740993]}'), {
    a: "9007199254740993",
    b: '"9007199254740993,',
    c: ["9007199254740993"],
  });
  assert.deepEqual(read("[0.12345678901234567,1e300,12345678901234567e2]"), [0.12345678901234567, 1e300, 12345678901234567e2]);
  const long = JSON.stringify(`${"x\\\"".repeat(2_000_000)}9007199254740993`);
  assert.equal(read(`[${long},9007199254740993]`)[1], "9007199254740993");
  assert.throws(() => read("[9007199254740993"), SyntaxError);
});

test("keys are written as JSON", () => {
  assert.equal(keyJson(7), "7");
  assert.equal(keyJson("7"), '"7"');
  assert.equal(keyJson(9223372036854775807n), "9223372036854775807");
  assert.equal(keyJson([1, "a", true, 2n]), '[1,"a",true,2]');
  for (const key of [2 ** 53, NaN, null, undefined, {}, [[1]]]) assert.throws(() => keyJson(key), TypeError);
});

test("texts that are not messages are recognized", () => {
  const bad = ["", "x", "null", "7", "[]", "{}", '{"type":7}', undefined, '{"type":"event"}', '{"type":"event","event":[]}'];
  bad.push('{"type":"event","id":7,"event":{"operation":"insert","table":"t"}}', '{"type":"event","event":{"table":"t"}}');
  for (const text of bad) assert.equal(readMessage(text), undefined, text);
  const extreme = '{"type":"hello","version":1,"heartbeat_ms":1e99}';
  assert.equal(readMessage(extreme).heartbeat_ms, 600_000);
  assert.equal(readMessage('{"type":"closing","retry_ms":1e99}').retry_ms, 3_600_000);
  assert.deepEqual(readMessage('{"type":"lagged","missed":"many"}'), { type: "lagged", missed: 0 });
  assert.deepEqual(readMessage('{"type":"resync"}'), { type: "resync", reasons: [], lost: 0, scope: {} });
});

test("a full buffer drops its messages for one lagged that counts them", () => {
  const buffer = new Buffer(4);
  const read = () => {
    const messages = [];
    for (let message; (message = buffer.shift()) !== undefined; ) messages.push(message);
    return messages;
  };
  for (let number = 1; number <= 4; number += 1) buffer.push(event(number));
  assert.equal(read().length, 4);
  for (const message of [{ type: "live" }, event(1), event(2), event(3), event(4)]) buffer.push(message);
  assert.deepEqual(read(), [{ type: "lagged", missed: 3 }, { type: "live" }, event(4)]);
  // A count of the server is added.
  for (const message of [event(1), { type: "lagged", missed: 5 }, event(2), event(3), event(4)]) buffer.push(message);
  assert.deepEqual(read(), [{ type: "lagged", missed: 8 }, event(4)]);
  buffer.push({ type: "live" });
  for (let number = 1; number <= 1_000; number += 1) buffer.push(event(number));
  buffer.push({ type: "down", reason: "x" });
  for (let number = 1; number <= 3; number += 1) buffer.push(event(number));
  const messages = read();
  const missed = messages.reduce((sum, { type, missed }) => sum + (type === "lagged" ? missed : 0), 0);
  assert.equal(missed + messages.filter(({ type }) => type === "event").length, 1_003);
  assert.equal(messages[0].type, "lagged");
  assert.equal(messages.filter(({ type }) => type === "lagged").length, 1);
  assert.ok(messages.some(({ type }) => type === "down"));
  assert.ok(messages.length <= 4);
});

test("the order of a large buffer is kept", () => {
  const buffer = new Buffer(100_000);
  let next = 0;
  let expected = 0;
  for (let round = 0; round < 300; round += 1) {
    for (let count = 0; count < round; count += 1) buffer.push(next++);
    for (let count = 0; count < round / 2; count += 1) assert.equal(buffer.shift(), expected++);
  }
  while (expected < next) assert.equal(buffer.shift(), expected++);
  assert.equal(buffer.shift(), undefined);
});

const live = { type: "live" };
const resumed = { type: "resumed" };
const whole = { type: "resync", reasons: ["started"], lost: 0, scope: {} };
const limited = { type: "resync", reasons: ["reconnected"], lost: 0, scope: { tables: ["public.u"] } };

/** Runs connections, each a list of messages after `hello`, and returns what the program gets. */
function run(connections, { since, resumable = true } = {}) {
  const continuity = new Continuity(since);
  return connections.map((messages) => {
    continuity.connected(resumable);
    const seen = messages.flatMap((message) => continuity.accept(message));
    return [...seen, ...continuity.lost("lost")].map((message) => message.reasons?.[0] ?? message.type);
  });
}

test("a connection without a position begins with a resync, from the server or from the client", () => {
  assert.deepEqual(run([[whole, live]]), [["started", "live", "down"]]);
  assert.deepEqual(run([[live], [live]]), [
    ["started", "live", "down"],
    ["reconnected", "live", "down"],
  ]);
  // `resumed` speaks of a position that this client never sent, and a limited resync of one table.
  assert.deepEqual(run([[resumed, live]]), [["started", "live", "down"]]);
  assert.deepEqual(run([[limited, live]]), [["reconnected", "started", "live", "down"]]);
});

test("a position that the server resumes needs no resync", () => {
  assert.deepEqual(run([[whole, live, event(1)], [resumed, live]])[1], ["resumed", "live", "down"]);
  assert.deepEqual(run([[whole, live, event(1)], [limited, live]])[1], ["reconnected", "live", "down"]);
  assert.deepEqual(run([[resumed, live]], { since: "i1" }), [["resumed", "live", "down"]]);
});

test("a position that the server does not resume needs a resync", () => {
  assert.deepEqual(run([[whole, live, event(1)], [live]])[1], ["reconnected", "live", "down"]);
  assert.deepEqual(run([[whole, live, event(1)], [resumed, live]], { resumable: false })[1], ["reconnected", "live", "down"]);
});

test("events without an id make the position incomplete until the next resync of everything", () => {
  const begun = [whole, live, event(1), event(2, {})];
  assert.deepEqual(run([begun, [resumed, live]])[1], ["reconnected", "live", "down"]);
  assert.deepEqual(run([begun, [whole, live, event(3)], [resumed, live]])[2], ["resumed", "live", "down"]);
});

test("down and live of the server alternate within a connection", () => {
  const down = { type: "down", reason: "database" };
  assert.deepEqual(run([[whole, live, down, resumed, live, down, live, live, down]]), [
    ["started", "live", "down", "resumed", "live", "down", "reconnected", "live", "down"],
  ]);
});

test("a connection that was never live is not down", () => {
  assert.deepEqual(run([[whole], []]), [["started"], []]);
});

test("a message that has an id moves the position, and no other one does", () => {
  const continuity = new Continuity();
  continuity.connected(true);
  continuity.accept({ type: "live", id: "i1" });
  assert.equal(continuity.position, "i1");
  continuity.move({ type: "heartbeat", id: "i2" });
  for (const id of [undefined, "", 7, null]) continuity.move({ type: "heartbeat", id });
  assert.equal(continuity.position, "i2");
});

test("an unreadable message is a resync, and moves the position past it", () => {
  const continuity = new Continuity("i1");
  assert.deepEqual(types(continuity.acceptUnreadable("i2")), ["resync"]);
  assert.equal(continuity.position, "i2");
  continuity.acceptUnreadable(undefined);
  continuity.acceptUnreadable("");
  assert.equal(continuity.position, "i2");
});

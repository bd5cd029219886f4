import assert from "node:assert/strict";
import { test } from "node:test";

import { SseParser } from "../src/sse.js";

/** Parses texts or buffers that arrive one after the other. */
function parse(...parts) {
  const found = [];
  const parser = new SseParser(
    (data, id) => found.push(id === undefined ? [data] : [data, id]),
    (ms) => found.push(ms),
  );
  const decoder = new TextDecoder();
  for (const part of parts) parser.push(typeof part === "string" ? part : decoder.decode(part, { stream: true }));
  return found;
}

test("the examples of the HTML standard", () => {
  assert.deepEqual(parse("data: YHOO\ndata: +2\ndata: 10\n\n"), [["YHOO\n+2\n10"]]);
  assert.deepEqual(parse(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"), [
    ["first event", "1"],
    ["second event", ""],
    [" third event", ""],
  ]);
  assert.deepEqual(parse("data\n\ndata\ndata\n\ndata:"), [[""], ["\n"]]);
  assert.deepEqual(parse("data:test\n\ndata: test\n\n"), [["test"], ["test"]]);
});

test("line breaks are CR LF, LF or CR, also mixed", () => {
  for (const end of ["\r\n", "\n", "\r"]) {
    assert.deepEqual(parse(`data: a${end}data: b${end}${end}data: c${end}${end}`), [["a\nb"], ["c"]]);
  }
  assert.deepEqual(parse("data: a\r\ndata: b\rdata: c\n\r"), [["a\nb\nc"]]);
  assert.deepEqual(parse("data: a\n\r\ndata: b\r\r\n"), [["a"], ["b"]]);
  // A message is complete with the CR of an empty line, without the LF that may follow.
  assert.deepEqual(parse("data: a\r\n\r"), [["a"]]);
  assert.deepEqual(parse("data: a\r", "\n", "\r", "\ndata: b\r", "\r"), [["a"], ["b"]]);
  assert.deepEqual(parse("data: a\r", "", "\n", "\n"), [["a"]]);
});

test("an unfinished message is dropped at the end", () => {
  assert.deepEqual(parse("data: a\n\ndata: b\n"), [["a"]]);
});

test("ids last until the next id, and an id with NUL is ignored", () => {
  assert.deepEqual(parse("id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid:\ndata: d\n\n"), [
    ["a", "1"],
    ["b", "1"],
    ["c", "1"],
    ["d", ""],
  ]);
  assert.deepEqual(parse("id: 3\n\ndata: a\n\n"), [["a", "3"]]);
});

test("retry takes digits only", () => {
  assert.deepEqual(parse("retry: 1500\nretry: 1.5\nretry: -1\nretry:\nretry: 10s\n"), [1500]);
});

test("comments, unknown fields and names in other cases are ignored", () => {
  assert.deepEqual(parse(":\n: data: x\nfoo: bar\nData: x\n data: x\n\n"), []);
});

test("a byte order mark is ignored at the beginning only", () => {
  assert.deepEqual(parse(Buffer.from("\ufeffdata: a\n\n\ufeffdata: b\n\n")), [["a"]]);
});

test("a stream reads the same however its bytes are split", () => {
  const text = ": x\r\nid: ü1\r\nevent: a\ndata: {\"🐘\":1}\rdata: β\r\ndata: γ\r\n\r\nretry: 7\rdata: z\n\n\rid: n\0\ndata: last\r\r";
  const bytes = Buffer.from(text);
  const whole = parse(bytes);
  assert.deepEqual(whole, [['{"🐘":1}\nβ\nγ', "ü1"], 7, ["z", "ü1"], ["last", "ü1"]]);
  assert.deepEqual(parse(...[...bytes].map((byte) => Buffer.of(byte))), whole);
  for (let first = 0; first <= bytes.length; first += 1) {
    for (let second = first; second <= bytes.length; second += 1) {
      assert.deepEqual(parse(bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)), whole);
    }
  }
});

test("a line without end is refused at 64 Mi characters", () => {
  const part = "x".repeat(1024 * 1024);
  const parser = new SseParser(() => {});
  parser.push("data: ");
  assert.throws(() => {
    for (let count = 0; count < 70; count += 1) parser.push(part);
  }, RangeError);
});

// Random faults during continuous writes. PGHERALD_SEED repeats a run, PGHERALD_FAULTS prolongs it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "pgherald";
import { event, serve } from "./server.js";

const FAULTS = Number(process.env.PGHERALD_FAULTS ?? 200);
const SEED = Number(process.env.PGHERALD_SEED ?? Date.now() % 2 ** 32);

/** Mulberry32. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A table to which numbers are written one after the other. If it is `recorded`, the server resumes after any number that it has
 * not trimmed. Otherwise it sends neither ids nor `resync`, and only the client knows of a gap.
 */
class Table {
  /** The last number that was written. */
  last = 0;
  /** The last number that was sent. Writes are a little ahead of it, so that connections are lost while they catch up and after. */
  sent = 0;
  /** The server has trimmed the numbers up to this one. */
  trimmed = 0;
  faults = {};

  constructor(random, recorded) {
    this.random = random;
    this.recorded = recorded;
  }

  get faultCount() {
    return Object.values(this.faults).reduce((sum, count) => sum + count, 0);
  }

  between(low, high) {
    return low + Math.floor(this.random() * (high - low + 1));
  }

  /** Serves one stream until its fault. Once there have been enough faults, it serves without. */
  async serve(client) {
    let open = true;
    client.closed.then(() => {
      open = false;
    });
    const fault = this.faultCount < FAULTS ? this.fault() : { after: Infinity };
    if (fault.before === "hello") return client.destroy();
    client.hello({ heartbeat_ms: 20, resumable: this.recorded });
    if (fault.before === "live") return client.sendPart({ type: "live" }, this.random());
    let position = this.begin(client);
    this.sent = Math.max(this.sent, position);
    client.send({ type: "live" });
    for (let count = 0; open && count < fault.after; ) {
      await new Promise(setImmediate);
      for (; open && position < this.last && count < fault.after; count += 1) {
        client.send(this.event((position += 1)));
        this.sent = Math.max(this.sent, position);
      }
      if (this.random() < 0.1) client.send({ type: "heartbeat", at: "" });
    }
    if (open) this.break(client, fault.kind, position);
  }

  /** Answers the client's position. Returns the number from which on it gets events. */
  begin(client) {
    if (!this.recorded) return this.last;
    const since = client.query.get("since");
    if (since !== null && Number(since.slice(1)) >= this.trimmed) {
      client.send({ type: "resumed" });
      return Number(since.slice(1));
    }
    client.send({ type: "resync", reasons: [since === null ? "started" : "trimmed"], lost: 0, scope: {} });
    return this.last;
  }

  event(number) {
    return this.recorded ? event(number) : event(number, {});
  }

  fault() {
    const kinds = ["destroy", "part", "part", "end", "closing", "stall", "refuse", "hello", "live", "trim", "garbage"];
    const kind = kinds[this.between(0, kinds.length - 1)];
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
    return { kind, before: kind, after: this.between(0, 40) };
  }

  break(client, kind, position) {
    switch (kind) {
      case "part":
        return client.sendPart(this.event(position + 1), this.random());
      case "closing":
        return client.send({ type: "closing", reason: "shutdown", retry_ms: 1 });
      // Nothing more is sent, and the connection stays open.
      case "stall":
        return undefined;
      case "refuse":
        this.refusals = this.between(1, 3);
        return client.destroy();
      case "trim":
        this.trimmed = this.last;
        return client.destroy();
      // The next event arrives, and is not readable.
      case "garbage":
        this.last = Math.max(this.last, position + 1);
        client.send({ ...this.event(position + 1), event: null });
        return client.end();
      case "end":
        return client.end();
      default:
        return client.destroy();
    }
  }
}

for (const transport of ["sse", "ws"]) {
  for (const recorded of [true, false]) {
    const mode = recorded ? "in outbox mode" : "without ids";
    test(`${transport}: each number arrives once and in order, or a resync does, ${mode}`, { timeout: 120_000 + FAULTS * 1_000 }, async (t) => {
      t.diagnostic(`PGHERALD_SEED=${SEED}`);
      t.mock.method(Math, "random", () => 0);
      const table = new Table(generator(SEED), recorded);
      const refuse = () => (table.refusals > 0 && (table.refusals -= 1) >= 0 ? { status: 503, headers: {} } : undefined);
      const server = await serve((client) => table.serve(client), { refuse });
      const stream = connect(server.url, { transport });
      t.after(() => {
        stream.close();
        return server.stop();
      });
      const writer = write(table);

      // What the program knows: the numbers up to `known` were read from the table or arrived.
      let known = 0;
      let arrived = 0;
      let isLive = false;
      const seen = {};
      const finished = () => table.finished && known === table.last;
      while (!(isLive && finished())) {
        const { value } = await stream.next();
        seen[value.type] = (seen[value.type] ?? 0) + 1;
        if (value.type === "resync" || value.type === "lagged") known = Math.max(known, table.last);
        if (value.type === "live") isLive = true;
        if (value.type === "down") {
          assert.ok(isLive, "down twice");
          isLive = false;
        }
        if (value.type === "event") {
          const number = value.event.keys[0];
          assert.ok(number > arrived, `${number} after ${arrived}`);
          assert.ok(number <= known + 1, `${number} arrived, and ${known + 1} neither arrived nor was announced`);
          arrived = number;
          known = Math.max(known, number);
        }
      }
      await writer;
      t.diagnostic(JSON.stringify({ numbers: table.last, faults: table.faults, seen, requests: server.requests.length }));
      assert.ok(table.faultCount >= FAULTS);
      if (recorded) assert.ok(seen.resumed > seen.resync);
      else assert.equal(seen.resumed, undefined);
    });
  }
}

/** Writes numbers until there have been enough faults, and some more. */
async function write(table) {
  while (table.faultCount < FAULTS) {
    await new Promise(setImmediate);
    if (table.last < table.sent + 30) table.last += table.between(0, 2);
  }
  table.last += 500;
  table.finished = true;
}

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, PgheraldError } from "pgherald";
import { event, isLive, readUntil, serve, types } from "./server.js";

const DEADLINE = { timeout: 30_000 };
const started = { type: "resync", reasons: ["started"], lost: 0, scope: {} };
const live = { type: "live" };

/** Starts a server and connects to it. Both end with the test. */
async function start(t, onClient, options = {}, serverOptions) {
  t.mock.method(Math, "random", () => 0);
  const server = await serve(onClient, serverOptions);
  const states = [];
  const stream = connect(server.url, { onStatus: (status) => states.push(status), ...options });
  t.after(() => {
    stream.close();
    return server.stop();
  });
  return { server, stream, states };
}

function greet(client) {
  client.hello();
  client.send(started);
  client.send(live);
}

/**
 * Greets the first client with `resync` and the others with `resumed`, as a server does that has every position. `next` gets the
 * client and the number of its connection.
 */
function resuming(next, hello = () => ({})) {
  let connections = 0;
  return (client) => {
    connections += 1;
    client.hello(hello(connections));
    client.send(connections === 1 ? started : { type: "resumed" });
    client.send(live);
    next(client, connections);
  };
}

for (const transport of ["sse", "ws"]) {
  test(`${transport}: messages arrive in order, and unknown ones are ignored`, DEADLINE, async (t) => {
    const { stream } = await start(
      t,
      (client) => {
        greet(client);
        client.send({ type: "news", text: "?" });
        client.send({ type: "heartbeat", at: "2026-01-02T03:04:05Z" });
        client.send(event(1));
        client.send({ type: "lagged", missed: 3 });
        client.send(event(2, {}));
      },
      { transport },
    );
    const messages = await readUntil(stream, ({ event }) => event?.keys[0] === 2);
    assert.deepEqual(messages, [started, live, event(1), { type: "lagged", missed: 3 }, event(2, {})]);
  });

  test(`${transport}: bytes arrive one by one`, DEADLINE, async (t) => {
    const hello = { type: "hello", version: 1, heartbeat_ms: 5000, resumable: true };
    const { stream } = await start(t, (client) => client.trickle([hello, started, live, event(1), event(2)]), { transport });
    const messages = await readUntil(stream, ({ id }) => id === "i2");
    assert.deepEqual(messages, [started, live, event(1), event(2)]);
  });

  test(`${transport}: the filter is in the query`, DEADLINE, async (t) => {
    const options = { tables: ["public.t"], operations: ["insert", "delete"], keys: [7, 2n ** 60n, [1, "a&b"]] };
    const columns = { tenant: "acme & söhne", active: true };
    const { server, stream } = await start(t, greet, { transport, ...options, columns, since: "a+b" });
    await readUntil(stream, isLive);
    const { url } = server.requests[0];
    assert.equal(url.pathname, transport === "sse" ? "/v1/events" : "/v1/ws");
    assert.deepEqual([...url.searchParams], [
      ["table", "public.t"],
      ["operation", "insert"],
      ["operation", "delete"],
      ["key", "7"],
      ["key", "1152921504606846976"],
      ["key", '[1,"a&b"]'],
      ["column.tenant", "acme & söhne"],
      ["column.active", "true"],
      ["since", "a+b"],
    ]);
  });

  test(`${transport}: a lost connection is down, and is resumed after the last event`, DEADLINE, async (t) => {
    const onClient = resuming((client, connection) => {
      client.send(event(connection));
      if (connection === 1) client.sendPart(event(2), 0.9);
    });
    const { server, stream } = await start(t, onClient, { transport });
    const messages = await readUntil(stream, ({ id }) => id === "i2");
    assert.deepEqual(types(messages), ["resync", "live", "event", "down", "resumed", "live", "event"]);
    assert.deepEqual(server.requests.map(({ url }) => url.searchParams.get("since")), [null, "i1"]);
  });

  test(`${transport}: the client announces a gap that the server does not`, DEADLINE, async (t) => {
    let connections = 0;
    const { stream } = await start(
      t,
      (client) => {
        connections += 1;
        client.hello({ resumable: false });
        client.send(live);
        client.send(event(connections, {}));
        if (connections === 1) client.end();
      },
      { transport },
    );
    const messages = await readUntil(stream, ({ event }) => event?.keys[0] === 2);
    assert.deepEqual(types(messages), ["resync", "live", "event", "down", "resync", "live", "event"]);
    assert.deepEqual(messages[0].reasons, ["started"]);
    assert.deepEqual(messages[4], { type: "resync", reasons: ["reconnected"], lost: 0, scope: {} });
  });

  test(`${transport}: resumed of a server that cannot resume is replaced by resync`, DEADLINE, async (t) => {
    const onClient = resuming(
      (client, connection) => {
        if (connection === 1) client.end();
      },
      (connection) => ({ resumable: connection === 1 }),
    );
    const { stream } = await start(t, onClient, { transport, since: "i1" });
    await readUntil(stream, isLive);
    const messages = await readUntil(stream, isLive);
    assert.deepEqual(types(messages), ["down", "resync", "live"]);
  });

  test(`${transport}: nothing that follows closing is delivered`, DEADLINE, async (t) => {
    const last = [{ type: "closing", reason: "shutdown", retry_ms: 1 }, event(98), event(99)];
    const onClient = resuming((client, connection) => {
      client.send(event(connection));
      if (connection === 1) client.write(Buffer.concat(last.map((message) => client.encode(message))));
    });
    const { stream } = await start(t, onClient, { transport });
    const messages = await readUntil(stream, ({ id }) => id === "i2");
    assert.deepEqual(types(messages), ["resync", "live", "event", "down", "resumed", "live", "event"]);
    assert.match(messages[3].reason, /shutdown/);
  });

  test(`${transport}: a message that is not readable is a resync`, DEADLINE, async (t) => {
    const { stream } = await start(
      t,
      (client) => {
        greet(client);
        client.send({ type: "event", id: "i1", event: "?" });
        client.send(event(2));
      },
      { transport },
    );
    const messages = await readUntil(stream, ({ id }) => id === "i2");
    assert.deepEqual(messages[2], { type: "resync", reasons: ["undecodable"], lost: 1, scope: {} });
  });

  for (const [status, kind] of [
    [400, "bad_request"],
    [401, "unauthorized"],
    [403, "forbidden"],
    [404, "bad_request"],
  ]) {
    test(`${transport}: status ${status} ends the stream`, DEADLINE, async (t) => {
      const body = JSON.stringify({ error: { code: "bad_filter", message: "unknown column" } });
      const refuse = () => ({ status, headers: {}, body });
      const { server, stream, states } = await start(t, greet, { transport, ticket: () => "geheim" }, { refuse });
      await assert.rejects(stream.next(), (error) => {
        assert.ok(error instanceof PgheraldError);
        assert.deepEqual([error.kind, error.status, error.code, error.retryable], [kind, status, "bad_filter", false]);
        assert.match(error.message, /unknown column/);
        assert.doesNotMatch(`${error.stack} ${error.cause?.stack}`, /geheim/);
        return true;
      });
      assert.deepEqual(await stream.next(), { done: true, value: undefined });
      // Of Node.js 24, the WebSocket itself repeats a request that is answered with 401.
      assert.equal(server.requests.filter(({ url }) => url.pathname === "/v1/events").length, 1);
      assert.equal(states.at(-1).state, "closed");
    });
  }

  for (const status of [429, 503]) {
    test(`${transport}: status ${status} is retried, not before Retry-After`, DEADLINE, async (t) => {
      let refusals = 0;
      const refuse = () => {
        refusals += 1;
        return refusals <= 2 ? { status, headers: { "retry-after": "0" }, body: "<html>busy" } : undefined;
      };
      const { stream, states } = await start(t, greet, { transport }, { refuse });
      await readUntil(stream, isLive);
      const { error } = states.find(({ state }) => state === "waiting");
      assert.deepEqual([error.kind, error.status], [status === 429 ? "too_many_requests" : "server", status]);
    });
  }

  test(`${transport}: each connection has a ticket of its own`, DEADLINE, async (t) => {
    let tickets = 0;
    const { server, stream } = await start(t, (client) => (tickets < 3 ? client.destroy() : greet(client)), {
      transport,
      ticket: async () => `t${(tickets += 1)}`,
    });
    await readUntil(stream, isLive);
    const used = server.requests.map(({ url }) => url.searchParams.get("ticket"));
    assert.equal(used.length, tickets);
    assert.equal(new Set(used).size, tickets);
  });

  test(`${transport}: a ticket that cannot be had is retried`, DEADLINE, async (t) => {
    let calls = 0;
    const ticket = () => {
      calls += 1;
      if (calls === 1) throw new Error("no network");
      return "t";
    };
    const { stream, states } = await start(t, greet, { transport, ticket });
    await readUntil(stream, isLive);
    const { error } = states.find(({ state }) => state === "waiting");
    assert.deepEqual([error.kind, error.cause.message], ["credentials", "no network"]);
  });

  test(`${transport}: another server is recognized`, DEADLINE, async (t) => {
    const { stream } = await start(t, (client) => client.send(live), { transport });
    await assert.rejects(stream.next(), { kind: "protocol", message: /not a hello/ });
    const newer = await start(t, (client) => client.hello({ version: 2 }), { transport });
    await assert.rejects(newer.stream.next(), { kind: "protocol", message: /version 2/ });
  });

  test(`${transport}: close, break and abort end the connection`, DEADLINE, async (t) => {
    const gone = [];
    const onClient = (client) => {
      gone.push(client.closed);
      greet(client);
    };
    const { server, stream } = await start(t, onClient, { transport });
    for await (const { type } of stream) if (type === "live") break;
    assert.deepEqual(await stream.next(), { done: true, value: undefined });

    const closed = connect(server.url, { transport });
    await readUntil(closed, isLive);
    const [first, second] = [closed.next(), closed.next()];
    closed.close();
    closed.close();
    assert.deepEqual([(await first).done, (await second).done, (await closed.next()).done], [true, true, true]);

    const controller = new AbortController();
    const aborted = connect(server.url, { transport, signal: controller.signal });
    await readUntil(aborted, isLive);
    const [pending, another] = [aborted.next(), aborted.next()];
    controller.abort(new Error("unmounted"));
    await assert.rejects(pending, /unmounted/);
    assert.equal((await another).done, true);
    await Promise.all(gone);
    assert.equal(gone.length, 3);
    await assert.rejects(connect(server.url, { transport, signal: controller.signal }).next(), /unmounted/);
    assert.equal(gone.length, 3);
  });

  test(`${transport}: a program that does not read gets lagged`, DEADLINE, async (t) => {
    let finish;
    const { stream, states } = await start(
      t,
      (client) => {
        greet(client);
        for (let number = 1; number <= 10_000; number += 1) client.send(event(number));
        finish = () => client.send(event(10_001));
        client.send({ type: "down", reason: "database" });
        client.send({ type: "closing", reason: "end of the flood", retry_ms: 3_000_000 });
      },
      { transport, bufferSize: 50 },
    );
    // The client has received everything once it waits for the next connection.
    while (!states.some(({ state }) => state === "waiting")) await new Promise(setImmediate);
    const messages = await readUntil(stream, ({ type }) => type === "down");
    assert.ok(messages.length <= 50);
    assert.equal(messages[0].type, "lagged");
    const read = messages.filter(({ type }) => type === "event");
    assert.equal(messages[0].missed + read.length, 10_000);
    assert.deepEqual(read.at(-1), event(10_000));
  });

  test(`${transport}: a large message arrives`, DEADLINE, async (t) => {
    const large = event(1);
    large.event.columns[0].text = "ü".repeat(3_000_000);
    const { stream } = await start(
      t,
      (client) => {
        greet(client);
        client.send(large);
      },
      { transport },
    );
    const messages = await readUntil(stream, ({ type }) => type === "event");
    assert.deepEqual(messages.at(-1), large);
  });

  test(`${transport}: a server that is not there is waited for`, DEADLINE, async (t) => {
    t.mock.method(Math, "random", () => 0);
    const gone = await serve(greet);
    await gone.stop();
    let server;
    const states = [];
    const stream = connect(gone.url, { transport, onStatus: (status) => states.push(status) });
    t.after(() => {
      stream.close();
      return server?.stop();
    });
    while (states.filter(({ state }) => state === "waiting").length < 3) await new Promise(setImmediate);
    assert.equal(states.find(({ state }) => state === "waiting").error.kind, "network");
    assert.match(states.find(({ state }) => state === "waiting").error.message, /ECONNREFUSED|cannot reach/);
    server = await serve(greet, { port: Number(new URL(gone.url).port) });
    await readUntil(stream, isLive);
  });
}

test("ws: an implementation that delivers messages after close is not believed", DEADLINE, async (t) => {
  let connections = 0;
  class Late extends EventTarget {
    constructor() {
      super();
      const first = (connections += 1) === 1;
      const closing = { type: "closing", reason: "shutdown", retry_ms: 1 };
      const hello = { type: "hello", version: 1, heartbeat_ms: 5000, resumable: true };
      const messages = [hello, started, live, event(connections), ...(first ? [closing, event(99)] : [])];
      setImmediate(() => messages.forEach((message) => this.#emit("message", { data: JSON.stringify(message) })));
    }

    #emit(type, fields) {
      this.dispatchEvent(Object.assign(new Event(type), fields));
    }

    close() {}
  }
  t.mock.method(Math, "random", () => 0);
  const stream = connect("http://server", { transport: "ws", WebSocket: Late });
  t.after(() => stream.close());
  const messages = await readUntil(stream, ({ id }) => id === "i2");
  assert.deepEqual(types(messages), ["resync", "live", "event", "down", "resync", "live", "event"]);
});

test("ws: the client connects again whatever the close code", DEADLINE, async (t) => {
  let connections = 0;
  // 1008 also stands for pings that were not answered, for example while the machine slept.
  const codes = [1012, 4401, 4408, 1008, 1000];
  const { stream, states } = await start(
    t,
    (client) => {
      if (connections === codes.length) return greet(client);
      client.hello();
      client.end(codes[connections++], "x");
    },
    { transport: "ws" },
  );
  await readUntil(stream, ({ type }) => type === "live");
  const errors = states.filter(({ state }) => state === "waiting").map(({ error }) => error);
  assert.deepEqual(errors.map(({ kind }) => kind), codes.map(() => "network"));
  codes.forEach((code, index) => assert.match(errors[index].message, new RegExp(`code ${code}`)));
});

test("sse: a token is sent in the header, never in the address", DEADLINE, async (t) => {
  let tokens = 0;
  const token = () => `secret${(tokens += 1)}`;
  const { server, stream } = await start(t, (client) => (tokens < 2 ? client.destroy() : greet(client)), { token });
  await readUntil(stream, isLive);
  assert.deepEqual(server.requests.map(({ headers }) => headers.authorization), ["Bearer secret1", "Bearer secret2"]);
  assert.ok(server.requests.every(({ url }) => !url.href.includes("secret")));
  const wrong = connect(server.url, { token: "a\r\nb: c" });
  await assert.rejects(wrong.next(), { kind: "unauthorized" });
});

test("sse: a page that is no event stream is refused", DEADLINE, async (t) => {
  const refuse = () => ({ status: 200, headers: { "content-type": "text/html" }, body: "<html>" });
  const { stream } = await start(t, greet, {}, { refuse });
  await assert.rejects(stream.next(), { kind: "protocol", message: /text\/html/ });
});

test("an error in onStatus does not end the stream", DEADLINE, async (t) => {
  const thrown = [];
  t.mock.method(globalThis, "queueMicrotask", (callback) => {
    try {
      callback();
    } catch (error) {
      thrown.push(error.message);
    }
  });
  const onStatus = ({ state }) => {
    throw new Error(state);
  };
  const { stream } = await start(t, greet, { onStatus });
  await readUntil(stream, isLive);
  assert.deepEqual(thrown, ["connecting", "open"]);
});

test("a stream may be closed by its own status", DEADLINE, async (t) => {
  const { server } = await start(t, greet);
  const stream = connect(`${server.url}/second`, { onStatus: () => stream.close() });
  assert.equal((await stream.next()).done, true);
  assert.ok(server.requests.every(({ url }) => !url.pathname.startsWith("/second")));
});

test("mistakes in arguments are type errors", () => {
  const url = "http://localhost";
  const wrong = [
    { table: "t" },
    { tables: "t" },
    { tables: [""] },
    { operations: ["upsert"] },
    { keys: [1] },
    { tables: ["a", "b"], keys: [1] },
    { tables: ["a"], keys: [null] },
    { columns: { a: null } },
    { columns: ["a"] },
    { since: 7 },
    { transport: "http" },
    { transport: "ws", token: "x" },
    { token: "x", ticket: () => "y" },
    { ticket: "x" },
    { bufferSize: 0 },
    { signal: {} },
    { transport: "ws", WebSocket: null },
  ];
  for (const options of wrong) assert.throws(() => connect(url, options), TypeError, JSON.stringify(options));
  for (const address of ["nowhere", "ftp://a", "http://u:p@a", "http://a?x=1", "http://a#x"]) {
    assert.throws(() => connect(address), TypeError, address);
  }
});

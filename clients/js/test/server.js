// The server's side of both transports, for tests: HTTP by node:http, WebSocket by hand (RFC 6455).

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/**
 * Starts a server. `onClient(client)` is called for each stream. `refuse(request)` may return `{ status, headers, body }`.
 * `requests` lists the requests that arrived, as `{ url, headers }`.
 */
export async function serve(onClient, { refuse = () => undefined, port = 0 } = {}) {
  const clients = new Set();
  const requests = [];
  const accept = (client) => {
    clients.add(client);
    client.closed.then(() => clients.delete(client));
    onClient(client);
  };
  const refusal = (request) => {
    requests.push({ url: new URL(request.url, "http://server"), headers: request.headers });
    return refuse(requests.at(-1));
  };
  const server = createServer((request, response) => {
    const refused = refusal(request);
    if (refused) return response.writeHead(refused.status, refused.headers).end(refused.body);
    response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    accept(new SseClient(request, response));
  });
  server.on("upgrade", (request, socket) => {
    socket.on("error", () => {});
    const refused = refusal(request);
    if (refused) return socket.end(`HTTP/1.1 ${refused.status} Refused\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    const key = createHash("sha1").update(request.headers["sec-websocket-key"] + GUID);
    const head = ["HTTP/1.1 101 Switching Protocols", "upgrade: websocket", "connection: upgrade"];
    head.push(`sec-websocket-accept: ${key.digest("base64")}`, "", "");
    socket.write(head.join("\r\n"));
    accept(new SocketClient(request, socket));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    clients,
    requests,
    async stop() {
      for (const client of clients) client.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

class Client {
  constructor(request, socket) {
    this.query = new URL(request.url, "http://server").searchParams;
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.on("close", resolve));
    socket.setNoDelay(true);
  }

  /** Sends a message. */
  send(message) {
    this.write(this.encode(message));
  }

  /** Sends a message of which only some bytes arrive before the connection is lost. */
  sendPart(message, share) {
    const bytes = this.encode(message);
    this.write(bytes.subarray(0, Math.floor(bytes.length * share)));
    this.socket.end();
    this.socket.destroySoon();
  }

  /** Sends the bytes one by one, each in a packet of its own as far as TCP permits. */
  async trickle(messages) {
    for (const byte of Buffer.concat(messages.map((message) => this.encode(message)))) {
      await new Promise((resolve) => this.write(Buffer.of(byte), resolve));
      await new Promise(setImmediate);
    }
  }

  hello(fields = {}) {
    this.send({ type: "hello", version: 1, heartbeat_ms: 5000, resumable: true, ...fields });
  }

  destroy() {
    this.socket.destroy();
  }
}

class SseClient extends Client {
  constructor(request, response) {
    super(request, response.socket);
    this.response = response;
  }

  encode(message) {
    const id = message.id === undefined ? "" : `id: ${message.id}\n`;
    return Buffer.from(`${id}event: ${message.type}\ndata: ${JSON.stringify(message)}\n\n`);
  }

  write(bytes, callback) {
    this.response.write(bytes, callback);
  }

  end() {
    this.response.end();
  }
}

class SocketClient extends Client {
  constructor(request, socket) {
    super(request, socket);
    let pending = Buffer.alloc(0);
    socket.on("data", (bytes) => {
      pending = this.#read(Buffer.concat([pending, bytes]));
    });
    // The client has closed its side.
    socket.on("end", () => socket.end());
  }

  encode(message) {
    return frame(1, Buffer.from(JSON.stringify(message)));
  }

  write(bytes, callback) {
    this.socket.write(bytes, callback);
  }

  end(code = 1012, reason = "service restart") {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.socket.end(frame(8, Buffer.concat([payload, Buffer.from(reason)])));
  }

  /** Reads the client's frames. Clients of this protocol send none but those that control the connection. */
  #read(bytes) {
    while (bytes.length >= 6) {
      const length = bytes[1] & 127;
      if ((bytes[1] & 128) === 0 || length > 125) throw new Error("a client's frame must be masked and short");
      if (bytes.length < 6 + length) break;
      const payload = bytes.subarray(6, 6 + length).map((byte, index) => byte ^ bytes[2 + (index % 4)]);
      const opcode = bytes[0] & 15;
      if (opcode === 8) this.socket.end(frame(8, payload));
      else if (opcode === 9) this.socket.write(frame(10, payload));
      bytes = bytes.subarray(6 + length);
    }
    return bytes;
  }
}

function frame(opcode, payload) {
  const head = [0x80 | opcode];
  if (payload.length < 126) head.push(payload.length);
  else if (payload.length < 65_536) head.push(126, payload.length >> 8, payload.length & 255);
  else head.push(127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => (payload.length >>> shift) & 255));
  return Buffer.concat([Buffer.from(head), payload]);
}

/** Returns a message about the insertion of row `number`. */
export function event(number, fields = { id: `i${number}` }) {
  const change = { operation: "insert", schema: "public", table: "t", sent_at: "2026-01-02T03:04:05Z", keys: [number] };
  return { type: "event", ...fields, event: { ...change, columns: [{ text: "Grüße 🐘\r\n" }] } };
}

/** Reads messages until `last` accepts one. Returns all of them. The test's timeout is the deadline. */
export async function readUntil(stream, last) {
  const messages = [];
  for (;;) {
    const { done, value } = await stream.next();
    if (done) throw new Error(`the stream ended after ${JSON.stringify(messages)}`);
    messages.push(value);
    if (last(value)) return messages;
  }
}

export const isLive = ({ type }) => type === "live";
export const types = (messages) => messages.map(({ type }) => type);

import { PgheraldError, responseError } from "./error.js";
import { SseParser } from "./sse.js";

/**
 * Both transports run one connection. They call `handler.heard()` for whatever arrives and `handler.message(text, id)` for each
 * message, and reject when the connection has ended: with the signal's reason, or with a `PgheraldError`. After the signal is
 * aborted, they call the handler no more.
 */

/** Reads Server-Sent Events by fetch, because an `EventSource` can neither send headers nor report a status. */
export async function readEvents({ url, headers }, { fetch, signal, handler }) {
  const response = await open(url, headers, fetch, signal);
  const parser = new SseParser(
    (data, id) => signal.aborted || handler.message(data, id),
    (ms) => handler.retry(ms),
  );
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) break;
      handler.heard();
      parser.push(decoder.decode(value, { stream: true }));
      signal.throwIfAborted();
    }
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof RangeError) throw new PgheraldError("protocol", `the stream is not readable: ${cause.message}`, { cause });
    throw new PgheraldError("network", `the connection to ${place(url)} was lost: ${cause.message}`, { cause });
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new PgheraldError("network", `the server at ${place(url)} ended the stream`);
}

async function open(url, headers, fetch, signal) {
  let response;
  try {
    response = await fetch(url.href, { headers, signal, cache: "no-store" });
  } catch (cause) {
    signal.throwIfAborted();
    throw new PgheraldError("network", `cannot reach ${place(url)}: ${cause?.cause?.message ?? cause?.message}`, { cause });
  }
  if (response.status !== 200) throw await responseError(response);
  const type = response.headers.get("content-type") ?? "nothing";
  if (!type.startsWith("text/event-stream")) {
    response.body?.cancel().catch(() => {});
    const message = `${place(url)} answered with ${type} instead of text/event-stream; check that it is a pgherald distributor`;
    throw new PgheraldError("protocol", message, { status: 200 });
  }
  return response;
}

/**
 * Reads a WebSocket. If the server refuses it, `probe` makes the same request for Server-Sent Events, because a WebSocket does
 * not reveal the status of a refusal.
 */
export async function readSocket({ url }, { WebSocket, fetch, signal, handler, probe }) {
  const { opened, code, reason } = await closeOf(url, WebSocket, signal, handler);
  if (!opened) {
    const request = await probe();
    const response = await open(request.url, request.headers, fetch, signal);
    response.body.cancel().catch(() => {});
    throw new PgheraldError("network", `cannot open a WebSocket to ${place(url)}, although it serves events over HTTP`);
  }
  const detail = reason === "" ? `code ${code}` : `code ${code}, ${reason}`;
  throw new PgheraldError("network", `the connection to ${place(url)} was closed (${detail})`);
}

/** Resolves when the socket is closed. Nobody waits for the closing handshake of an aborted one: its peer may be gone. */
function closeOf(url, WebSocket, signal, handler) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url.href);
    socket.binaryType = "arraybuffer";
    let opened = false;
    const abort = () => {
      reject(signal.reason);
      socket.close();
    };
    signal.addEventListener("abort", abort, { once: true });
    socket.addEventListener("open", () => {
      opened = true;
    });
    socket.addEventListener("message", ({ data }) => {
      if (signal.aborted) return;
      handler.heard();
      handler.message(data);
    });
    const ended = ({ code = 1006, reason = "" }) => {
      signal.removeEventListener("abort", abort);
      resolve({ opened, code, reason });
    };
    socket.addEventListener("close", ended);
    // A `close` event with code 1006 should follow. Node.js 20 sends none if the server refuses the connection.
    socket.addEventListener("error", () => ended({}));
  });
}

/** Returns an address for messages. The query is left out, because it may contain a ticket. */
function place(url) {
  return url.origin + url.pathname;
}

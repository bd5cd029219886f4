import { Backoff } from "./backoff.js";
import { Buffer } from "./buffer.js";
import { Continuity } from "./continuity.js";
import { PgheraldError, retryMs } from "./error.js";
import { checkHello, readMessage } from "./message.js";
import { makeRequest } from "./request.js";
import { Watchdog, sleep } from "./time.js";
import { readEvents, readSocket } from "./transport.js";

/** The limit from the beginning of an attempt to the server's first message, in milliseconds. */
const CONNECT_MS = 10_000;

/** A stream of messages: an async iterator over a connection that is opened again whenever it is lost. */
export class Stream {
  #options;
  #buffer;
  #continuity;
  #backoff = new Backoff();
  /** Calls of `next` that wait for a message. The buffer is empty while there are any. */
  #waiting = [];
  /** How the stream ended: `{}`, or `{ error }` until `next` has thrown the error. */
  #end;
  #abort = new AbortController();
  /** The least wait between connections that the server asked for by the field `retry` of its event stream. */
  #retryMs;
  #onAbort;

  constructor(options) {
    this.#options = options;
    this.#buffer = new Buffer(options.bufferSize);
    this.#continuity = new Continuity(options.since);
    const { signal } = options;
    this.#onAbort = () => {
      this.#buffer.clear();
      this.#finish({ error: signal.reason });
    };
    if (signal?.aborted) return this.#onAbort();
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#run().catch((error) => this.#finish({ error }));
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    const value = this.#buffer.shift();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#end === undefined) return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    const end = this.#end;
    this.#end = {};
    return "error" in end ? Promise.reject(end.error) : Promise.resolve({ done: true, value: undefined });
  }

  return(value) {
    this.close();
    return Promise.resolve({ done: true, value });
  }

  close() {
    this.#buffer.clear();
    this.#finish({});
  }

  /** Connects until the stream ends. */
  async #run() {
    // The program gets the stream before its first status.
    await undefined;
    for (let attempt = 1; ; attempt += 1) {
      this.#status({ state: "connecting", attempt });
      // The status may have made the program close the stream.
      if (this.#end !== undefined) return;
      const error = await this.#connection();
      if (this.#end !== undefined) return;
      if (!error.retryable) return this.#finish({ error });
      this.#deliver(this.#continuity.lost(error.message));
      const delay = this.#backoff.next(error.retryMs ?? this.#retryMs);
      this.#status({ state: "waiting", error, retryMs: delay });
      await sleep(delay, this.#abort.signal);
      if (this.#end !== undefined) return;
    }
  }

  /** Runs one connection and returns the error that it ended with. Throws what is not an error of the connection. */
  async #connection() {
    const abort = new AbortController();
    const { signal } = abort;
    const end = () => abort.abort(this.#abort.signal.reason);
    this.#abort.signal.addEventListener("abort", end, { once: true });
    const timeout = setTimeout(() => {
      abort.abort(new PgheraldError("timeout", `the server sent no message within ${CONNECT_MS} ms`));
    }, CONNECT_MS);
    const watchdog = new Watchdog();
    const hello = (message) => {
      clearTimeout(timeout);
      const silence = `the server sent nothing for ${3 * message.heartbeat_ms} ms`;
      watchdog.start(message.heartbeat_ms, () => abort.abort(new PgheraldError("timeout", silence)));
    };
    try {
      return await this.#read(signal, this.#handler(abort, watchdog, hello));
    } catch (error) {
      if (error instanceof PgheraldError || this.#end !== undefined) return error;
      throw error;
    } finally {
      this.#abort.signal.removeEventListener("abort", end);
      clearTimeout(timeout);
      watchdog.stop();
    }
  }

  async #read(signal, handler) {
    const options = this.#options;
    const since = this.#continuity.position;
    const request = (path) => makeRequest(options, { path, since, signal });
    const { fetch, WebSocket } = options;
    if (options.transport === "sse") return readEvents(await request("v1/events"), { fetch, signal, handler });
    const probe = () => request("v1/events");
    return readSocket(await request("v1/ws"), { WebSocket, fetch, signal, handler, probe });
  }

  /** Returns the handler of one connection's messages. An error in it ends the connection. */
  #handler(abort, watchdog, onHello) {
    let greeted = false;
    const take = (text, id) => {
      const message = readMessage(text);
      if (!greeted) {
        checkHello(message);
        greeted = true;
        this.#continuity.connected(message.resumable);
        onHello(message);
        this.#status({ state: "open", hello: message });
      } else {
        this.#take(message, id);
      }
    };
    return {
      heard: () => watchdog.heard(),
      retry: (ms) => {
        this.#retryMs = retryMs(ms);
      },
      message: (text, id) => {
        try {
          take(text, id);
        } catch (error) {
          abort.abort(error);
        }
      },
    };
  }

  #take(message, id) {
    switch (message?.type) {
      case undefined:
        return this.#deliver(this.#continuity.acceptUnreadable(id));
      case "closing":
        throw new PgheraldError("closing", `the server closes the connection: ${message.reason}`, { retryMs: message.retry_ms });
      case "heartbeat":
        this.#continuity.move(message);
        return this.#backoff.reset();
      case "event":
        this.#backoff.reset();
        return this.#deliver(this.#continuity.accept(message));
      case "live":
      case "down":
      case "resync":
      case "resumed":
      case "lagged":
        return this.#deliver(this.#continuity.accept(message));
      // Newer servers may send types that this client does not know. A second `hello` has no meaning.
    }
  }

  #deliver(messages) {
    for (const value of messages) {
      if (this.#end !== undefined) return;
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#buffer.push(value);
      else waiting.resolve({ done: false, value });
    }
  }

  #finish(end) {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#abort.abort();
    this.#status({ state: "closed", ...end });
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if ("error" in this.#end) {
        this.#end = {};
        reject(end.error);
      } else {
        resolve({ done: true, value: undefined });
      }
    }
  }

  /** An error in the program's function is reported like that of an event listener. It does not end the stream. */
  #status(status) {
    try {
      this.#options.onStatus(status);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

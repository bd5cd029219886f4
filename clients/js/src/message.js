import { PgheraldError, retryMs } from "./error.js";
import { parse } from "./json.js";

/** The version of the message format that this client reads. */
const VERSION = 1;
const DEFAULT_HEARTBEAT_MS = 5_000;
/** A shorter heartbeat would make the client take any pause for silence. */
const MIN_HEARTBEAT_MS = 10;
const MAX_HEARTBEAT_MS = 600_000;

/** Returns the message of a text, or `undefined` if the text is not one. Fields that the client relies on have the right types. */
export function readMessage(text) {
  const message = parseObject(text);
  if (typeof message?.type !== "string") return undefined;
  switch (message.type) {
    case "hello":
      return { ...message, heartbeat_ms: heartbeat(message.heartbeat_ms), resumable: message.resumable === true };
    case "event":
      return readEvent(message);
    case "resync":
      return {
        ...message,
        reasons: Array.isArray(message.reasons) ? message.reasons : [],
        lost: count(message.lost),
        scope: isObject(message.scope) ? message.scope : {},
      };
    case "lagged":
      return { ...message, missed: count(message.missed) };
    case "down":
      return { ...message, reason: String(message.reason ?? "unknown") };
    case "closing":
      return { ...message, retry_ms: retryMs(message.retry_ms) };
    default:
      return message;
  }
}

/** Throws if the first message of a connection is not a `hello` of a version that this client reads. */
export function checkHello(message) {
  if (message?.type !== "hello") {
    throw new PgheraldError("protocol", "the first message of the server was not a hello; check that it is a pgherald distributor");
  }
  if (message.version !== VERSION) {
    const found = `the server sends version ${message.version} of the messages, and this client reads version ${VERSION}`;
    throw new PgheraldError("protocol", `${found}; install a client of the server's version`);
  }
}

function readEvent(message) {
  const { id, event } = message;
  if (!isObject(event) || typeof event.operation !== "string" || typeof event.table !== "string") return undefined;
  if (id === undefined || (typeof id === "string" && id !== "")) return message;
  return undefined;
}

function parseObject(text) {
  // A binary frame has no text.
  if (typeof text !== "string") return undefined;
  try {
    const value = parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function count(value) {
  return Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function heartbeat(value) {
  if (!Number.isFinite(value) || value <= 0) return DEFAULT_HEARTBEAT_MS;
  return Math.min(Math.max(value, MIN_HEARTBEAT_MS), MAX_HEARTBEAT_MS);
}

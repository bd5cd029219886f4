import { keyJson } from "./json.js";

const NAMES = new Set([
  "tables",
  "operations",
  "keys",
  "columns",
  "since",
  "transport",
  "token",
  "ticket",
  "signal",
  "onStatus",
  "bufferSize",
  "fetch",
  "WebSocket",
]);
const OPERATIONS = ["insert", "update", "delete", "truncate"];
const SCHEMES = ["http:", "https:", "ws:", "wss:"];
const MIN_BUFFER = 4;

/**
 * Checks the arguments of `connect` and fills in defaults.
 *
 * Throws a `TypeError` for each mistake that the program itself can make. An unknown name is a mistake: if `table` were ignored
 * in place of `tables`, the program would receive every table.
 */
export function readOptions(url, options) {
  for (const name of Object.keys(options)) {
    require(NAMES.has(name), `unknown option ${JSON.stringify(name)}; the options are ${[...NAMES].join(", ")}`);
  }
  const { transport = "sse", token, ticket, signal, since, onStatus = () => {}, bufferSize = 1000 } = options;
  require(transport === "sse" || transport === "ws", '`transport` must be "sse" or "ws"');
  require(token === undefined || ticket === undefined, "`token` and `ticket` exclude each other");
  require(token === undefined || isText(token) || isFunction(token), "`token` must be a string or a function");
  require(ticket === undefined || isFunction(ticket), "`ticket` must be a function, because each connection uses up a ticket");
  require(
    token === undefined || transport === "sse",
    '`token` is sent in a header, which a WebSocket cannot send: use `ticket`, or transport "sse"',
  );
  require(signal === undefined || isFunction(signal?.addEventListener), "`signal` must be an AbortSignal");
  require(since === undefined || isText(since), "`since` must be the id of an event, a string");
  require(isFunction(onStatus), "`onStatus` must be a function");
  require(
    Number.isSafeInteger(bufferSize) && bufferSize >= MIN_BUFFER,
    `\`bufferSize\` must be a whole number, at least ${MIN_BUFFER}`,
  );
  // Looked up with each connection, so that a replaced global counts. A browser's fetch must be called without `this`.
  const { fetch = (...args) => globalThis.fetch(...args), WebSocket = globalThis.WebSocket } = options;
  require(
    transport === "sse" || isFunction(WebSocket),
    'this runtime has no global WebSocket (Node.js has one from 22 on): pass one as `WebSocket`, or use transport "sse"',
  );
  const base = readBase(url);
  const query = readFilter(options);
  return { base, query, transport, token, ticket, signal, since, onStatus, bufferSize, fetch, WebSocket };
}

function readBase(url) {
  // In a page, the address may be relative to it.
  const base = new URL(url, globalThis.location?.href);
  require(SCHEMES.includes(base.protocol), `\`url\` must begin with http, https, ws or wss, not ${base.protocol}`);
  require(base.username === "" && base.password === "", "`url` must not contain credentials: use `token` or `ticket`");
  require(base.search === "" && base.hash === "", "`url` must have neither a query nor a fragment: use the options");
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return base;
}

function readFilter({ tables = [], operations = [], keys = [], columns = {} }) {
  const query = new URLSearchParams();
  for (const table of list(tables, "tables")) {
    require(isText(table), "`tables` must be an array of names");
    query.append("table", table);
  }
  for (const operation of list(operations, "operations")) {
    require(OPERATIONS.includes(operation), `\`operations\` must be an array of ${OPERATIONS.join(", ")}`);
    query.append("operation", operation);
  }
  require(list(keys, "keys").length === 0 || tables.length === 1, "`keys` require exactly one table in `tables`");
  for (const key of keys) query.append("key", keyJson(key));
  require(typeof columns === "object" && columns !== null && !Array.isArray(columns), "`columns` must be an object");
  for (const [name, value] of Object.entries(columns)) {
    require(
      ["string", "number", "bigint", "boolean"].includes(typeof value),
      `the value of column ${JSON.stringify(name)} must be a string, number, bigint or boolean`,
    );
    query.append(`column.${name}`, String(value));
  }
  return query;
}

function list(value, name) {
  require(Array.isArray(value), `\`${name}\` must be an array`);
  return value;
}

function isText(value) {
  return typeof value === "string" && value !== "";
}

function isFunction(value) {
  return typeof value === "function";
}

function require(condition, message) {
  if (!condition) throw new TypeError(message);
}

import { PgheraldError } from "./error.js";
import { abortable } from "./time.js";

/**
 * Returns the address and the headers of one connection. A token or ticket that is a function is called for each connection, so
 * that an expired one is replaced.
 */
export async function makeRequest(options, { path, since, signal }) {
  const url = new URL(path, options.base);
  url.protocol = scheme(url.protocol, path);
  url.search = options.query.toString();
  if (since !== undefined) url.searchParams.append("since", since);
  const headers = { accept: "text/event-stream" };
  const token = await credential(options.token, "token", signal);
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  const ticket = await credential(options.ticket, "ticket", signal);
  if (ticket !== undefined) url.searchParams.append("ticket", ticket);
  return { url, headers };
}

function scheme(protocol, path) {
  const secure = protocol === "https:" || protocol === "wss:";
  if (path === "v1/ws") return secure ? "wss:" : "ws:";
  return secure ? "https:" : "http:";
}

async function credential(source, name, signal) {
  if (source === undefined) return undefined;
  let value = source;
  if (typeof source === "function") {
    try {
      value = await abortable(Promise.resolve(source()), signal);
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof PgheraldError) throw cause;
      throw new PgheraldError("credentials", `the function \`${name}\` failed: ${cause?.message ?? cause}`, { cause });
    }
  }
  // Any other text would be refused as a header, by an error that looks like one of the network.
  if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) {
    throw new PgheraldError("unauthorized", `the ${name} must be a string of visible ASCII characters`);
  }
  return value;
}

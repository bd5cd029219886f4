import { readOptions } from "./options.js";
import { Stream } from "./stream.js";

export { PgheraldError } from "./error.js";

/** Follows the changes that a pgherald distributor sends. `index.d.ts` documents the options and the messages. */
export function connect(url, options = {}) {
  return new Stream(readOptions(url, options));
}

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/**
 * Parses JSON. An integer beyond `Number.MAX_SAFE_INTEGER` becomes a string of its digits, because a number of JavaScript would
 * be another row's key.
 */
export function parse(text) {
  const value = JSON.parse(text);
  if (!/\d{16}/.test(text)) return value;
  const quoted = quoteIntegers(text);
  return quoted === text ? value : JSON.parse(quoted);
}

/**
 * Puts quotes around integers that are not safe. `text` must be JSON.
 *
 * Strings, which may contain digits, are skipped by a loop: one expression for strings and numbers overflows the stack of the
 * engine at a string of some megabytes.
 */
function quoteIntegers(text) {
  let result = "";
  for (let start = 0; start < text.length; ) {
    const open = text.indexOf('"', start);
    const between = text.slice(start, open < 0 ? text.length : open);
    result += between.replace(NUMBER, (number) =>
      /^-?\d{16,}$/.test(number) && !Number.isSafeInteger(Number(number)) ? `"${number}"` : number,
    );
    if (open < 0) break;
    start = endOfString(text, open);
    result += text.slice(open, start);
  }
  return result;
}

/** Returns the index behind the string that begins at `open`. */
function endOfString(text, open) {
  const special = /["\\]/g;
  special.lastIndex = open + 1;
  while (special.exec(text)[0] === "\\") special.lastIndex += 1;
  return special.lastIndex;
}

/** Returns the JSON of a key: a scalar, or an array of scalars. A bigint becomes a number with all its digits. */
export function keyJson(key) {
  if (Array.isArray(key)) return `[${key.map(scalarJson).join(",")}]`;
  return scalarJson(key);
}

function scalarJson(value) {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string" || typeof value === "boolean") return JSON.stringify(value);
  if (typeof value === "number" && Number.isFinite(value)) {
    if (!Number.isInteger(value) || Number.isSafeInteger(value)) return JSON.stringify(value);
    throw new TypeError(`the key ${value} is beyond Number.MAX_SAFE_INTEGER: pass a bigint`);
  }
  throw new TypeError("a key must be a string, number, bigint or boolean, or an array of these");
}

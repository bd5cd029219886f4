/** Strings, which may contain digits, or numbers. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/**
 * Parses JSON. An integer beyond `Number.MAX_SAFE_INTEGER` becomes a string of its digits, because a number of JavaScript would
 * be another row's key.
 */
export function parse(text) {
  const value = JSON.parse(text);
  if (!/\d{16}/.test(text)) return value;
  const quoted = text.replace(TOKEN, (token) =>
    /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token,
  );
  return quoted === text ? value : JSON.parse(quoted);
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

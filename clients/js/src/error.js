/** Kinds that a later attempt may not meet again. */
const RETRYABLE = new Set(["too_many_requests", "server", "network", "timeout", "closing", "credentials"]);

/** The longest wait that a server may ask for, in milliseconds. Beyond 2^31, a timer would fire at once. */
const MAX_RETRY_MS = 3_600_000;

/** The part of an error's body that is read, in bytes. */
const MAX_BODY_BYTES = 16_384;

/** A failed connection. `kind` says what failed; `index.d.ts` lists the kinds. */
export class PgheraldError extends Error {
  constructor(kind, message, { status, code, retryMs, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "PgheraldError";
    this.kind = kind;
    this.status = status;
    this.code = code;
    this.retryMs = retryMs;
  }

  /** Whether the client connects again by itself. */
  get retryable() {
    return RETRYABLE.has(this.kind);
  }
}

/** Returns the error for a response whose status is not 200. */
export async function responseError(response) {
  const { status } = response;
  const { code, message } = await readError(response);
  const detail = message ? `: ${message}` : "";
  return new PgheraldError(kindOf(status), `the server answered with status ${status}${detail}${hint(status)}`, {
    status,
    code,
    retryMs: retryAfter(response.headers.get("retry-after")),
  });
}

function kindOf(status) {
  if (status === 401) return "unauthorized";
  if (status === 403) return "forbidden";
  if (status === 429) return "too_many_requests";
  // Proxies answer 408 and 425 for reasons that pass.
  if (status >= 500 || status === 408 || status === 425) return "server";
  return status >= 400 ? "bad_request" : "protocol";
}

function hint(status) {
  if (status === 401) return "; pass a valid `token` or `ticket`";
  if (status === 403) return "; the token does not permit this filter, or the server does not permit this origin";
  if (status === 404) return "; check that `url` is the address of a pgherald distributor, without /v1";
  return "";
}

/** Reads `{"error":{"code":…,"message":…}}`. Proxies answer with other bodies, which say nothing that the status does not. */
async function readError(response) {
  try {
    const { error } = JSON.parse(await readText(response));
    const text = (value) => (typeof value === "string" ? value : undefined);
    return { code: text(error.code), message: text(error.message) };
  } catch {
    return {};
  }
}

async function readText(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let read = 0; read < MAX_BODY_BYTES; ) {
    const { done, value } = await reader.read();
    if (done) break;
    read += value.length;
    text += decoder.decode(value, { stream: true });
  }
  reader.cancel().catch(() => {});
  return text;
}

/** Returns the wait that a `Retry-After` header asks for, in milliseconds. It has seconds or a date. */
function retryAfter(header) {
  if (header === null) return undefined;
  return retryMs(/^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now());
}

/** Returns `value` as a wait in milliseconds, at most an hour. `undefined` if it is not a number above 0. */
export function retryMs(value) {
  return Number.isFinite(value) && value > 0 ? Math.min(value, MAX_RETRY_MS) : undefined;
}

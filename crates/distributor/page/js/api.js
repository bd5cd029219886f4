/** The operator API of the distributor that has sent this page. */

/** The address of the distributor: that of the page, which may be below a path. */
export const root = new URL("./", location.href);

const KEY = "pgherald.token";
/** The limit for an answer, in milliseconds. */
const LIMIT = 20_000;

/** The token of this tab, if one was entered. */
export const token = {
  get: () => sessionStorage.getItem(KEY) ?? undefined,
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** An answer with an error, or none. `status` is 0 if there was no answer. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function readStatus() {
  return request("v1/status");
}

/** Lists the `parked` events or the `dead-letters` of a group, with ids above `after`. */
export function list(group, kind, { after, limit }) {
  const query = new URLSearchParams({ limit, ...(after === undefined ? {} : { after }) });
  return request(`v1/groups/${encodeURIComponent(group)}/${kind}?${query}`);
}

/** Changes a group. `ids` are those of events; `undefined` for all, where the operation is about events. */
export function operate(group, operation, ids) {
  const body = JSON.stringify(ids === undefined ? "all" : { ids });
  const headers = { "content-type": "application/json", "x-pgherald-operator": "1" };
  return request(`v1/groups/${encodeURIComponent(group)}/${operation}`, { method: "POST", body, headers });
}

async function request(path, { headers = {}, ...options } = {}) {
  const bearer = token.get();
  if (bearer !== undefined) headers.authorization = `Bearer ${bearer}`;
  let response;
  let body;
  try {
    response = await fetch(new URL(path, root), { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(LIMIT) });
    body = await response.text();
  } catch (error) {
    throw new ApiError(0, error.name === "TimeoutError" ? "no answer in time" : "no connection");
  }
  let json;
  try {
    json = JSON.parse(body);
  } catch {
    throw new ApiError(response.status, `the server answered ${response.status}, without JSON`);
  }
  if (!response.ok) throw new ApiError(response.status, json?.error?.message ?? `the server answered ${response.status}`);
  return json;
}

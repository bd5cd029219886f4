/** What happened to a row. A `truncate` concerns the whole table. */
export type Operation = "insert" | "update" | "delete" | "truncate";

/** One column of a key as the server sends it. An integer beyond `Number.MAX_SAFE_INTEGER` is a string of its digits. */
export type KeyPart = string | number | boolean;

/** The key of a row: one value, or the values of several columns in the order of `Change.key`. */
export type RowKey = KeyPart | KeyPart[];

/** A value in `columns` whose text exceeds the limit of bytes that the table was recorded with. Read it from the table. */
export interface Unavailable {
  unavailable: { limit: number };
}

/** The change of one row, or of a whole table if `keys` is absent. */
export interface TableChange<Table extends string = string, Row = Record<string, unknown>> {
  operation: Operation;
  /** Absent with triggers of PGCacheWatch. */
  schema?: string;
  table: Table;
  /** When the change was made, in ISO 8601. */
  sent_at: string;
  xid?: number;
  /** The names of the key's columns. */
  key?: string[];
  /** The key of the row, as the only element. Absent if any row of the table may have changed. */
  keys?: RowKey[];
  /** How texts in `columns` are read, by column. A `numeric` is a string with all its digits. */
  types?: Record<string, unknown>;
  /** The columns of the row as the only element: the new values, or for a delete the old ones. `null` if they are unknown. */
  columns?: (Row | null)[];
  /** The columns before an update, if the table is recorded with them. */
  old_columns?: (Row | null)[];
}

/** A change of one of the tables in `Rows`, which maps names of tables (without schema) to types of rows. */
export type Change<Rows = Record<string, Record<string, unknown>>> = {
  [Table in keyof Rows & string]: TableChange<Table, Rows[Table]>;
}[keyof Rows & string];

/** From here on, no change is missed without a `resync` or `lagged`. A `resync` or `resumed` came before. */
export interface Live {
  type: "live";
  /** The position after everything that was sent, for `since`. Absent if the tables are not recorded in the outbox. */
  id?: string;
}

/** The connection, or the server's database, was lost. Changes may be late until the next `live`. */
export interface Down {
  type: "down";
  reason: string;
}

/** The connection is back, and every change in between has been or will be sent. */
export interface Resumed {
  type: "resumed";
}

/**
 * Changes may have been missed: read the tables again. A program that reads them after a `resync` sees every earlier commit.
 *
 * The server sends it, or the client if the server cannot know of the gap.
 */
export interface Resync {
  type: "resync";
  /** For example `started`, `reconnected`, `overflow`, `trimmed`, or `undecodable` for a message that is not readable. */
  reasons: string[];
  /** How many changes are known to be lost. More may be. */
  lost: number;
  /** What has to be read again: these tables, what this channel announces, or everything if it is empty. */
  scope: { tables?: string[]; channel?: string };
}

/** A buffer was full, and this many messages were dropped: read the tables again. */
export interface Lagged {
  type: "lagged";
  missed: number;
}

/** A committed change. */
export interface ChangeMessage<Rows = Record<string, Record<string, unknown>>> {
  type: "event";
  /** The position after this change, for `since`. Absent if the table is not recorded in the outbox. */
  id?: string;
  event: Change<Rows>;
}

export type Message<Rows = Record<string, Record<string, unknown>>> =
  | Live
  | Down
  | Resumed
  | Resync
  | Lagged
  | ChangeMessage<Rows>;

/** The first message of each connection, in the status `open`. */
export interface Hello {
  type: "hello";
  version: 1;
  /** How often the server sends something, in milliseconds. After three silent periods the client connects again. */
  heartbeat_ms: number;
  /** Whether the server can continue after an event's id. */
  resumable: boolean;
}

export type Status =
  | { state: "connecting"; attempt: number }
  | { state: "open"; hello: Hello }
  /** The client connects again in `retryMs` milliseconds. `error` says why the last connection ended. */
  | { state: "waiting"; error: PgheraldError; retryMs: number }
  /** The stream has ended: by `close` if there is no `error`. */
  | { state: "closed"; error?: unknown };

/**
 * What failed:
 *
 * | kind | meaning | connects again |
 * |---|---|---|
 * | `bad_request` | status 400, or another status below 500: the filter or the address is wrong | no |
 * | `unauthorized` | status 401, or the token is not a header's value | no |
 * | `forbidden` | status 403, or WebSocket code 1008 | no |
 * | `protocol` | the server is not a distributor, or of another version | no |
 * | `too_many_requests` | status 429 | yes, not before `retryMs` |
 * | `server` | status 408, 425 or 500 and above | yes, not before `retryMs` |
 * | `closing` | the server shuts down, or ends this stream | yes, not before `retryMs` |
 * | `network` | there is no connection, or it was lost | yes |
 * | `timeout` | no message within 10 s, or nothing for three heartbeats | yes |
 * | `credentials` | the function `token` or `ticket` failed | yes |
 */
export type ErrorKind =
  | "bad_request"
  | "unauthorized"
  | "forbidden"
  | "protocol"
  | "too_many_requests"
  | "server"
  | "closing"
  | "network"
  | "timeout"
  | "credentials";

/** A failed connection. The message names neither token nor ticket. */
export class PgheraldError extends Error {
  /** Functions for `token` and `ticket` may throw one, with `unauthorized` for example, to end the stream. */
  constructor(
    kind: ErrorKind,
    message: string,
    details?: { status?: number; code?: string; retryMs?: number; cause?: unknown },
  );
  readonly name: "PgheraldError";
  readonly kind: ErrorKind;
  /** The HTTP status of the refusal. */
  readonly status?: number;
  /** The server's code, for example `bad_filter`. */
  readonly code?: string;
  /** The wait that the server asked for, in milliseconds. */
  readonly retryMs?: number;
  /** Whether the client connects again by itself. */
  readonly retryable: boolean;
}

type Provider = () => string | Promise<string>;

export interface Options {
  /** Only these tables: `schema.table`, or `table` in any schema. All tables that the server permits by default. */
  tables?: readonly string[] | undefined;
  /** Only these operations. */
  operations?: readonly Operation[] | undefined;
  /**
   * Only rows with these keys. Requires exactly one table. A key of several columns is an array. Pass a bigint for an integer
   * beyond `Number.MAX_SAFE_INTEGER`.
   */
  keys?: readonly (KeyPart | bigint | readonly (KeyPart | bigint)[])[] | undefined;
  /** Only rows that have these values in these columns, before or after the change. */
  columns?: Readonly<Record<string, string | number | bigint | boolean>> | undefined;
  /** The `id` of the last event that the program has handled, perhaps in an earlier run. The stream continues after it. */
  since?: string | undefined;
  /** `sse` (the default) works in every runtime, sends headers, and reports refusals by their status. */
  transport?: "sse" | "ws" | undefined;
  /** A bearer token, or a function that returns one for each connection. Only with `sse`. */
  token?: string | Provider | undefined;
  /** Returns a short-lived ticket for each connection, for clients that cannot send headers. It is sent in the query. */
  ticket?: Provider | undefined;
  /** Ends the stream. `next` rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Is called when the connection changes, for display and logs. What a program must know is also in the messages. */
  onStatus?: ((status: Status) => void) | undefined;
  /** The limit of messages that wait to be read, 1000 by default, at least 4. Beyond it, `lagged` takes their place. */
  bufferSize?: number | undefined;
  /** Used in place of the global `fetch`. It must honour `signal`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
  /** Used in place of the global `WebSocket`. */
  WebSocket?: (new (url: string) => WebSocket) | undefined;
}

/**
 * The messages of a distributor, in order. It is an iterator: each message is read once. Leaving a `for await` loop closes it.
 *
 * It rejects with a `PgheraldError` that is not retryable, after all messages before it were read.
 */
export interface Stream<Rows = Record<string, Record<string, unknown>>> extends AsyncIterableIterator<Message<Rows>> {
  next(): Promise<IteratorResult<Message<Rows>, undefined>>;
  return(value?: unknown): Promise<IteratorResult<Message<Rows>, undefined>>;
  [Symbol.asyncIterator](): Stream<Rows>;
  /** Closes the connection and ends the iteration. Messages that were not read are dropped. */
  close(): void;
}

/**
 * Follows the changes that a pgherald distributor sends. Connects at once, and again whenever the connection is lost.
 *
 * `url` is the server's address without `/v1`, for example `https://events.example.org`.
 *
 * Throws a `TypeError` if the address or an option is wrong.
 *
 * ```ts
 * for await (const message of connect<{ users: User }>(url, { tables: ["public.users"] })) {
 *   if (message.type === "resync" || message.type === "lagged") await readAgain();
 *   if (message.type === "event") apply(message.event);
 * }
 * ```
 */
export function connect<Rows = Record<string, Record<string, unknown>>>(
  url: string | URL,
  options?: Options,
): Stream<Rows>;

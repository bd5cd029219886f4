/**
 * Keeps the promise of the stream across connections: a program has received `resync`, or `resumed`, before each `live`, and
 * `down` after each loss. Has no I/O and no time.
 *
 * `live`, `down`, `resync`, `resumed`, `lagged` and `event` of the server go through `accept`. It returns the messages that the
 * program gets in their place.
 */
export class Continuity {
  /** The id of the last message that had one. */
  #position;
  /** Whether each event since the last resync of everything had an id. Otherwise the position does not include all of them. */
  #complete = true;
  #live = false;
  #everLive = false;

  /** Whether this connection has been live. Until then, `resumed` is the answer to the position that the client sent. */
  #answered = false;
  #asked = false;
  #resumable = false;
  /** Whether the program has received what the next `live` requires. */
  #covered = false;

  constructor(since) {
    this.#position = since;
  }

  /** The position after which the next connection continues, or `undefined` if it begins with a resync. */
  get position() {
    return this.#complete ? this.#position : undefined;
  }

  /** Begins a connection that was opened with the current position. */
  connected(resumable) {
    this.#asked = this.position !== undefined;
    this.#resumable = resumable;
    this.#answered = false;
    this.#covered = false;
  }

  /** Ends a connection. */
  lost(reason) {
    if (!this.#live) return [];
    this.#live = false;
    return [{ type: "down", reason }];
  }

  /** Returns what the program gets for a message that could not be read. `id` is the position after it, if that is known. */
  acceptUnreadable(id) {
    if (id) this.#position = id;
    return [resync("undecodable", 1)];
  }

  /** Moves the position to that of a message, if it has one. */
  move({ id }) {
    if (typeof id === "string" && id !== "") this.#position = id;
  }

  accept(message) {
    this.move(message);
    switch (message.type) {
      case "live":
        return this.#acceptLive(message);
      case "down":
        this.#live = false;
        this.#covered = false;
        return [message];
      case "resync":
        // Without a position, the server knows nothing of earlier connections, so only a resync of everything covers the gap.
        if (this.#answered || this.#asked || isWhole(message.scope)) this.#covered = true;
        if (isWhole(message.scope)) this.#complete = true;
        return [message];
      case "lagged":
        this.#complete = true;
        return [message];
      case "resumed":
        if (!this.#answered && !(this.#asked && this.#resumable)) return [];
        this.#covered = true;
        return [message];
      case "event":
        if (message.id === undefined) this.#complete = false;
        return [message];
      default:
        return [message];
    }
  }

  #acceptLive(message) {
    if (this.#live) return [];
    const messages = this.#covered ? [message] : [resync(this.#everLive ? "reconnected" : "started"), message];
    this.#live = true;
    this.#everLive = true;
    this.#answered = true;
    this.#covered = false;
    return messages;
  }
}

/** Returns a resync of all tables. */
function resync(reason, lost = 0) {
  return { type: "resync", reasons: [reason], lost, scope: {} };
}

function isWhole(scope) {
  return scope === undefined || Object.keys(scope).length === 0;
}

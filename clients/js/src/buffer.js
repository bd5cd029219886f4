/**
 * Messages that the program has not read, in order.
 *
 * When the buffer is full, it drops all of its messages, and one `lagged` takes their place. A program that reads the tables
 * again after `lagged` needs nothing that was dropped, and the empty buffer lets it catch up. The announcement is a part of the
 * queue, so it cannot be lost itself.
 */
export class Buffer {
  #limit;
  #messages = [];
  /** The index of the oldest message. */
  #head = 0;

  constructor(limit) {
    this.#limit = limit;
  }

  push(message) {
    if (this.#messages.length - this.#head >= this.#limit) this.#collapse();
    this.#messages.push(message);
  }

  shift() {
    if (this.#head === this.#messages.length) return undefined;
    const message = this.#messages[this.#head];
    this.#messages[this.#head] = undefined;
    this.#head += 1;
    if (this.#head * 2 > this.#messages.length) {
      this.#messages.splice(0, this.#head);
      this.#head = 0;
    }
    return message;
  }

  clear() {
    this.#messages = [];
    this.#head = 0;
  }

  #collapse() {
    let missed = 0;
    let state;
    for (const message of this.#messages.slice(this.#head)) {
      if (message.type === "event") missed += 1;
      else if (message.type === "lagged") missed += message.missed;
      else if (message.type === "live" || message.type === "down") state = message;
    }
    this.clear();
    this.#messages.push({ type: "lagged", missed });
    if (state !== undefined) this.#messages.push(state);
  }
}

/** The longest line or `data` of a message that is accepted, in UTF-16 units, so that a faulty server cannot exhaust memory. */
const MAX_LENGTH = 64 * 1024 * 1024;

/**
 * Parses an event stream as the HTML standard describes it. Its text may be split anywhere.
 *
 * Calls `onMessage(data, id)` for each message. `id` is the last event id of the stream, which holds until the next `id` field.
 */
export class SseParser {
  #onMessage;
  #onRetry;
  /** The beginning of a line whose end has not arrived. */
  #line = "";
  /** Whether the last text ended in CR. An LF at the beginning of the next text then belongs to the same line break. */
  #afterCr = false;
  #data = "";
  #id;
  #lastId;

  constructor(onMessage, onRetry = () => {}) {
    this.#onMessage = onMessage;
    this.#onRetry = onRetry;
  }

  /** Takes the next part of the text. Throws a `RangeError` if a message is too long. */
  push(text) {
    if (text === "") return;
    let start = this.#afterCr && text[0] === "\n" ? 1 : 0;
    this.#afterCr = false;
    const breaks = /\r\n?|\n/g;
    breaks.lastIndex = start;
    for (let match; (match = breaks.exec(text)) !== null; ) {
      const line = this.#line + text.slice(start, match.index);
      this.#line = "";
      start = breaks.lastIndex;
      this.#afterCr = start === text.length && match[0] === "\r";
      this.#take(line);
    }
    this.#line += text.slice(start);
    check(this.#line);
  }

  #take(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    // A line that begins with a colon is a comment.
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (field === "data") {
      this.#data += `${value}\n`;
      check(this.#data);
    } else if (field === "id") {
      if (!value.includes("\0")) this.#id = value;
    } else if (field === "retry") {
      if (/^[0-9]+$/.test(value)) this.#onRetry(Number(value));
    }
    // `event` is not used: the data of each message has its type.
  }

  #dispatch() {
    this.#lastId = this.#id;
    const data = this.#data;
    this.#data = "";
    if (data !== "") this.#onMessage(data.slice(0, -1), this.#lastId);
  }
}

function check(text) {
  if (text.length > MAX_LENGTH) throw new RangeError(`a message has more than ${MAX_LENGTH} characters`);
}

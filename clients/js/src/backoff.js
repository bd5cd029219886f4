const BASE_MS = 250;
const CAP_MS = 30_000;

/** The waits between attempts: capped exponential, with full jitter, so that clients of a restarted server do not return together. */
export class Backoff {
  #failures = 0;

  /** Returns the next wait in milliseconds. It is at least `floor`, the wait that the server asked for. */
  next(floor = 0) {
    const limit = Math.min(CAP_MS, BASE_MS * 2 ** this.#failures);
    this.#failures += 1;
    return floor + Math.random() * limit;
  }

  reset() {
    this.#failures = 0;
  }
}

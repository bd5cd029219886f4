/** Settles like `promise`, or rejects with the signal's reason, whichever comes first. */
export function abortable(promise, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Resolves after `ms`, or earlier when the signal is aborted. */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal.addEventListener("abort", wake, { once: true });
    if (signal.aborted) wake();
  });
}

/**
 * Calls `onSilence` after three periods without a call of `heard`.
 *
 * It counts periods instead of restarting a timer with each message. So a program that was busy for long does not take messages
 * that wait to be read for silence.
 */
export class Watchdog {
  #timer;
  #heard = true;
  #silent = 0;

  start(periodMs, onSilence) {
    const check = () => {
      this.#silent = this.#heard ? 0 : this.#silent + 1;
      this.#heard = false;
      if (this.#silent === 3) onSilence();
      else this.#timer = setTimeout(check, periodMs);
    };
    this.#timer = setTimeout(check, periodMs);
  }

  heard() {
    this.#heard = true;
  }

  stop() {
    clearTimeout(this.#timer);
  }
}

// A connection that has died often tells nobody: one of which nothing has been heard for long is taken for lost.

// Longer than a connection that lives is ever quiet: it says so, at least every 15 s.
const LONGEST_MS = 25_000;
const LOOK_MS = 5_000;

export class Silence {
  /** @param {(since: Date) => void} lost is told when something was heard last */
  constructor(lost) {
    this.lost = lost;
    this.heardAt = null;
    setInterval(() => this.look(), LOOK_MS);
    document.addEventListener("visibilitychange", () => this.look());
  }

  /** Something was heard; from now on more is expected. */
  heard() {
    // By the clock on the wall, which goes on while a machine sleeps.
    this.heardAt = Date.now();
  }

  /** Expect nothing more. */
  rest() {
    this.heardAt = null;
  }

  look() {
    if (this.heardAt === null || Date.now() - this.heardAt < LONGEST_MS) return;
    const since = new Date(this.heardAt);
    this.rest();
    this.lost(since);
  }
}

// Asks the server, and doesn't wait for ever: an answer that never comes would be taken for one that is about to.

// Longer than the server itself waits for what it asks.
const PATIENCE_MS = 20_000;

/** Fetch; fails where the answer, to its last byte, isn't there in time. */
export const ask = (url, options = {}) => fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) });

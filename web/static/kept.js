// Where the reader was when they left this page; the first picture goes by it.

/** Return where the reader was when this page was left: at the end, or so far below the window's top a message. */
export const kept = () => history.state?.reader ?? null;

/** Put a message where the reader had it. */
export function putBack(message, { top }) {
  document.scrollingElement.scrollBy({ top: message.getBoundingClientRect().top - top, behavior: "instant" });
}

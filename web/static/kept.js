// Where a conversation opens; the first picture goes by it.

/** Return where the reader was when this page was left: at the end, or so far below the window's top a message. */
export const kept = () => history.state?.reader ?? null;

/** Put a message where the reader had it. */
export function putBack(message, { top }) {
  document.scrollingElement.scrollBy({ top: message.getBoundingClientRect().top - top, behavior: "instant" });
}

/** Put a message that a link names where the browser puts it by itself, as late as when all is loaded. */
export function show(message) {
  // Nothing is `:target` before then.
  message.classList.add("sought");
  message.scrollIntoView({ block: "start", behavior: "instant" });
  message.classList.remove("sought");
}

// Where what is read begins.

const heads = [...document.querySelectorAll(".head, .bar")];

/** Return how far down the window the head reaches, or what of it stays, in pixels. */
export const readingTop = () => Math.max(0, ...heads.map((head) => head.getBoundingClientRect().bottom));

// What is looked for, in a message that comes: whether it is there, and where. The server has the same rule (web/terms.py).

// Of more places none is marked.
const MOST = 500;

const forms = (term) => [...new Set([term, term.normalize("NFC"), term.normalize("NFD")])];

/** Yield the texts of a message in which words are looked for. */
function* textsIn(value) {
  if (typeof value === "string" || Number.isInteger(value)) yield String(value);
  else if (value && typeof value === "object") for (const inner of Object.values(value)) yield* textsIn(inner);
}

/** Say whether a message holds each term, in small letters as they are. */
export function holds({ content, tool }, terms) {
  const texts = [...textsIn([content, tool])].map((text) => text.toLowerCase());
  return terms.every((term) => forms(term).some((form) => texts.some((text) => text.includes(form))));
}

/** Return what finds terms in a text, the longest first. */
function patternOf(terms) {
  const all = terms.flatMap(forms).sort((a, b) => b.length - a.length);
  const spaced = all.map((form) => form.trim().split(/\s+/).map(escaped).join("\\s+"));
  return new RegExp(spaced.join("|"), "giu");
}

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** Mark the terms where a message says them. */
export function mark(message, terms) {
  if (!terms.length) return;
  const pattern = patternOf(terms);
  const walker = document.createTreeWalker(message, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (!walker.currentNode.parentElement.closest("[data-ours]")) texts.push(walker.currentNode);
  let left = MOST;
  for (const text of texts) {
    // From the end, since what is cut off stands behind.
    const found = [...text.data.matchAll(pattern)].slice(0, left);
    left -= found.length;
    for (const { index, 0: words } of found.reverse()) {
      text.splitText(index + words.length);
      const place = document.createElement("mark");
      text.splitText(index).replaceWith(place);
      place.textContent = words;
    }
  }
}

// Server-sanitized HTML enters the page here and nowhere else.

const policy = globalThis.trustedTypes?.createPolicy("agent-comms", { createHTML: (html) => html });

/** Return a fragment of nodes. */
export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return template.content;
}

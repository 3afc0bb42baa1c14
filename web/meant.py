"""What a search may have meant that names a filter in its words, as other products have it: `kind:error timeout`."""

import re

_FILTERS = {"agent": "agentId", "kind": "kind", "namespace": "workflowNamespace"}
_NAMED = re.compile(r'(?<!\S)(agent|kind|namespace):("[^"]*"|\S+)')


def meant(words: str | None) -> dict[str, str]:
    """Return the filters that the words name, and as `q` what is left of the words; empty where they name none."""
    named = {_FILTERS[name]: value.strip('"') for name, value in _NAMED.findall(words or "")}
    left = " ".join(_NAMED.sub(" ", words or "").split())
    filters = {name: value for name, value in named.items() if value}
    return {**filters, "q": left} if filters else {}

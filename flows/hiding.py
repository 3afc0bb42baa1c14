"""Keeps the secrets of the environment out of what is written for people."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from flows.settings import secret_variables


def secrets_of(environ: Mapping[str, str]) -> set[str]:
    """Return the secrets among the settings, and the passwords within them."""
    found = set()
    for variable in secret_variables():
        value = environ.get(variable, "").strip()
        if variable == "NATS_URL" and "@" not in value:
            # Names alone, of which one is to be told where it is misspelled.
            continue
        found |= {value, *(part for url in value.split(",") for part in _of_url(url))}
    return found - {""}


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        pattern = re.escape(secret)
        # A password of a letter or two would be found in half of all words.
        whole = len(secret) <= 3 and secret.isalnum()
        text = re.sub(rf"(?<!\w){pattern}(?!\w)" if whole else pattern, "***", text)
    return text


def _of_url(url: str) -> set[str]:
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    user, _, _ = authority.rpartition("@")
    password = user.partition(":")[2]
    found = {password, unquote(password)}
    if "@" in user:
        # Not encoded, it ends the user's part early, and libpq takes the rest for the host.
        found.add(user.partition("@")[2] + "@")
    return found | set(re.findall(r"[?&\s]password\s*=\s*([^&\s]+)", f" {url}"))

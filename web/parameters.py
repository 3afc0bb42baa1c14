"""What the API's parameters may hold; each refusal names its parameter."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlencode
from uuid import UUID

import msgspec
from flask import request

from flows.message import CHANNEL_GENERAL, CHANNEL_RUN
from web.previews import LetterPlace
from web.problems import Problem
from web.queries import Place, RunPlace, Scope
from web.selection import MOST_TERMS, Selection
from web.terms import terms_of

CHANNELS = (CHANNEL_RUN, CHANNEL_GENERAL)
# No name that a publisher could give is longer.
LONGEST = 1_000
MOST_WORDS = 20
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST = 2**63 - 1


def text(name: str) -> str | None:
    """Return a parameter's text; None where it is absent or empty."""
    value = request.args.get(name, "")
    if "\0" in value:
        message = f"{name} holds a NUL, which nothing here does."
        raise Problem(message, name)
    if len(value) > LONGEST:
        message = f"{name} is too long: it may have {LONGEST} characters."
        raise Problem(message, name)
    return value or None


def is_name(value: str) -> bool:
    """Say whether something may be a run's name, be it one or not."""
    return len(value) <= LONGEST and "\0" not in value


def only(*names: str) -> None:
    """Refuse a parameter that the route doesn't know, or two of a name: an overlooked filter would show too much."""
    for name, values in request.args.lists():
        if name not in names:
            message = f"{name} is no parameter here; these are: {', '.join(names) or 'none'}."
            raise Problem(message[:LONGEST], name[:LONGEST])
        if len(values) > 1:
            message = f"{name} is there more than once."
            raise Problem(message, name)


def choice(name: str, choices: tuple[str, ...]) -> str | None:
    """Return one of some words; None where the parameter is absent."""
    value = text(name)
    if value is not None and value not in choices:
        message = f"{name} is one of {', '.join(choices)}."
        raise Problem(message, name)
    return value


def several(name: str) -> tuple[str, ...]:
    """Return words that are separated by commas, none where the parameter is absent."""
    words = tuple(dict.fromkeys(filter(None, (word.strip() for word in (text(name) or "").split(",")))))
    if len(words) > MOST_WORDS:
        message = f"{name} names too many: it may name {MOST_WORDS}."
        raise Problem(message, name)
    return words


def limit(default: int, most: int) -> int:
    """Return how many are asked for, and never more than so many."""
    value = request.args.get("limit")
    if value is None:
        return default
    digits = value.lstrip("0")
    if not (_DIGITS.fullmatch(value) and digits):
        message = "limit is a whole number of at least 1."
        raise Problem(message, "limit")
    return most if len(digits) > len(str(most)) else min(int(digits), most)


def flag(name: str) -> bool:
    """Return whether a switch is on."""
    return choice(name, ("0", "1")) == "1"


def scope() -> tuple[Scope, str | None]:
    """Return which messages are watched, and the name of a run where one has still to be looked up."""
    wanted, run = _scope()
    if wanted.channel == CHANNEL_RUN and not (run or wanted.workflow_uid or wanted.workflow_name):
        message = "runId is missing: name a run by runId, workflowUid or workflowName, or ask for channel=general."
        raise Problem(message, "runId")
    general = choice("include", (CHANNEL_GENERAL,)) is not None and wanted.channel == CHANNEL_RUN
    return msgspec.structs.replace(wanted, general=general), run


def selection() -> tuple[Selection, str | None]:
    """Return which stored messages are asked for, and the name of a run where one has still to be looked up."""
    wanted, run = _scope()
    since, until = stretch()
    is_of_a_run = any((run, wanted.workflow_uid, wanted.workflow_name))
    # Whoever names neither a run nor a channel wants whatever was said; a run's own channel is what the run said.
    everywhere = choice("channel", CHANNELS) is None and not is_of_a_run
    added = choice("include", (CHANNEL_GENERAL,)) is not None and wanted.channel == CHANNEL_RUN
    found = Selection(
        wanted,
        general=added or everywhere,
        repository=text("repository"),
        issue=text("issue"),
        branch=text("branch"),
        terms=_terms("q"),
        since=since,
        until=until,
        errors=flag("errors"),
    )
    enough = (wanted.workflow_namespace, found.repository, found.issue, found.branch)
    if wanted.channel == CHANNEL_RUN and not (is_of_a_run or any(enough) or found.terms):
        message = (
            "runId is missing: name a run by runId, workflowUid or workflowName, a workflowNamespace, a repository, an"
            " issue or a branch, look for words with q, or ask for channel=general."
        )
        raise Problem(message, "runId")
    return found, run


def number(name: str) -> int | None:
    """Return a plain number; None where the parameter is absent."""
    value = text(name)
    return None if value is None else _seq(name, value)


def moment(name: str) -> datetime | None:
    """Return a point in time, UTC where it doesn't say; None where the parameter is absent."""
    value = text(name)
    if value is None:
        return None
    try:
        # An unescaped plus arrives as a space.
        found = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{name} is a date or a time such as 2026-05-04T12:00:00Z."
        raise Problem(message, name) from None


def stretch() -> tuple[datetime | None, datetime | None]:
    """Return the time that is asked for, from `since` on and before `until`; what ends before it begins is refused."""
    since, until = moment("since"), moment("until")
    if since and until and until < since:
        message = "until is before since: nothing lies between them."
        raise Problem(message, "until")
    return since, until


def _terms(name: str) -> tuple[str, ...]:
    value = text(name)
    return () if value is None else _checked_terms(name, value)


def _checked_terms(name: str, words: str) -> tuple[str, ...]:
    terms = terms_of(words)
    if not terms:
        message = f"{name} holds no word to look for."
        raise Problem(message, name)
    if len(terms) > MOST_TERMS:
        message = f"{name} holds too many words: it may hold {MOST_TERMS}."
        raise Problem(message, name)
    return terms


def _scope() -> tuple[Scope, str | None]:
    run = text("runId")
    wanted = Scope(
        channel=choice("channel", CHANNELS) or CHANNEL_RUN,
        workflow_namespace=text("workflowNamespace"),
        workflow_uid=text("workflowUid"),
        workflow_name=text("workflowName"),
        agent_id=text("agentId"),
        kinds=several("kind"),
    )
    return wanted, run


def last_event_id() -> tuple[int | None, bool]:
    """Return the live cursor that the client has reached, and whether it came with one that is none."""
    # A browser that comes back by itself repeats its first URL and adds the header.
    return cursor(request.headers.get("Last-Event-ID") or request.args.get("lastEventId"))


def cursor(value: str | None) -> tuple[int | None, bool]:
    """Read a live cursor; return it, and whether there is one that is none."""
    if not value:
        return None, False
    if _DIGITS.fullmatch(value) and len(value) <= len(str(_MOST)) and int(value) <= _MOST:
        return int(value), False
    return None, True


def terms_of_filter(words: str | None) -> tuple[str, ...]:
    """Return the terms of what a page is searched for; what holds too many, or none, is refused."""
    return _checked_terms("q", words) if words else ()


def place(name: str) -> Place | None:
    """Return a place in reading order, as `place_token` writes it."""
    value = text(name)
    if value is None:
        return None
    at, _, seq = value.rpartition(",")
    return _moment(name, at), _seq(name, seq)


def place_token(place: Place) -> str:
    """Write a place in reading order."""
    return f"{stamp(place[0])},{place[1]}"


def run_place(name: str) -> RunPlace | None:
    """Return a place in the list of runs, as `run_token` writes it."""
    value = text(name)
    if value is None:
        return None
    at, *key = map(unquote, value.split(","))
    if len(key) != 2 or "\0" in "".join(key):
        raise _no_cursor(name)
    return _moment(name, at), key[0], key[1]


def run_token(place: RunPlace) -> str:
    """Write a place in the list of runs."""
    at, namespace, uid = place
    return f"{stamp(at)},{quote(namespace, safe='')},{quote(uid, safe='')}"


def letter_place(name: str) -> LetterPlace | None:
    """Return a place in the list of dead letters, as `letter_token` writes it."""
    value = text(name)
    if value is None:
        return None
    at, *rest = value.split(",")
    if len(rest) != 2 or not _UUID.fullmatch(rest[1]):
        raise _no_cursor(name)
    return _moment(name, at), _seq(name, rest[0]), UUID(rest[1])


def letter_token(place: LetterPlace) -> str:
    """Write a place in the list of dead letters."""
    return f"{stamp(place[0])},{place[1]},{place[2]}"


def kept(*without: str) -> Mapping[str, str]:
    """Return the parameters of this request, save some."""
    return {name: value for name, value in request.args.items() if name not in without}


def url(path: str, query: Mapping[str, str]) -> str:
    """Return an address."""
    return f"{path}?{urlencode(query)}" if query else path


def stamp(moment: datetime) -> str:
    """Return a time whose text sorts as the time does."""
    # Not by `strftime`, which writes the first centuries with fewer digits.
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(name: str, stamp: str) -> datetime:
    try:
        found = datetime.fromisoformat(stamp)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _no_cursor(name)


def _seq(name: str, digits: str) -> int:
    if not _DIGITS.fullmatch(digits) or len(digits) > len(str(_MOST)) or int(digits) > _MOST:
        raise _no_cursor(name)
    return int(digits)


def _no_cursor(name: str) -> Problem:
    return Problem(f"{name} is no cursor of this list; take one from its prev or next.", name)

"""A conversation that is shown: which messages, by what they are filtered, and where its pages and streams are."""

from datetime import datetime
from urllib.parse import quote

import msgspec
from msgspec import Struct

from flows.message import CHANNEL_GENERAL, Event
from web import parameters, words
from web.queries import RunRow, Scope
from web.selection import Selection

# Addresses below /agents that are no run's.
PLACES = ("general", "ops", "run")
# The page of a run whose name is in the query alone.
UNNAMED = "/agents/run"
GENERAL_PATH = "/agents/general"
GENERAL = Scope(channel=CHANNEL_GENERAL)
KINDS = ("message", "tool_call", "tool_result", "status", "error")


class Chip(Struct, frozen=True):
    """A filter that is on, in words, and the page's address without it.

    Attributes:
        at: the time that the words tell, in UTC, which a script writes in the reader's zone.
    """

    name: str
    value: str
    without: str
    at: datetime | None = None


class Filters(Struct, frozen=True):
    """What of a conversation is shown.

    Attributes:
        errors: errors and failed tool results alone.
        general: with what the general channel says under the run's name.
    """

    agent: str | None = None
    kinds: tuple[str, ...] = ()
    errors: bool = False
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None
    general: bool = False

    @classmethod
    def asked(cls, *, in_run: bool) -> "Filters":
        """Read them from the request's query."""
        since, until = parameters.stretch()
        return cls(
            agent=parameters.text("agentId"),
            kinds=parameters.several("kind"),
            errors=parameters.flag("errors"),
            since=since,
            until=until,
            q=parameters.text("q"),
            general=in_run and parameters.choice("include", (CHANNEL_GENERAL,)) is not None,
        )

    @property
    def query(self) -> dict[str, str]:
        """The same as an address has it."""
        said = {
            "agentId": self.agent,
            "kind": ",".join(self.kinds),
            "errors": "1" if self.errors else None,
            "since": self.since and parameters.stamp(self.since),
            "until": self.until and parameters.stamp(self.until),
            "q": self.q,
            "include": CHANNEL_GENERAL if self.general else None,
        }
        return {name: value for name, value in said.items() if value}

    @property
    def narrows(self) -> bool:
        """Whether anything is left out."""
        return bool(self.agent or self.kinds or self.errors or self.since or self.until or self.q)


class Room(Struct, frozen=True):
    """A conversation that is shown.

    Attributes:
        scope: the messages.
        path: the page's path; fragments lie below it.
        names: what else the page's address needs to name the conversation.
        api: parameters that name the conversation to the API.
        filters: what of it is shown.
    """

    scope: Scope
    path: str
    names: dict[str, str]
    api: dict[str, str]
    filters: Filters = Filters()

    @property
    def selection(self) -> Selection:
        """Which messages are shown."""
        filters = self.filters
        return Selection(
            msgspec.structs.replace(self.scope, agent_id=filters.agent, kinds=filters.kinds),
            general=filters.general,
            terms=parameters.terms_of_filter(filters.q),
            since=filters.since,
            until=filters.until,
            errors=filters.errors,
        )

    @property
    def chips(self) -> list[Chip]:
        """The filters that are on."""
        said = {
            "agentId": ("agent", self.filters.agent or ""),
            "kind": ("kind", ", ".join(self.filters.kinds).replace("_", " ")),
            "errors": ("only", "errors and failures"),
            "since": ("from", words.moment(self.filters.since) if self.filters.since else ""),
            "until": ("until", words.moment(self.filters.until) if self.filters.until else ""),
            "q": ("with", self.filters.q or ""),
            "include": ("with", "the general channel"),
        }
        times = {"since": self.filters.since, "until": self.filters.until}
        return [Chip(*said[name], self._without(name), times.get(name)) for name in self.filters.query]

    def url(self, below: str = "", **more: str) -> str:
        """Return the address of the page as it is filtered, or of a fragment below it."""
        return parameters.url(self.path + below, {**self.names, **self.filters.query, **more})

    def bare_url(self, below: str = "", **more: str) -> str:
        """Return the same without the filters."""
        return parameters.url(self.path + below, {**self.names, **more})

    def api_url(self, path: str, **more: str) -> str:
        """Return an address of the API about what is shown."""
        return parameters.url(path, {**self.api, **self.filters.query, **more})

    def _without(self, name: str) -> str:
        return parameters.url(
            self.path, {**self.names, **{key: v for key, v in self.filters.query.items() if key != name}}
        )


def general_room(filters: Filters, scope: Scope = GENERAL, names: dict[str, str] | None = None) -> Room:
    """Return the room that all runs share.

    Args:
        filters: what of it is shown.
        scope: all of it, or what is said there under a run's name.
        names: what names that run in an address.
    """
    names = names or {}
    return Room(scope, GENERAL_PATH, names, {"channel": CHANNEL_GENERAL, **names}, filters)


def general_url(run: str, namespace: str | None) -> str:
    """Return the address of what is said in the shared room under a run's name."""
    return parameters.url(GENERAL_PATH, {"runId": run, **({"workflowNamespace": namespace} if namespace else {})})


def run_room(run: RunRow, filters: Filters) -> Room:
    """Return a run's conversation."""
    namespace, uid = run.key
    path, names = run_place(namespace, uid)
    scope = Scope(workflow_namespace=namespace, workflow_uid=uid)
    return Room(scope, path, names, {"workflowNamespace": namespace, "workflowUid": uid}, filters)


def run_place(namespace: str, uid: str) -> tuple[str, dict[str, str]]:
    """Return the path of a run's page and the query that names it, whatever other runs share its name."""
    return _path_of(uid), {"workflowNamespace": namespace, "workflowUid": uid}


def _path_of(name: str) -> str:
    # Not every name can be a path's last part: some are other pages', a slash divides, dots lead elsewhere.
    if name in PLACES or "/" in name or "\\" in name or not name.strip(". \t\r\n"):
        return UNNAMED
    return f"/agents/{quote(name, safe='')}"


def run_url(namespace: str, uid: str, **more: str) -> str:
    """Return the address of a run's page."""
    path, names = run_place(namespace, uid)
    return parameters.url(path, {**names, **more})


def claimed_url(event: Event) -> str:
    """Return the address of the run that a message of the general channel names: its uid, or only a name."""
    namespace, uid, name = event.workflow_namespace, event.workflow_uid, event.workflow_name or ""
    path = _path_of(name)
    if uid or path == UNNAMED:
        return run_url(namespace, uid or name)
    return parameters.url(path, {"workflowNamespace": namespace})

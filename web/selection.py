"""Which of the stored messages somebody wants to read."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from flows.message import CHANNEL_GENERAL
from web.grams import names_of_place, slots_of_name, slots_of_term
from web.queries import Scope
from web.sight import Sight
from web.terms import patterns

# Slots: a message fits whose block has all the slots of at least one list of each clause.
Clause = list[list[int]]
MOST_TERMS = 16
# What may say that something went wrong (see the function `is_wrong` of the schema).
ERROR = "error"
KINDS_OF_ERRORS = (ERROR, "tool_result")
Direction = Literal["before", "after"]


class Selection(Struct, frozen=True):
    """Which messages: a scope and what else they must be.

    Attributes:
        scope: the channel, and in it who, as for live readers; its namespace alone is enough.
        general: what the general channel says in the scope as well, save what the run's own channel says too.
        repository: what the message is about, by what its `attrs` say.
        issue: in the same way, the number of an issue.
        branch: in the same way.
        terms: what it must hold (see `web.terms`).
        since: said then or later.
        until: said earlier.
        errors: errors, and results of tools that failed, alone.
        namespaces: of these alone, where there are any and the scope names none.
    """

    scope: Scope
    general: bool = False
    repository: str | None = None
    issue: str | None = None
    branch: str | None = None
    terms: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    errors: bool = False
    namespaces: tuple[str, ...] = ()

    def within(self, sight: Sight) -> "Selection":
        """Return the same for somebody who sees some namespaces only.

        Postgres shows them no others (see `web.pool`); this is how those are found soon.
        """
        if sight.is_everything or self.scope.workflow_namespace is not None:
            return self
        return msgspec.structs.replace(self, namespaces=sight.namespaces)

    @property
    def channels(self) -> list[str]:
        """The channels that are read."""
        if self.scope.claimed is not None:
            # The only one in which it is known.
            return [CHANNEL_GENERAL]
        return list(dict.fromkeys([self.scope.channel, *([CHANNEL_GENERAL] if self.general else [])]))

    def messages_query(self, direction: Direction) -> str | None:
        """Return the query that reads an index which has the messages in reading order; None where there is none."""
        if self.scope.claimed is not None:
            return None
        if self.scope.key is not None:
            return f"workflow_messages_{direction}"
        if not self._is_general:
            return None
        return f"general_messages_in_{direction}" if self._is_of_several else f"general_messages_{direction}"

    def places_query(self, direction: Direction) -> str | None:
        """Return the query that reads their places alone from that index."""
        if self.scope.claimed is not None:
            return f"claimed_places_{direction}"
        if self.scope.key is not None:
            return f"workflow_places_{direction}"
        if not self._is_general:
            return None
        return f"general_places_in_{direction}" if self._is_of_several else f"general_places_{direction}"

    @property
    def is_sifted(self) -> bool:
        """Whether that index has others among them."""
        scope = self.scope
        others = (scope.agent_id, scope.workflow_name, scope.claimed, self.repository, self.issue, self.branch)
        unnamed = scope.workflow_uid is not None and scope.workflow_namespace is None
        # What went wrong in a run has an index of its own.
        rare = scope.key is not None and self._wrong_alone
        kinds = bool(scope.kinds or self.errors) and not rare
        return bool(kinds or self.terms) or unnamed or any(other is not None for other in others)

    def arguments(self) -> dict[str, object]:
        """Return the arguments of the queries that take a selection."""
        like: dict[str, object] = {f"like_{number}": patterns(term) for number, term in enumerate(self.terms)}
        like |= {f"like_{number}": None for number in range(len(self.terms), MOST_TERMS)}
        return {
            "channels": self.channels,
            "channel": self.scope.channel,
            "general": self.general,
            "namespace": self.scope.workflow_namespace or (self.namespaces[0] if len(self.namespaces) == 1 else None),
            "namespaces": [*self.namespaces],
            "uid": self.scope.workflow_uid,
            "name": self.scope.workflow_name,
            "claimed": self.scope.claimed,
            "agent": self.scope.agent_id,
            "kinds": [*self.scope.kinds] or None,
            "repository": self.repository,
            "issue": self.issue,
            "branch": self.branch,
            "errors": self._wrong_alone,
            **like,
        }

    def clauses(self) -> list[Clause]:
        """Return what the blocks must have that hold what is wanted."""
        agent, kinds = self.scope.agent_id, self.scope.kinds or (KINDS_OF_ERRORS if self.errors else ())
        namespaces = self.namespaces or (self.scope.workflow_namespace,)
        places = [self._place(channel, namespace) for channel in self.channels for namespace in namespaces]
        clauses = [[[*slots_of_name(*names_of_place(*place, agent=agent))] for place in places]]
        if kinds:
            # Of several namespaces the clause before tells; to name each again would cost more than it spares.
            where = places if len(namespaces) == 1 else [[channel] for channel in self.channels]
            named = [names_of_place(*place, kind=kind) for place in where for kind in kinds]
            clauses.append([[*slots_of_name(*name)] for name in named])
        for key, value in (("repository", self.repository), ("issueNumber", self.issue), ("branch", self.branch)):
            if value is not None:
                clauses.append([[*slots_of_name(key, value)]])
        return clauses + [[slots_of_term(term)] for term in self.terms]

    def in_place(self, scope: Scope) -> "Selection":
        """Return the same of another scope."""
        return msgspec.structs.replace(self, scope=scope)

    @property
    def _wrong_alone(self) -> bool:
        return self.errors or self.scope.kinds == (ERROR,)

    @property
    def _is_general(self) -> bool:
        return self.channels == [CHANNEL_GENERAL]

    @property
    def _is_of_several(self) -> bool:
        return self.scope.workflow_namespace is None and len(self.namespaces) > 1

    def _place(self, channel: str, namespace: str | None) -> list[str]:
        place = [channel]
        if namespace is not None:
            place.append(namespace)
            if self.scope.workflow_uid is not None:
                place.append(self.scope.workflow_uid)
        return place

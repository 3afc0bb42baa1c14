"""The subjects messages travel on, read and written.

    workflow.<namespace>.<name>.<uid>.agent.<agent_id>.<kind>   a run's own conversation
    workflow.general.<kind>                                     the shared room
    workflow.general.<namespace>.<kind>                         the same, the server having stamped the namespace
    workflow.general.<namespace>.person.<kind>                  the same, said by a person in the UI

and all of these behind `argo.`. A token holds `A-Z a-z 0-9 _ -`; every other
byte is percent-encoded. `unknown` and `-` stand for an absent value.
"""

from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote

from msgspec import Struct

from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, PERSON
from flows.text import storable

# Whose word the identity of a message is: the whole subject's, the payload's alone,
# the server's for the namespace, or the web's for what a person says.
Authority = Literal["subject", "claimed", "namespace", "person"]

ABSENT = "-"
_ABSENT_TOKENS = frozenset({"", "-", "unknown"})
_QUOTE_SAFE = "_-"


class Subject(Struct, frozen=True):
    """What a subject says; None where it says nothing.

    Attributes:
        channel: `run` or `general`.
        authority: how far the identity of the message can be trusted.
        runtime: `argo` where the subject came through that adapter.
    """

    channel: str
    authority: Authority
    kind: str | None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    agent: str | None = None
    runtime: str | None = None


@lru_cache(maxsize=16_384)
def parse(subject: str) -> Subject | None:
    """Read a subject; None where it has no shape that we know."""
    tokens = subject.split(".")
    runtime = None
    if tokens[0] == "argo":
        runtime = "argo"
        tokens = tokens[1:]
    if not tokens or tokens[0] != "workflow":
        return None
    match tokens[1:]:
        case [namespace, name, uid, "agent", agent, kind]:
            return Subject(
                channel=CHANNEL_RUN,
                authority="subject",
                kind=decode(kind),
                namespace=decode(namespace),
                name=decode(name),
                uid=decode(uid),
                agent=_decode_agent(agent),
                runtime=runtime,
            )
        case ["general", kind]:
            return Subject(CHANNEL_GENERAL, "claimed", decode(kind), runtime=runtime)
        case ["general", namespace, kind]:
            return Subject(CHANNEL_GENERAL, "namespace", decode(kind), decode(namespace), runtime=runtime)
        case ["general", namespace, "person", kind]:
            return Subject(CHANNEL_GENERAL, "person", decode(kind), decode(namespace), agent=PERSON, runtime=runtime)
        case _:
            return None


def format_run(prefix: str, namespace: str, name: str | None, uid: str | None, agent: str, kind: str) -> str:
    """Return the subject of a run's own conversation; `prefix` is `workflow` or `argo.workflow`."""
    return ".".join([prefix, encode(namespace), encode(name), encode(uid), "agent", encode(agent), encode(kind)])


def format_general(prefix: str, kind: str) -> str:
    """Return the subject on which a runtime speaks in the shared room."""
    return f"{prefix}.general.{encode(kind)}"


def format_general_person(prefix: str, namespace: str, kind: str) -> str:
    """Return the subject on which the web lets a person speak in the shared room."""
    return f"{prefix}.general.{encode(namespace)}.{PERSON}.{encode(kind)}"


def encode(value: str | None) -> str:
    """Return a value as one token."""
    if not value:
        return ABSENT
    if value in _ABSENT_TOKENS:
        # Somebody is called so: one encoded byte keeps the name apart from its absence.
        return f"%{ord(value[0]):02X}{value[1:]}"
    # quote() leaves '.' and '~' as they are: both are unreserved in URLs, not here.
    return quote(value, safe=_QUOTE_SAFE, errors="replace").replace(".", "%2E").replace("~", "%7E")


def _decode_agent(token: str) -> str | None:
    # NATS guards the token as it is written: an encoded `person` would slip past
    # the rule that only the web may publish as one.
    agent = decode(token)
    return "unknown" if agent == PERSON and token != PERSON else agent


def decode(token: str) -> str | None:
    """Return a token's value, None where it stands for an absent one."""
    if token in _ABSENT_TOKENS:
        return None
    return storable(unquote(token, errors="replace")) if "%" in token else token

"""Two tenants with runs and agents of the same names, who have said the same, each with a word of its own."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
import pytest

from tests.readers import Headers, Readers
from tests.writers import Writer

OURS, THEIRS = "tenant-ours", "tenant-theirs"
# Of each there is something in all that a tenant could see.
NAMES = {OURS: "needle-own", THEIRS: "needle-alien"}
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
# What only a run of the other's is called.
PRIVATE = "their-secret-run"
ALL_RIGHTS = ("read", "speak", "operate")


def people(scope: Literal["function", "module"]) -> list[Callable[..., Any]]:
    """Return fixtures of the headers of who reads ours, theirs, both, and everything."""

    def reader(name: str, *namespaces: str, rights: tuple[str, ...] = ALL_RIGHTS) -> Callable[..., Any]:
        def let_in(readers: Readers) -> Headers:
            return readers.add(name, *namespaces, rights=rights)

        return pytest.fixture(let_in, scope=scope, name=name)

    return [
        reader("ours", OURS),
        reader("theirs", THEIRS),
        reader("both", OURS, THEIRS, rights=("read",)),
        reader("everybody", "*"),
    ]


def tell(database: str, writer: Writer) -> None:
    """Have both say the same in the same places."""
    for number, (namespace, word) in enumerate(NAMES.items()):
        at = NOON + timedelta(minutes=number)
        attrs = {"repository": "org/shop", "issueNumber": "7", "branch": "main", "tool": {"name": word}}
        writer.say(f"{word} one", workflow_namespace=namespace, timestamp=at, attrs=attrs)
        writer.say(f"{word} two", workflow_namespace=namespace, timestamp=at, attrs=attrs, kind="error")
        writer.say(f"{word} general", workflow_namespace=namespace, timestamp=at, channel="general", attrs=attrs)
        writer.say(f"{word} claim", workflow_namespace=namespace, timestamp=at, channel="general", run="run-1")
    writer.say(f"{NAMES[THEIRS]} alone", workflow_namespace=THEIRS, run=PRIVATE, timestamp=NOON)
    with psycopg.connect(database) as connection:
        for namespace, word in NAMES.items():
            connection.execute(
                "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
                " VALUES (%s, %s, 'not_json', %s, %s)",
                [f"workflow.{namespace}.a.b.agent.c.message", word.encode(), word, word],
            )
            connection.execute(
                "INSERT INTO workflow_comms.reconcile_queue"
                " (workflow_namespace, workflow_uid, workflow_name, payload, report)"
                " VALUES (%s, 'run-1', 'run-1', '{}', jsonb_build_object('lines', %s::text))",
                [namespace, word],
            )
        # Nobody's, as far as its subject tells.
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
            " VALUES ('workflow.general.message', %s, 'not_json', 'x', 'x')",
            [NAMES[THEIRS].encode()],
        )

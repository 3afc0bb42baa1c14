"""Whose a folder is, by what the database knows: which runs of other namespaces are called by its name."""

from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from psycopg import Connection

import sql


class Owners:
    """Knows the runs that were heard of, and what was read for them.

    Args:
        connect: opens a connection that sees the rows of all namespaces; each question is asked over one of its own.
    """

    def __init__(self, connect: Callable[[], Connection[Any]]) -> None:
        self._connect = connect

    @classmethod
    def of(cls, database: str) -> "Owners":
        """Return those of a database, by its connection string."""
        return cls(lambda: psycopg.connect(database, autocommit=True))

    def elsewhere(self, namespace: str, folders: Iterable[str]) -> set[str]:
        """Return which folders runs of other namespaces are called.

        Raises:
            psycopg.Error: the database doesn't tell.
        """
        return self._ask("folders_elsewhere", namespace, folders)

    def read_elsewhere(self, namespace: str, locations: Iterable[str]) -> set[str]:
        """Return which artifacts, by their locations, were read for runs of other namespaces.

        Raises:
            psycopg.Error: the database doesn't tell.
        """
        return self._ask("artifacts_elsewhere", namespace, locations)

    def _ask(self, query: str, namespace: str, names: Iterable[str]) -> set[str]:
        arguments = {"namespace": namespace, "names": [*names]}
        if not arguments["names"]:
            return set()
        with self._connect() as connection:
            return {name for (name,) in connection.execute(sql.query(query), arguments)}

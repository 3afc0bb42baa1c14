"""Whether Postgres has let us in, tried before anything is to be stored."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection

from connectors.backoff import backoff
from connectors.blame import in_one_line
from connectors.conninfo import with_defaults

log = logging.getLogger(__name__)


class Admission(threading.Thread):
    """Logs in once, trying for as long as it takes, and says why it waits.

    Whoever takes messages before that would keep them from others who can store them.

    Args:
        conninfo: any libpq connection string.
        lacks: asked over a connection that was let in what there is to be done first, in a clause; empty is nothing.

    Raises:
        psycopg.ProgrammingError: libpq cannot read it.
    """

    def __init__(self, conninfo: str, lacks: Callable[[Connection[Any]], str] = lambda _: "") -> None:
        super().__init__(name="admission", daemon=True)
        self._conninfo = with_defaults(conninfo, "agent-comms admission")
        self._lacks = lacks
        self._lacking = ""
        self._granted = threading.Event()

    @property
    def is_granted(self) -> bool:
        """Whether it has been in, and nothing was lacking."""
        return self._granted.is_set()

    @property
    def awaited(self) -> str:
        """What it waits for, for a person; empty once it has it."""
        if self.is_granted:
            return ""
        return f"Postgres, since {self._lacking}" if self._lacking else "Postgres to let it in"

    def run(self) -> None:
        """Try until it is in; nobody waits for the end of that, it ends with the process."""
        failures, told = 0, ""
        while not self.is_granted:
            why, todo = self._try()
            if not why:
                self._granted.set()
                break
            failures += 1
            # A name may have several addresses, tried in turn, and the reason is in the words.
            if why != told:
                told = why
                log.warning("postgres: %s", why, extra={"todo": todo})
            self._granted.wait(backoff(failures))
        if failures:
            log.info("postgres: let in after %d failed tries", failures)

    def _try(self) -> tuple[str, str]:
        """Return why it isn't in, and what to do; empty where it is."""
        try:
            with psycopg.connect(self._conninfo, autocommit=True) as connection:
                self._lacking = self._lacks(connection)
        except psycopg.Error as error:
            self._lacking = ""
            todo = "check DATABASE_URL, and whether Postgres runs; it is tried again"
            return f"not let in, so nothing is taken: {in_one_line(error)}", todo
        if self._lacking:
            return f"nothing is taken: {self._lacking}", "once that is done it goes on by itself"
        return "", ""

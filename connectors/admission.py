"""Whether Postgres has let us in, tried before anything is to be stored."""

import logging
import threading

import psycopg

from connectors.backoff import backoff
from connectors.blame import in_one_line
from connectors.conninfo import with_defaults

log = logging.getLogger(__name__)


class Admission(threading.Thread):
    """Logs in once, trying for as long as it takes, and says why it waits.

    Whoever takes messages before that would keep them from others who can store them.

    Args:
        conninfo: any libpq connection string.

    Raises:
        psycopg.ProgrammingError: libpq cannot read it.
    """

    def __init__(self, conninfo: str) -> None:
        super().__init__(name="admission", daemon=True)
        self._conninfo = with_defaults(conninfo, "agent-comms admission")
        self._granted = threading.Event()

    @property
    def is_granted(self) -> bool:
        """Whether it has been in."""
        return self._granted.is_set()

    def run(self) -> None:
        """Try until it is in; nobody waits for the end of that, it ends with the process."""
        failures, told = 0, ""
        while not self.is_granted:
            try:
                psycopg.connect(self._conninfo).close()
            except psycopg.Error as error:
                failures += 1
                # A name may have several addresses, tried in turn, and the reason is in the words.
                if (why := in_one_line(error)) != told:
                    told = why
                    todo = "check DATABASE_URL, and whether Postgres runs; it is tried again"
                    log.warning("postgres: not let in, so nothing is taken: %s", why, extra={"todo": todo})
                self._granted.wait(backoff(failures))
            else:
                self._granted.set()
        if failures:
            log.info("postgres: let in after %d failed tries", failures)

"""Where the time of a run went: what each tool took."""

from msgspec import Struct
from psycopg import Connection

import sql
from web.queries import RunRow

MOST_TOOLS = 100


class ToolTime(Struct, frozen=True):
    """What one tool took in one run.

    Attributes:
        results: how often it answered.
        failures: how many of them were failures.
        milliseconds: all of them together; null where none said how long it took.
    """

    name: str
    results: int
    failures: int
    milliseconds: float | None

    @property
    def seconds(self) -> float:
        """The same in seconds, 0 where it isn't known."""
        return (self.milliseconds or 0) / 1000


def tools_of(connection: Connection, run: RunRow) -> list[ToolTime]:
    """Read what the tools of a run took, the longest first."""
    namespace, uid = run.key
    arguments = {"namespace": namespace, "uid": uid, "limit": MOST_TOOLS}
    return [ToolTime(*row) for row in connection.execute(sql.query("run_tools"), arguments)]

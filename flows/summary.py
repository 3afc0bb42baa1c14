"""What a backfill of many runs came to."""

from collections import Counter

from msgspec import Struct

from flows.recovery import Recovery
from flows.report import RunReport

# So many runs with something wrong are named.
MAX_NAMED = 1_000


class Wrong(Struct, frozen=True):
    """A run that is not complete, or was not treated, and why."""

    workflow_namespace: str
    workflow_uid: str
    why: list[str]


class Summary(Struct):
    """The sums over all runs that were treated; fields as in `flows.report.RunReport`.

    Attributes:
        runs: that were treated.
        unchanged: runs of which nothing has changed since.
        gone: runs that were left alone, since messages of them are past the retention.
        recovered: runs of which something was missing.
        absent: artifacts that can't be had.
        damaged: artifacts that can't be read to their end.
        wrong: some of the runs that are not complete.
    """

    runs: int = 0
    unchanged: int = 0
    gone: int = 0
    complete: int = 0
    recovered: int = 0
    lines: int = 0
    rows: int = 0
    stored: int = 0
    inserted: int = 0
    refused: int = 0
    interrupted: int = 0
    absent: int = 0
    damaged: int = 0
    skipped: dict[str, int] = {}
    wrong: list[Wrong] = []

    def add(self, run: Recovery) -> None:
        """Add a run that is over."""
        report = run.report
        if report is None:
            return
        if report.gone:
            self.gone += 1
        else:
            self._add(report)
        if not report.complete and len(self.wrong) < MAX_NAMED:
            self.wrong.append(Wrong(*run.key, why=report.why))

    def _add(self, report: RunReport) -> None:
        self.runs += 1
        self.complete += report.complete
        self.recovered += report.inserted > 0
        self.absent += len(report.absent)
        self.damaged += len(report.damaged)
        for name in ("lines", "rows", "stored", "inserted", "refused", "interrupted"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        self.skipped = dict(Counter(self.skipped) + Counter(report.skipped))

    @property
    def is_whole(self) -> bool:
        """Whether everything that the artifacts hold is stored."""
        return not (self.absent or self.damaged or self.refused)

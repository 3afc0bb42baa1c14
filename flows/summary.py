"""What a backfill of many runs came to."""

from collections import Counter

from msgspec import Struct

from flows.recovery import Recovery
from flows.report import RunReport

# So many runs with something wrong are named, and so many artifacts of each.
MAX_NAMED = 1_000
MAX_TROUBLES = 5


class Wrong(Struct, frozen=True):
    """A run that is not complete, or was not treated, and why.

    Attributes:
        troubles: a line on each artifact that can't be had, or not be read to its end; some of them.
    """

    workflow_namespace: str
    workflow_uid: str
    why: list[str]
    troubles: list[str] = []


class Summary(Struct):
    """The sums over all runs that were treated; fields as in `flows.report.RunReport`.

    Attributes:
        runs: that were treated.
        unchanged: runs of which nothing has changed since.
        lacking: of these, the ones with something that can't be read or stored, as is known of them.
        gone: runs that were left alone, since messages of them are past the retention.
        failed: runs that can't be recovered, by something that nobody thought of.
        recovered: runs of which something was missing.
        absent: artifacts that can't be had.
        damaged: artifacts that can't be read to their end.
        eventless: artifacts that should hold events, and hold something else.
        lost: lines that are too long, or can't be read.
        wrong: some of the runs that are not complete.
    """

    runs: int = 0
    unchanged: int = 0
    lacking: int = 0
    gone: int = 0
    failed: int = 0
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
    eventless: int = 0
    lost: int = 0
    skipped: dict[str, int] = {}
    wrong: list[Wrong] = []

    def add(self, run: Recovery) -> None:
        """Add a run that is over."""
        report = run.report
        if report is None:
            return
        if report.gone:
            self.gone += 1
        elif run.is_unchanged:
            self.lacking += 1
            self._add_lacks(report)
        else:
            self._add(report, run.failure)
        if not report.complete and len(self.wrong) < MAX_NAMED:
            troubles = [*report.absent.values(), *report.damaged.values()]
            self.wrong.append(Wrong(*run.key, report.why, troubles[:MAX_TROUBLES]))

    def _add(self, report: RunReport, failure: str) -> None:
        self.runs += 1
        self.failed += bool(failure)
        self.complete += report.complete
        self.recovered += report.inserted > 0
        self._add_lacks(report)
        for name in ("lines", "rows", "stored", "inserted", "interrupted"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        self.skipped = dict(Counter(self.skipped) + Counter(report.skipped))

    def _add_lacks(self, report: RunReport) -> None:
        self.absent += len(report.absent)
        self.damaged += len(report.damaged)
        self.eventless += len(report.eventless)
        self.lost += report.lost
        self.refused += report.refused

    @property
    def unnamed(self) -> int:
        """How many runs are not complete beside those that are kept in `wrong`."""
        return self.runs - self.complete + self.lacking + self.gone - len(self.wrong)

    @property
    def is_whole(self) -> bool:
        """Whether everything that the artifacts hold is stored."""
        return not (self.failed or self.absent or self.damaged or self.eventless or self.lost or self.refused)

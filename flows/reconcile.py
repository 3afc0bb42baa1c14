"""Works through the completed runs that are queued: each is recovered from its artifacts, or tried again later.

Any number of processes may do it at once: a run is worked on by one of them. It stays theirs while they renew its
lease; where one dies, its runs are another's two minutes later.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
from msgspec import Struct
from psycopg import Connection

from connectors.blame import Blame, blame, in_one_line
from connectors.objects import ObjectError, Objects
from flows import backlog
from flows.backfill import Backfill, Options
from flows.backlog import Claim, State
from flows.catalog import Catalog
from flows.completion import CompletionError
from flows.database import conninfo
from flows.finished import FinishedRun, read_finished
from flows.listed import Listed
from flows.owners import Owners
from flows.recovery import Recovery, now
from flows.report import NO_ARTIFACTS, RunReport
from flows.settings import Settings

log = logging.getLogger(__name__)

# Runs that are taken at once.
BATCH = 20
RENEW = backlog.LEASE / 4
# Their controller has so long to say that they are complete, before we find it out by ourselves.
GRACE = timedelta(minutes=10)
SWEEP_EVERY = timedelta(minutes=30)
# While it rests, it looks so often whether it is to end.
GLANCE_S = 0.2


class Outcome(Struct, frozen=True):
    """What became of a run.

    Attributes:
        state: `queued` where it is tried again.
        report: what its artifacts came to; None where nobody could look.
        error: why it is not done.
    """

    claim: Claim
    state: State
    report: RunReport | None = None
    error: str | None = None


class _Swept(Struct):
    swept: bool = False


_is_swept = msgspec.json.Decoder(_Swept).decode


class Reconciler:
    """Works on the queue.

    Args:
        settings: the environment.
        objects: where the artifacts are.
        done: called with what became of each run.
        processes: how many read, where there is much to be read.

    Delivery: as of `flows.backfill.Backfill`; a run that is done was looked at whole. What can't be had now is
    tried again, ever more seldom, and given up after `flows.backlog.MAX_ATTEMPTS` tries. A run without artifacts is
    looked at again for `flows.backlog.LATE`, and then done.
    """

    def __init__(
        self,
        settings: Settings,
        objects: Objects,
        *,
        done: Callable[[Outcome], None] = lambda _: None,
        processes: int = 0,
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._done = done
        self._processes = processes
        self._database = conninfo(settings, "agent-comms-reconcile")
        self._catalog = Catalog(objects, note=log.warning, owners=Owners.of(self._database))
        self._working: Backfill | None = None
        # Plain: a handler of signals sets it, in the midst of whatever its thread holds locked.
        self._stopping = False

    def stop(self) -> None:
        """End soon: the run that is worked on is finished, or given back."""
        self._stopping = True
        if self._working is not None:
            self._working.stop()

    def once(self, limit: int | None = None) -> int:
        """Work on what is due, so many runs at most; returns how many.

        Raises:
            ObjectError: the root can't be listed, which costs no run a try.
            psycopg.Error: Postgres is away for longer.
        """
        worked = 0
        while not self._stopping and (limit is None or worked < limit):
            claims = self._claim(BATCH if limit is None else min(BATCH, limit - worked))
            if not claims:
                break
            self._work(claims)
            worked += len(claims)
        return worked

    def _claim(self, limit: int) -> list[Claim]:
        with self._connected() as connection:
            claims = backlog.claim(connection, limit)
            try:
                if claims:
                    self._objects.look()
            except ObjectError:
                for each in claims:
                    backlog.give_back(connection, each)
                raise
        return claims

    def for_ever(self, every: timedelta, sweep: timedelta, note: Callable[[dict[str, int]], None]) -> None:
        """Work on what is due whenever something is, until asked to end; Postgres and the root may come and go.

        Args:
            every: how long to wait where nothing is due.
            sweep: how far back to look for runs that nobody has queued; zero for not at all.
            note: told how many runs stand where.
        """
        sweep_at = time.monotonic()
        while not self._stopping:
            try:
                if sweep and time.monotonic() >= sweep_at:
                    self.sweep(sweep)
                    sweep_at = time.monotonic() + SWEEP_EVERY.total_seconds()
                self.once()
                with self._connected() as connection:
                    note(backlog.counts(connection))
            except psycopg.Error as error:
                if blame(error) is not Blame.SERVER:
                    raise
                log.warning("postgres: %s; trying again", in_one_line(error), extra={"todo": "see to Postgres"})
            except ObjectError as error:
                log.warning("artifacts: %s; trying again", error, extra={"todo": "see to AGENT_COMMS_ARTIFACTS"})
            self._rest(every.total_seconds())

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, GLANCE_S))

    def sweep(self, back: timedelta) -> int:
        """Queue finished runs that nobody has queued; returns how many."""
        until = now() - GRACE
        with self._connected() as connection:
            return backlog.sweep(connection, until - back, until)

    def _connected(self) -> Connection[Any]:
        return psycopg.connect(self._database, autocommit=True)

    def _work(self, claims: Sequence[Claim]) -> None:
        with self._kept(claims):
            outcomes = self._outcomes(claims)
        with self._connected() as connection:
            for each in claims:
                outcome = outcomes.get(each.key)
                if outcome is None:
                    backlog.give_back(connection, each)
                else:
                    self._done(_settle(connection, outcome))

    @contextmanager
    def _kept(self, claims: Sequence[Claim]) -> Iterator[None]:
        """Renew the lease of what is worked on, meanwhile."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEW.total_seconds()):
                try:
                    with self._connected() as connection:
                        backlog.keep(connection, claims)
                except psycopg.Error as error:
                    todo = "see to Postgres; another one takes these runs over in two minutes"
                    log.warning("postgres: the lease can't be renewed: %s", in_one_line(error), extra={"todo": todo})

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _outcomes(self, claims: Sequence[Claim]) -> dict[tuple[str, str], Outcome]:
        """Return what became of runs; nothing of those that were not come to."""
        outcomes: dict[tuple[str, str], Outcome] = {}
        listed: dict[tuple[str, str], tuple[Claim, Listed]] = {}
        for claim in claims:
            if self._stopping:
                break
            try:
                listed[claim.key] = claim, self._list(claim)
            except (ObjectError, CompletionError) as error:
                outcomes[claim.key] = Outcome(claim, "queued", error=str(error))
        for is_last in (False, True):
            # At the last try what there is has to do.
            some = [each for each in listed.values() if each[0].is_last is is_last]
            for outcome in self._recover(some, is_patient=not is_last):
                outcomes[outcome.claim.key] = outcome
        return outcomes

    def _list(self, claim: Claim) -> Listed:
        """Return what there is of a run.

        Raises:
            ObjectError: its folder can't be listed.
            CompletionError: its payload is none.
        """
        run = read_finished(claim.payload.encode(), claim.queued_at, claim.workflow_namespace)
        known = FinishedRun(
            claim.workflow_namespace,
            claim.workflow_uid,
            claim.workflow_name,
            claim.run_id,
            run.stage,
            run.agent,
            # Of a run that was swept nobody has said that it is complete.
            None if _is_swept(claim.payload).swept else run.completion,
            run.left,
        )
        return self._catalog.of(known)

    def _recover(self, some: Sequence[tuple[Claim, Listed]], *, is_patient: bool) -> list[Outcome]:
        """Return what became of runs; of each by itself, where they fail together."""
        if not some or self._stopping:
            return []
        try:
            return self._recover_together(some, is_patient=is_patient)
        except psycopg.Error:
            raise
        except Exception as error:  # whatever one run is like, the others are done
            if len(some) == 1:
                run = "/".join(some[0][0].key)
                log.exception("%s can't be recovered", run, extra={"run": run, "todo": "report it with this line"})
                return [Outcome(some[0][0], "queued", error=in_one_line(error))]
        return [outcome for each in some for outcome in self._recover([each], is_patient=is_patient)]

    def _recover_together(self, some: Sequence[tuple[Claim, Listed]], *, is_patient: bool) -> list[Outcome]:
        recovered: list[Recovery] = []
        options = Options(processes=self._processes, is_patient=is_patient, every_run=True)
        self._working = Backfill(self._settings, self._objects, options, done=recovered.append)
        try:
            self._working.prepare([listed for _, listed in some])
            self._working.run()
        finally:
            self._working = None
        return [_outcome(some[recovery.number][0], recovery) for recovery in recovered]


def _outcome(claim: Claim, recovery: Recovery) -> Outcome:
    report = recovery.report
    if recovery.failure:
        return Outcome(claim, "queued", error=recovery.failure)
    if report is not None and report.has_no_artifacts and now() - claim.queued_at < backlog.LATE:
        return Outcome(claim, "queued", report, NO_ARTIFACTS)
    if report is not None and report.waiting:
        troubles = [*report.absent.values(), *report.damaged.values()]
        return Outcome(claim, "queued", report, "; ".join(troubles[:5]) or "the events may still come")
    return Outcome(claim, "done", report)


def _settle(connection: Connection[Any], outcome: Outcome) -> Outcome:
    claim, report = outcome.claim, outcome.report
    if outcome.state == "done" and report is not None:
        backlog.done(connection, claim, report)
        return outcome
    if report is not None and report.has_no_artifacts:
        backlog.wait_for_artifacts(connection, claim, now() - claim.queued_at, report)
        return outcome
    state = backlog.put_off(connection, claim, outcome.error or "", report)
    return Outcome(claim, state, report, outcome.error)

"""What of the artifacts is not stored yet: an anti-join of their keys with the table's, for many runs at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import polars
import psycopg
from msgspec import Struct

from flows import moment
from flows.attempts import File
from flows.draft import Draft
from flows.finished import Key
from flows.recovery import Recovery, Tally
from flows.sheet import Begun, Found, Over, Read, Sheet, Skimmed
from flows.stock import Stock

T = TypeVar("T", Sheet, Skimmed)

# Of a run's messages so many are read for each that its artifact holds; beyond that, keys are looked up.
WORTH = 4
ANYWAY = 1_000
MAX_SAID = 250_000


class Missing(Struct, gc=False):
    """A message that is not stored.

    Attributes:
        run: the number of its run.
        part: of the artifact that it is in.
        key: of the message.
        draft: of it; None where the table doesn't take it.
        time: when it was said, microseconds since the Unix epoch.
        source: what the time was taken from.
        given: when it was said by its own word, which is not believed, in the same measure.
    """

    run: int
    part: int
    key: str
    draft: Draft | None
    time: int
    source: str
    given: int | None = None


class Again(Struct):
    """A run that was skimmed is to be read, since something of it is missing."""

    run: int


Step = Missing | Over | Again


class _Compared(Struct):
    """A sheet beside the table.

    Attributes:
        lacking: how many of its messages are not stored.
        messages: each one's `key`, `time`, null where it isn't stored, and, where any isn't, `is_first`.
    """

    lacking: int
    messages: polars.DataFrame | None


class Comparison:
    """Compares what was found with what is stored.

    Args:
        stock: what is stored.
        runs: by their numbers; they are kept up to date.
    """

    def __init__(self, stock: Stock, runs: Mapping[int, Recovery]) -> None:
        self._stock = stock
        self._runs = runs
        # What runs had said before, while they are read; None where each key is looked up.
        self._said: dict[int, polars.DataFrame | None] = {}

    def missing(self, found: Sequence[Found]) -> list[Step]:
        """Return what is missing of what was found, in its order, and where a run is over."""
        found = self._begin(found)
        sheets = [each for each in found if isinstance(each, Sheet)]
        for sheet in sheets:
            self._runs[sheet.run].attempts.note(sheet)
        compared = self._compare(sheets)
        self._count_stored([each for each in found if isinstance(each, Skimmed)])
        steps: list[Step] = []
        for each in found:
            if isinstance(each, Sheet):
                steps += self._placed(each, compared[id(each)])
            elif isinstance(each, Read):
                self._runs[each.run].tallies[each.part].read = each
            elif isinstance(each, Over):
                self._said.pop(each.run, None)
                run = self._runs[each.run]
                steps.append(Again(each.run) if run.has_to_be_read() and not run.failure else each)
        return steps

    def _begin(self, found: Sequence[Found]) -> list[Found]:
        """Leave out what was found of a run before it was begun anew."""
        begun = {each.run: at for at, each in enumerate(found) if isinstance(each, Begun)}
        for number in begun:
            self._runs[number].begin()
            self._said.pop(number, None)
        return [each for at, each in enumerate(found) if at >= begun.get(each.run, 0)]

    def _compare(self, sheets: Sequence[Sheet]) -> "dict[int, _Compared]":
        """Return which messages of each sheet are stored, by the sheet's identity."""
        keys = [key for sheet in sheets for key in sheet.keys]
        stored = self._look_up(sheets, self._stock.of_runs, lambda sheet: sheet.keys)
        joined = polars.DataFrame({"key": keys}, schema={"key": polars.String}).join(
            stored, on="key", how="left", maintain_order="left"
        )
        if joined["time"].null_count():
            # A line that two artifacts hold is one message.
            joined = joined.with_columns(is_first=polars.col("key").is_first_distinct())
        compared: dict[int, _Compared] = {}
        begin = 0
        for sheet in sheets:
            part = joined.slice(begin, len(sheet.keys))
            begin += len(sheet.keys)
            lacking = part["time"].null_count()
            self._runs[sheet.run].tallies[sheet.part].stored += len(part) - lacking
            # Of what is all there, and over, nobody needs the times.
            compared[id(sheet)] = _Compared(lacking, part if lacking or not sheet.is_last else None)
        self._ask_who_spoke(sheets, compared)
        return compared

    def _count_stored(self, skimmed: Sequence[Skimmed]) -> None:
        """Count what is stored of runs of which only the keys were told, and note which of them lack any."""
        told = [each for each in skimmed if each.rows]
        if not told:
            return
        keys = polars.DataFrame({"at": range(len(told)), "key": [each.keys for each in told]})
        keys = keys.with_columns(polars.col("key").str.split(",")).explode("key")
        stored = self._look_up(told, self._stock.keys_of_runs, lambda each: each.keys.split(","))
        lacking = keys.join(stored, on="key", how="anti")["at"].value_counts()
        lacking_by_place = dict(lacking.iter_rows())
        for at, each in enumerate(told):
            run, number = self._runs[each.run], lacking_by_place.get(at, 0)
            run.tallies[each.part].stored += each.rows - number
            if number:
                run.miss()

    def _look_up(
        self,
        sheets: Sequence[T],
        of_runs: Callable[[Sequence[Key]], polars.DataFrame],
        keys_of: Callable[[T], Sequence[str]],
    ) -> polars.DataFrame:
        """Return what is stored of the runs on some sheets, or at least of what is on the sheets.

        What a run had said before is read once, with the first of its sheets: what is added meanwhile is added by
        us, or found to be there when it is stored. Of a run that has said far more than its artifacts hold, or more
        than there is room for, the keys of each sheet are looked up.
        """
        keys: list[str] = []
        begun: list[int] = []
        for sheet in sheets:
            known = self._runs[sheet.run].known.messages
            if not known:
                continue
            if sheet.run not in self._said:
                expected = sheet.rows / max(sheet.share, 0.001)
                self._said[sheet.run] = None
                if known <= min(WORTH * expected + ANYWAY, MAX_SAID):
                    begun.append(sheet.run)
            if self._said[sheet.run] is None and sheet.run not in begun:
                keys += keys_of(sheet)
        said = of_runs([self._runs[number].key for number in begun])
        for number in begun:
            self._said[number] = said
        frames: dict[int, polars.DataFrame] = {}
        for sheet in sheets:
            if (frame := self._said.get(sheet.run)) is not None:
                frames[id(frame)] = frame
        return polars.concat([*frames.values(), self._stock.of_keys(keys).select(said.columns)])

    def _ask_who_spoke(self, sheets: Sequence[Sheet], compared: "dict[int, _Compared]") -> None:
        """Find out who speaks in artifacts of which a part is stored: whoever says the rest, too."""
        asked: dict[str, Tally] = {}
        for sheet in sheets:
            run, part = self._runs[sheet.run], compared[id(sheet)]
            tally = run.tallies[sheet.part]
            if part.messages is None or not part.lacking or len(run.known.agents) < 2 or tally.agent is not None:
                continue
            known = part.messages.filter(polars.col("time").is_not_null())
            if len(known):
                asked[known["key"][0]] = tally
        for key, agent in self._stock.agents([*asked]).items():
            asked[key].agent = agent

    def _placed(self, sheet: Sheet, compared: "_Compared") -> list[Missing]:
        """Return what is missing of a sheet; nothing where its run can't be recovered."""
        run = self._runs[sheet.run]
        try:
            return [] if run.failure else self._of_sheet(sheet, compared)
        except psycopg.Error:
            raise
        except Exception as error:  # whatever one run is like, the others are done
            run.give_up(error)
            return []

    def _of_sheet(self, sheet: Sheet, compared: "_Compared") -> list[Missing]:
        run = self._runs[sheet.run]
        file = run.attempts.file(sheet)
        file.rows += len(sheet.keys)
        if compared.messages is None or not sheet.keys:
            return []
        known = compared.messages["time"].to_list()
        if not compared.lacking:
            file.place = moment.Place(known[-1], moment.NEIGHBOURS)
            return []
        places = moment.place(
            known,
            sheet.told,
            sheet.threads,
            run.attempts.window(sheet.part),
            file.place,
            next_known=self._next_known(sheet, known, file),
            others=run.attempts.others(sheet),
            to_come=0 if sheet.is_last or not sheet.share else round(file.rows * (1 - sheet.share) / sheet.share),
        )
        first = compared.messages["is_first"].to_list()
        run.tallies[sheet.part].again += first.count(False)
        return [
            Missing(sheet.run, sheet.part, key, draft, *place, None if place[1] == moment.EVENT else sheet.told.get(at))
            for at, (key, draft, place, time, is_first) in enumerate(
                zip(sheet.keys, sheet.drafts, places, known, first, strict=True)
            )
            if time is None and is_first
        ]

    def _next_known(self, sheet: Sheet, known: Sequence[int | None], file: File) -> int | None:
        """Return when the next message of a file was said that is stored, where that is on another sheet."""
        run = self._runs[sheet.run]
        if sheet.is_last or known[-1] is not None or not run.known.messages:
            return None
        after = max((time for time in known if time is not None), default=file.place.last)
        if after is None:
            after = run.attempts.window(sheet.part).begin or 0
        return self._stock.next_time(run.key, run.parts[sheet.part].artifact.name, after)

"""When recovered messages were said, and in which order: of one attempt, and of several."""

import json
import os
from datetime import timedelta
from itertools import groupby, pairwise
from typing import Any

import pytest

from tests.artifacts import BEGIN, END, Archive, Stored, completion, live, recover, store, thread_at
from tests.sidecar import talk


def test_a_live_row_keeps_its_own_time(archive: Archive, database: str, stored: Stored) -> None:
    lines = "\n".join(talk(3)).encode()
    archive.add("run-1", lines)
    made = live(lines, "run-1")
    store(database, made[:10])
    before = stored.times("run-1")
    recover(database, archive.folder)
    assert stored.times("run-1")[:10] == before


def test_what_comes_live_after_the_backfill_changes_nothing(archive: Archive, database: str, stored: Stored) -> None:
    lines = "\n".join(talk(3)).encode()
    archive.add("run-1", lines)
    recover(database, archive.folder)
    before = stored.rows(), stored.times()
    store(database, live(lines, "run-1"))
    assert (stored.rows(), stored.times()) == before


def test_times_begin_with_the_thread_and_end_with_the_run(archive: Archive, database: str, stored: Stored) -> None:
    begun = BEGIN + timedelta(minutes=2)
    key = archive.add("run-1", "\n".join(talk(5, thread_at(begun))).encode())
    archive.complete(completion("run-1", [key]))
    recover(database, archive.folder)
    times = stored.times("run-1")
    assert times[0] == (begun, "thread")
    assert {source for _, source in times} == {"thread"}
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(times))
    assert END - timedelta(seconds=30) < times[-1][0] < END


def test_a_thread_that_is_older_than_the_run_tells_no_time(archive: Archive, database: str, stored: Stored) -> None:
    key = archive.add("run-1", "\n".join(talk(5, thread_at(BEGIN - timedelta(days=3)))).encode())
    archive.complete(completion("run-1", [key]))
    recover(database, archive.folder)
    times = stored.times("run-1")
    assert {source for _, source in times} == {"run"}
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(times))
    assert BEGIN <= times[0][0] < times[-1][0] < END


def test_two_attempts_are_both_kept_one_after_the_other(archive: Archive, database: str, stored: Stored) -> None:
    first, second = thread_at(BEGIN + timedelta(minutes=1)), thread_at(BEGIN + timedelta(minutes=5))
    keys = [
        archive.add("run-1", "\n".join(talk(3, thread)).encode(), pod=f"run-1-implement-{number}")
        for number, thread in ((2222, second), (1111, first))
    ]
    archive.complete(completion("run-1", keys))
    recover(database, archive.folder)
    lines = "\n".join(talk(3)).encode()
    once = [message.content for message in live(lines, "run-1", ends=True)]
    assert stored.contents("run-1") == once + once
    threads = stored.ask("SELECT attrs ->> 'thread_id' FROM workflow_comms.agent_messages ORDER BY timestamp, seq")
    assert [thread for (thread,) in threads] == [first] * len(once) + [second] * len(once)


def test_attempts_of_one_name_in_the_payload_are_both_read(archive: Archive, database: str, stored: Stored) -> None:
    archive.put("elsewhere/a.jsonl", "\n".join(talk(1, thread_at(BEGIN))).encode())
    archive.put("elsewhere/b.jsonl", "\n".join(talk(1, thread_at(BEGIN, 1))).encode())
    archive.complete(completion("run-1", ["elsewhere/a.jsonl", "elsewhere/b.jsonl"]))
    assert [*recover(database, archive.folder)] == ["run-1"]
    assert stored.ask("SELECT count(DISTINCT attrs ->> 'thread_id') FROM workflow_comms.agent_messages") == [(2,)]


ZERO = "0001-01-01T00:00:00Z"


def rollout(*times: Any) -> list[str]:
    """A session of Codex of which each line says a word and, perhaps, when it was said."""
    said = [{"role": "assistant", "content": [{"text": f"word {at}"}]} for at in range(len(times))]
    lines = [{"type": "response_item", "payload": {"type": "message", **each}} for each in said]
    return [json.dumps(line | ({"timestamp": time} if time else {})) for line, time in zip(lines, times, strict=True)]


@pytest.mark.parametrize(
    "times",
    [
        ("9999-12-31T23:59:59.999Z", None, None),
        (None, None, ZERO, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("1999-12-31T23:59:59Z", None),
        ("yesterday", None),
    ],
)
def test_a_line_whose_time_can_not_be_costs_neither_its_run_nor_another(
    times: tuple[str | None, ...], archive: Archive, database: str, stored: Stored
) -> None:
    keys = [archive.add("run-1", rollout(*times)), archive.add("run-2", talk(1))]
    archive.complete(*(completion(key.partition("/")[0], [key]) for key in keys))
    recover(database, archive.folder)
    assert stored.contents("run-1") == [f"word {at}" for at in range(len(times))]
    assert stored.contents("run-2")
    assert all(BEGIN <= time <= END and source != "event" for time, source in stored.times("run-1"))
    given = stored.ask("SELECT attrs ->> 'timestamp_given' FROM workflow_comms.agent_messages ORDER BY timestamp, seq")
    assert {time for (time,) in given if time} == {time for time in times if time}


@pytest.mark.parametrize("started", [ZERO, BEGIN.isoformat()])
def test_a_controller_that_has_set_no_time_tells_none(
    started: str, archive: Archive, database: str, stored: Stored
) -> None:
    keys = [archive.add("run-1", talk(1, "thread")), archive.add("run-2", talk(1))]
    archive.complete(completion("run-1", keys[:1], started=started, finished=ZERO), completion("run-2", keys[1:]))
    recover(database, archive.folder)
    assert len(stored.rows("run-1")) == len(stored.rows("run-2"))
    assert stored.times("run-1")[0][0] >= BEGIN
    ended = "SELECT state, phase_finished_at, finished_at > %s FROM workflow_comms.runs WHERE workflow_uid = 'run-1'"
    assert stored.ask(ended, BEGIN) == [("succeeded", None, True)]


def test_a_file_whose_own_time_can_not_be_has_been_written_by_now(
    archive: Archive, database: str, stored: Stored
) -> None:
    for run, time in (("run-1", 0), ("run-2", 32_503_680_000)):
        os.utime(archive.folder / archive.add(run, talk(1, "thread")), (time, time))
    recover(database, archive.folder)
    asked = "SELECT count(*) FROM workflow_comms.agent_messages WHERE timestamp NOT BETWEEN %s AND now()"
    assert stored.count()
    assert stored.ask(asked, BEGIN) == [(0,)]


def test_lines_whose_times_go_back_keep_what_they_say_in_their_attrs(
    archive: Archive, database: str, stored: Stored
) -> None:
    said = [f"2026-01-01T10:0{minute}:00+00:00" for minute in (1, 3, 2, 4, 5)]
    archive.complete(completion("run-1", [archive.add("run-1", rollout(*said))]))
    recover(database, archive.folder)
    assert stored.contents() == [f"word {at}" for at in range(5)]
    given = stored.ask("SELECT attrs ->> 'timestamp_given' FROM workflow_comms.agent_messages ORDER BY timestamp, seq")
    assert [time for (time,) in given] == [None, said[1], None, None, None]
    sources = [source for _, source in stored.times()]
    assert sources == ["event", "neighbours", "event", "event", "event"]


@pytest.mark.parametrize(
    "threads",
    [("first", "second"), (BEGIN + timedelta(minutes=7), "second"), ("first", BEGIN + timedelta(minutes=2))],
    ids=["no thread tells", "the first one tells", "the second one tells"],
)
@pytest.mark.parametrize("ends", [END.isoformat(), ""])
@pytest.mark.parametrize("written", [None, (5, 9), (9, 5)])
def test_attempts_of_which_no_thread_tells_the_time_follow_each_other(
    threads: tuple[Any, Any],
    ends: str,
    written: tuple[int, int] | None,
    archive: Archive,
    database: str,
    stored: Stored,
) -> None:
    named = [each if isinstance(each, str) else thread_at(each) for each in threads]
    keys = [
        archive.add("run-1", talk(20, thread), pod=f"run-1-implement-{pod}")
        for pod, thread in zip((2222, 1111), named, strict=True)
    ]
    for key, minutes in zip(keys, written or (), strict=bool(written)):
        os.utime(archive.folder / key, times=((BEGIN + timedelta(minutes=minutes)).timestamp(),) * 2)
    archive.complete(completion("run-1", keys, finished=ends))
    recover(database, archive.folder)
    said = stored.ask("SELECT attrs ->> 'thread_id' FROM workflow_comms.agent_messages ORDER BY timestamp, seq")
    order = [thread for thread, _ in groupby(thread for (thread,) in said)]
    is_told = written is not None and written[0] > written[1]
    assert order == (named[::-1] if is_told else named)
    times = [time for time, _ in stored.times()]
    assert len(set(times)) == len(times)
    assert not ends or times[-1] <= END


@pytest.mark.parametrize("tells", ["nothing", "its end", "its beginning"])
def test_attempts_follow_each_other_though_nobody_knows_when(
    tells: str, archive: Archive, database: str, stored: Stored
) -> None:
    keys = [archive.add("run-1", talk(20, f"thread-{pod}"), pod=f"run-1-implement-{pod}") for pod in (2222, 1111)]
    if tells != "nothing":
        known = {"its end": {"started": ""}, "its beginning": {"finished": ""}}[tells]
        archive.complete(completion("run-1", keys, **known))
    recover(database, archive.folder)
    said = stored.ask("SELECT attrs ->> 'thread_id' FROM workflow_comms.agent_messages ORDER BY timestamp, seq")
    assert len([*groupby(said)]) == 2
    times = [time for time, _ in stored.times()]
    assert len(set(times)) == len(times)

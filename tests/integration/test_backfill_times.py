"""When recovered messages were said, and in which order: of one attempt, and of several."""

from datetime import timedelta
from itertools import pairwise

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

"""Runs recovered from a folder of artifacts into a real database."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.delivery import JetStreamMessage
from connectors.objects import Objects
from flows.attempts import Attempts
from flows.backfill import Backfill, Options
from flows.catalog import Catalog
from flows.completion import Completion, complete
from flows.message import Message
from flows.normalize import normalize
from flows.recovery import SILENCE, Recovery
from flows.settings import Settings
from flows.summary import Summary
from tests.artifacts import (
    BEGIN,
    DELIVERED,
    END,
    EVENTS,
    LOG,
    STREAMS,
    Archive,
    Stored,
    completion,
    live,
    recover,
    store,
    thread_at,
)
from tests.ingestion import assert_runs_agree
from tests.sidecar import THREAD, event, item, said, talk
from tests.writers import Writer


@pytest.mark.parametrize("name", STREAMS)
def test_a_run_that_was_never_seen_is_whole_and_recovered_once(
    name: str, archive: Archive, database: str, stored: Stored
) -> None:
    archive.add(name, STREAMS[name])
    first = recover(database, archive.folder)[name].report
    assert first is not None
    alone = stored.rows(name)
    expected = [message.content for message in live(STREAMS[name], name, ends=True)]
    assert [row[2] for row in alone] == expected
    assert first.inserted == first.rows == len(expected)
    again = recover(database, archive.folder, again=True)[name].report
    assert again is not None
    assert (again.inserted, again.stored) == (0, len(expected))
    assert stored.rows(name) == alone
    assert_runs_agree(database)


@pytest.mark.parametrize("name", STREAMS)
def test_whatever_part_came_live_the_run_is_the_same_in_the_end(
    name: str, archive: Archive, database: str, stored: Stored
) -> None:
    lines = STREAMS[name]
    archive.add("alone", lines)
    recover(database, archive.folder)
    # The keys are of the run, too; the rest is to be the same.
    alone = [row[:4] for row in stored.rows("alone")]
    number = lines.count(b"\n") + 1
    for upto in sorted({0, 1, 2, 3, number // 2, number - 1, number}):
        run = f"run-{upto:05}"
        archive.add(run, lines)
        store(database, live(lines, run, upto=upto))
    recover(database, archive.folder)
    for upto in sorted({0, 1, 2, 3, number // 2, number - 1, number}):
        assert [row[:4] for row in stored.rows(f"run-{upto:05}")] == alone, f"after {upto} of {number} lines"
    assert_runs_agree(database)


def test_holes_in_the_middle_are_filled_in_their_place(archive: Archive, database: str, stored: Stored) -> None:
    lines = "\n".join(talk(10)).encode()
    archive.add("run-1", lines)
    made = live(lines, "run-1", ends=True)
    store(database, [message for at, message in enumerate(made) if at % 7 in (0, 1, 4)])
    report = recover(database, archive.folder)["run-1"].report
    assert stored.contents("run-1") == [message.content for message in made]
    times = [time for time, _ in stored.times("run-1")]
    assert times == sorted(set(times))
    assert {source for _, source in stored.times("run-1")} == {None, "neighbours"}
    assert report is not None
    assert report.live_percent == pytest.approx(100 * report.stored / report.rows, abs=0.1)


@pytest.mark.parametrize("most_said", [0, 250_000])
def test_of_many_runs_each_lacks_its_own_however_their_keys_are_looked_up(
    most_said: int, archive: Archive, database: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.missing.MAX_SAID", most_said)
    for number in range(4):
        lines = "\n".join(talk(3 + number)).encode()
        archive.add(f"run-{number}", lines)
        made = live(lines, f"run-{number}", ends=True)
        store(database, made[: len(made) - number])
    done = recover(database, archive.folder)
    found = [done[f"run-{number}"].report for number in range(4)]
    assert [report.inserted for report in found if report] == [0, 1, 2, 3]
    whole = stored.rows()
    again = [run.report for run in recover(database, archive.folder, again=True).values()]
    assert [(report.inserted, report.stored - report.rows) for report in again if report] == [(0, 0)] * 4
    assert stored.rows() == whole


def test_a_killed_run_gets_its_open_calls_closed(archive: Archive, database: str, stored: Stored) -> None:
    lines = [
        event("thread.started", thread_id=THREAD),
        event("turn.started"),
        item("started", 1, "command_execution", command="sleep 1", aggregated_output="", status="in_progress"),
        item("started", 2, "command_execution", command="sleep 2", aggregated_output="", status="in_progress"),
        item("completed", 1, "command_execution", command="sleep 1", aggregated_output="ok", status="completed"),
    ]
    archive.complete(completion("run-1", [archive.add("run-1", lines)], phase="Failed"))
    report = recover(database, archive.folder)["run-1"].report
    kind, role, content, tool, _ = stored.rows("run-1")[-1]
    assert (kind, role, content) == ("tool_result", "tool", "(no result: run ended)")
    assert (tool["status"], tool["input"]) == ("interrupted", {"command": "sleep 2"})
    assert report is not None
    assert report.why[:2] == ["1 call never answered", "it ends in the middle of a turn"]
    assert not report.complete


CALL = [
    event("thread.started", thread_id=THREAD),
    event("turn.started"),
    item("started", 1, "command_execution", command="make", aggregated_output="", status="in_progress"),
]
ANSWER = item("completed", 1, "command_execution", command="make", aggregated_output="ok", status="completed")
CLOSED = "(no result: run ended)"


def test_a_run_that_goes_on_keeps_its_calls_open_until_they_are_answered(
    archive: Archive, database: str, stored: Stored
) -> None:
    with Writer(database) as writer:
        writer.say("started", kind="status")
    archive.add("run-1", CALL, end="")
    report = recover(database, archive.folder)["run-1"].report
    assert report is not None
    assert "1 call not answered yet" in report.why
    assert recover(database, archive.folder) == {}
    archive.add("run-1", [*CALL, ANSWER], end="")
    recover(database, archive.folder)
    with Writer(database) as writer:
        writer.say("succeeded", kind="status")
    recover(database, archive.folder)
    assert CLOSED not in stored.contents("run-1")
    assert stored.contents("run-1").count("ok") == 1


@pytest.mark.parametrize("is_told", [True, False])
def test_calls_are_closed_once_their_run_has_ended_though_their_artifact_is_the_same(
    archive: Archive, database: str, stored: Stored, *, is_told: bool
) -> None:
    with Writer(database) as writer:
        writer.say("started", kind="status")
        archive.add("run-1", CALL, end="")
        recover(database, archive.folder)
        assert CLOSED not in stored.contents("run-1")
        # That it had ended before it began says nothing of it.
        archive.complete(completion("run-1", phase="Succeeded"))
        recover(database, archive.folder)
        assert CLOSED not in stored.contents("run-1")
        if is_told:
            archive.complete(completion("run-1", phase="Failed", finished=datetime.now(UTC).isoformat()))
        else:
            writer.say("failed", kind="status")
    recover(database, archive.folder)
    assert stored.contents("run-1").count(CLOSED) == 1
    assert stored.report("run-1")["interrupted"] == 1


@pytest.mark.parametrize(("end", "heard_ago"), [("", None), ("", 2 * SILENCE), (".tgz", timedelta())])
def test_calls_are_closed_of_what_is_packed_and_of_what_nothing_comes_live_any_more(
    archive: Archive, database: str, stored: Stored, end: str, heard_ago: timedelta | None
) -> None:
    if heard_ago is not None:
        with Writer(database) as writer:
            writer.say("started", kind="status", timestamp=datetime.now(UTC) - heard_ago)
    archive.add("run-1", CALL, end=end)
    recover(database, archive.folder)
    assert stored.contents("run-1").count(CLOSED) == 1


def test_a_run_that_ended_well_is_complete(archive: Archive, database: str, stored: Stored) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", talk(2))]))
    report = recover(database, archive.folder)["run-1"].report
    assert report is not None
    assert report.complete
    assert report.why == [f"{report.rows} messages never seen live"]
    assert stored.report("run-1")["complete"] is True
    assert stored.ask("SELECT state, finished_at FROM workflow_comms.runs") == [("succeeded", END)]


def test_a_log_is_read_only_where_the_events_say_nothing(archive: Archive, database: str, stored: Stored) -> None:
    log = b"I've read it.\n\nNow I write.\n"
    archive.add("spoken", [event("thread.started", thread_id=THREAD), said(0, "I've read it.\n\nNow I write.")])
    archive.add("spoken", log, artifact=LOG)
    archive.add("silent", b"")
    archive.add("silent", log, artifact=LOG)
    archive.add("alone", log, artifact=LOG)
    recover(database, archive.folder)
    assert stored.contents("spoken") == ["Thread started", "I've read it.\n\nNow I write."]
    assert stored.contents("silent") == stored.contents("alone") == ["I've read it.", "Now I write."]
    assert stored.ask("SELECT DISTINCT attrs ->> 'artifact' FROM workflow_comms.agent_messages ORDER BY 1") == [
        (LOG,),
        (EVENTS,),
    ]


def test_a_log_belongs_to_the_events_of_its_own_attempt(archive: Archive, database: str, stored: Stored) -> None:
    archive.add("run-1", [event("thread.started", thread_id=THREAD), said(0, "first")], pod="pod-1")
    archive.add("run-1", b"first", artifact=LOG, pod="pod-1")
    archive.add("run-1", b"", pod="pod-2")
    archive.add("run-1", b"second", artifact=LOG, pod="pod-2")
    recover(database, archive.folder)
    assert sorted(stored.contents("run-1")) == ["Thread started", "first", "second"]


@pytest.mark.parametrize("end", [".tgz", ".gz", ""])
def test_an_artifact_may_be_packed_or_plain(end: str, archive: Archive, database: str, stored: Stored) -> None:
    archive.add("run-1", talk(2), end=end)
    recover(database, archive.folder)
    assert stored.contents("run-1") == [m.content for m in live("\n".join(talk(2)).encode(), "run-1", ends=True)]


def test_what_has_not_changed_is_not_read_again(archive: Archive, database: str, stored: Stored) -> None:
    archive.add("run-1", talk(2))
    archive.add("run-2", talk(2))
    assert len(recover(database, archive.folder)) == 2
    assert recover(database, archive.folder) == {}
    archive.add("run-2", talk(4))
    assert [*recover(database, archive.folder)] == ["run-2"]
    assert stored.contents("run-2") == [m.content for m in live("\n".join(talk(4)).encode(), "run-2", ends=True)]


def account_of(stored: Stored) -> tuple[int, float, int]:
    """How much of a run was recovered, how many percent of it came live, and how much by its artifact's account."""
    report = stored.report("run-1")
    ((live_by_artifact,),) = stored.ask("SELECT coalesce((found ->> 'live')::int, 0) FROM workflow_comms.artifacts")
    return report["recovered"], report["live_percent"], live_by_artifact


def test_what_another_backfill_stores_at_the_same_time_is_not_taken_for_live(
    archive: Archive, database: str, stored: Stored
) -> None:
    archive.add("run-1", talk(2))
    store(database, live("\n".join(talk(2)).encode(), "run-1", upto=2))
    objects = Objects(str(archive.folder))
    both = [Backfill(Settings(database_url=database), objects, Options(processes=0)) for _ in range(2)]
    for each in both:
        each.prepare(Catalog(objects).everything())
    for each in both:
        each.run()
    rows = stored.report("run-1")["rows"]
    assert account_of(stored) == (rows - 2, round(200 / rows, 1), 2)


def test_what_was_taken_for_live_by_mistake_is_corrected_by_the_next_backfill(
    archive: Archive, database: str, stored: Stored
) -> None:
    archive.add("run-1", talk(2))
    recover(database, archive.folder)
    right = account_of(stored)
    stored.ask(
        "UPDATE workflow_comms.artifacts SET found = found - 'inserted' || jsonb_build_object("
        "'stored', found -> 'inserted', 'live', found -> 'inserted') RETURNING 1"
    )
    stored.ask(
        "UPDATE workflow_comms.runs SET attrs = jsonb_set(attrs, '{backfill}', attrs -> 'backfill' ||"
        """ '{"recovered": 0, "live_percent": 100.0}') RETURNING 1"""
    )
    assert account_of(stored) != right
    assert [*recover(database, archive.folder)] == ["run-1"]
    assert account_of(stored) == right
    assert recover(database, archive.folder) == {}


def test_a_run_of_which_messages_were_pruned_is_left_alone(archive: Archive, database: str, stored: Stored) -> None:
    archive.add("run-1", talk(2))
    store(database, live("\n".join(talk(1)).encode(), "run-1"))
    before = stored.count()
    stored.ask("UPDATE workflow_comms.runs SET pruned = 5 RETURNING 1")
    report = recover(database, archive.folder)["run-1"].report
    assert stored.count() == before
    assert report is not None
    assert report.why == ["5 messages are past the retention"]


def test_a_dry_run_counts_and_stores_nothing(archive: Archive, database: str, stored: Stored) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", talk(2))]))
    report = recover(database, archive.folder, dry_run=True)["run-1"].report
    assert report is not None
    assert report.inserted == report.rows > 0
    for table in ("agent_messages", "runs", "artifacts"):
        assert stored.ask(f"SELECT count(*) FROM workflow_comms.{table}") == [(0,)]
    assert [*recover(database, archive.folder)] == ["run-1"]


def test_the_missing_are_said_by_whoever_said_the_rest(archive: Archive, database: str, stored: Stored) -> None:
    lines = "\n".join(talk(3)).encode()
    archive.add("run-1", lines)
    store(database, live(lines, "run-1", agent="reviewer", upto=10))
    other = live(b"hello", "run-1", agent="planner", kind="log")
    store(database, other)
    recover(database, archive.folder)
    assert stored.ask("SELECT agent_id, count(*) > 5 FROM workflow_comms.agent_messages GROUP BY 1 ORDER BY 1") == [
        ("planner", False),
        ("reviewer", True),
    ]


def test_tokens_are_summed_a_turn_and_a_run(archive: Archive, database: str, stored: Stored) -> None:
    def turn(input_tokens: int) -> str:
        return event("turn.completed", usage={"input_tokens": input_tokens, "output_tokens": 2 * input_tokens})

    lines = [event("thread.started", thread_id=THREAD)]
    for total in (10, 30, 35):
        lines += [event("turn.started"), turn(total)]
    archive.add("run-1", lines, pod="pod-1")
    archive.add("run-1", [event("thread.started", thread_id="t-2"), event("turn.started"), turn(7)], pod="pod-2")
    recover(database, archive.folder)
    tokens = stored.ask("SELECT attrs -> 'tokens' FROM workflow_comms.runs")[0][0]
    assert tokens["total"] == {"input_tokens": 42, "output_tokens": 84}
    assert [(turn["turn"], turn["tokens"]["input_tokens"]) for turn in tokens["turns"]] == [
        (1, 10),
        (2, 20),
        (3, 5),
        (1, 7),
    ]


def test_credentials_are_redacted(archive: Archive, database: str, stored: Stored) -> None:
    secret = "ghp_" + "a1B2" * 9
    archive.add("run-1", [event("thread.started", thread_id=THREAD), said(0, f"export GITHUB_TOKEN={secret}")])
    recover(database, archive.folder)
    assert stored.ask("SELECT count(*) FROM workflow_comms.agent_messages WHERE content LIKE %s", f"%{secret}%") == [
        (0,)
    ]
    assert stored.ask("SELECT attrs -> 'redacted' FROM workflow_comms.agent_messages WHERE attrs ? 'redacted'") != []


@pytest.mark.parametrize("artifact", ["implementation-agent-log", "implementation-events"])
def test_a_private_key_is_hidden_line_by_line(archive: Archive, database: str, stored: Stored, artifact: str) -> None:
    lines = ["-----BEGIN " + "PRIVATE KEY-----", "MIIEowIB" * 8, "AQAB", "-----END " + "PRIVATE KEY-----"]
    archive.add("run-1", lines, artifact=artifact)
    recover(database, archive.folder, keep_other_lines=True)
    hidden = "[redacted:private-key]"
    assert stored.contents("run-1") == [lines[0], hidden, hidden, lines[3]]
    query = "SELECT content FROM workflow_comms.agent_messages WHERE attrs -> 'redacted' = '[\"private-key\"]'"
    assert stored.ask(query) == [(hidden,), (hidden,)]


def test_other_lines_are_counted_and_kept_on_request(archive: Archive, database: str, stored: Stored) -> None:
    lines = [event("thread.started", thread_id=THREAD), "Reading additional input from stdin...", "[1, 2]", "", said(1)]
    archive.add("run-1", lines)
    report = recover(database, archive.folder)["run-1"].report
    assert report is not None
    assert report.skipped == {"blank": 1, "not an event": 2}
    assert stored.contents("run-1") == ["Thread started", "message 1"]
    kept = recover(database, archive.folder, again=True, keep_other_lines=True)["run-1"].report
    assert kept is not None
    assert kept.inserted == 2
    assert stored.ask(
        "SELECT kind, role, content FROM workflow_comms.agent_messages WHERE kind = 'log' ORDER BY seq"
    ) == [
        ("log", "system", "Reading additional input from stdin..."),
        ("log", "system", "[1, 2]"),
    ]


def test_a_list_that_tells_no_end_moves_none(archive: Archive, database: str, stored: Stored) -> None:
    listing = archive.folder / "runs.jsonl"
    for run, word in (("how", "Failed"), ("nothing", "")):
        archive.complete(completion(run, [archive.add(run, talk(1))], phase=word, started="", finished=""))
    ended = "SELECT workflow_uid, state, finished_at FROM workflow_comms.runs ORDER BY 1"
    os.utime(listing, (END.timestamp(), END.timestamp()))
    assert recover(database, archive.folder).keys() == {"how", "nothing"}
    assert stored.ask(ended) == [("how", "failed", END), ("nothing", "unknown", END)]
    # It was written to since, and says the same.
    os.utime(listing)
    assert recover(database, archive.folder) == {}
    assert recover(database, archive.folder, again=True).keys() == {"how", "nothing"}
    assert stored.ask(ended) == [("how", "failed", END), ("nothing", "unknown", END)]


def test_a_later_line_that_says_less_leaves_how_the_run_ended(archive: Archive, database: str, stored: Stored) -> None:
    told = completion("run-1", [archive.add("run-1", talk(1))])
    archive.complete(told, {"metadata": told["metadata"], "artifacts": []})
    assert recover(database, archive.folder).keys() == {"run-1"}
    assert stored.ask("SELECT state, started_at, finished_at FROM workflow_comms.runs") == [("succeeded", BEGIN, END)]
    assert recover(database, archive.folder) == {}


def test_a_later_word_of_the_controller_is_not_taken_for_an_unknown_one(
    archive: Archive, database: str, stored: Stored
) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", talk(1))]))
    recover(database, archive.folder)
    later = Completion("agents", "run-1", "run-1", None, "Failed", None, None, END + timedelta(seconds=5))
    with psycopg.connect(database) as connection:
        complete(connection, later)
    assert stored.ask("SELECT state, finished_at FROM workflow_comms.runs") == [("failed", END)]
    assert recover(database, archive.folder) == {}


def test_one_bad_artifact_costs_no_other_run(archive: Archive, database: str) -> None:
    good = archive.add("good", talk(2))
    cut = archive.folder / archive.add("cut", talk(50))
    cut.write_bytes(cut.read_bytes()[:-200])
    archive.put("foreign/foreign/implementation-events.tgz", b"PK\x03\x04" + bytes(100))
    archive.add("empty", b"")
    archive.complete(completion("good", [good]), completion("gone", ["gone/gone/implementation-events.tgz"]))
    done = recover(database, archive.folder)
    assert done.keys() == {"good", "cut", "foreign", "empty", "gone"}
    reports = {name: run.report for name, run in done.items() if run.report}
    assert reports["good"].complete
    assert next(iter(reports["cut"].damaged.values())).startswith("truncated: ")
    assert 0 < reports["cut"].inserted < len(live("\n".join(talk(50)).encode(), "cut", ends=True))
    assert "zip" in str(reports["foreign"].damaged)
    assert list(reports["gone"].absent.values()) == ["missing: gone/gone/implementation-events.tgz is not there"]
    assert reports["empty"].why == ["no final status"]
    # What can't be otherwise is told, and not tried again; what may come is.
    again = recover(database, archive.folder)
    assert {name: run.is_unchanged for name, run in again.items()} == {"gone": False, "cut": True, "foreign": True}


@pytest.mark.parametrize(
    ("whose", "where"), [(Attempts, "window"), (Recovery, "subject"), (Recovery, "conclude"), (Recovery, "lines")]
)
def test_a_run_that_nobody_thought_of_costs_no_other_one(
    whose: type[Any], where: str, archive: Archive, database: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        archive.add(f"run-{number}", talk(2))
    sound = getattr(whose, where)

    def fails(self: Attempts | Recovery, *arguments: Any) -> Any:
        attempts = self.attempts if isinstance(self, Recovery) else self
        if attempts.artifacts[0].object.key.startswith("run-2/"):
            message = "nobody thought of this"
            raise ZeroDivisionError(message)
        return sound(self, *arguments)

    with monkeypatch.context() as broken:
        broken.setattr(whose, where, fails)
        done = recover(database, archive.folder)
    failed = done.pop("run-2")
    assert failed.failure == "ZeroDivisionError: nobody thought of this"
    assert failed.report is not None
    assert failed.report.why == ["it can't be recovered: ZeroDivisionError: nobody thought of this"]
    whole = stored.contents("run-1")
    assert all(stored.contents(run) == whole and not each.failure for run, each in done.items())
    summary = Summary()
    summary.add(failed)
    assert (summary.failed, summary.is_whole) == (1, False)
    # None of it counts as read.
    assert [*recover(database, archive.folder)] == ["run-2"]
    assert stored.contents("run-2") == whole


def test_a_cut_artifact_closes_no_calls(archive: Archive, database: str, stored: Stored) -> None:
    lines = [event("thread.started", thread_id=THREAD), event("turn.started")]
    lines += [item("started", n, "command_execution", command=f"{n}" * 50, status="in_progress") for n in range(400)]
    cut = archive.folder / archive.add("run-1", lines)
    cut.write_bytes(cut.read_bytes()[:-100])
    report = recover(database, archive.folder)["run-1"].report
    assert report is not None
    assert report.interrupted == 0
    assert stored.ask("SELECT count(*) FROM workflow_comms.agent_messages WHERE kind = 'tool_result'") == [(0,)]


def test_links_are_not_followed_and_keys_lead_nowhere_else(
    archive: Archive, database: str, stored: Stored, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_text("\n".join(talk(1)))
    (archive.folder / "run-1").mkdir()
    (archive.folder / "run-1" / "implementation-events.jsonl").symlink_to(outside)
    (archive.folder / "linked").symlink_to(tmp_path)
    archive.complete(
        completion(
            "run-2", ["../outside.jsonl", str(outside), "linked/outside.jsonl", "run-1/implementation-events.jsonl"]
        )
    )
    report = recover(database, archive.folder)["run-2"].report
    assert report is not None
    assert [text.partition(":")[0] for text in report.absent.values()] == ["refused"] * 4
    assert not report.waiting
    assert stored.count() == 0


@pytest.mark.parametrize(
    "key",
    [
        "run-1/\ud800.jsonl",
        "gone/\ud800.jsonl",
        "run-1/caf\udce9.jsonl",
        "run-1/\0.jsonl",
        "run-1/a\nb/implementation-events.jsonl",
        "run-1/\x1b[31m\u202e.jsonl",
        "/",
        ".",
    ],
    ids=ascii,
)
def test_a_key_that_can_not_be_kept_is_one_artifact_that_can_not_be_had(
    key: str, archive: Archive, database: str, stored: Stored
) -> None:
    lines = "\n".join(talk(1)).encode()
    for run in ("run-1", "run-2"):
        more = [key] if run == "run-1" else []
        archive.complete(completion(run, [*more, archive.add(run, lines)]))
    whole = [message.content for message in live(lines, "run-2", ends=True)]
    done = recover(database, archive.folder)
    assert (stored.contents("run-1"), stored.contents("run-2")) == (whole, whole)
    first, second = done["run-1"].report, done["run-2"].report
    assert first is not None
    assert second is not None
    ((location, trouble),) = first.absent.items()
    assert location.isprintable()
    assert re.fullmatch(r"refused: '.+' (has a name that can't be kept|is no path below the root)", trouble)
    assert trouble.isprintable()
    assert (first.complete, first.waiting, second.complete) == (False, False, True)


@pytest.mark.parametrize("char", ["\ud800", "\0"], ids=ascii)
def test_what_a_completion_says_is_made_storable(char: str, archive: Archive, database: str, stored: Stored) -> None:
    archive.put("run-1/0a1b2c", "\n".join(talk(1)).encode())
    told = completion("run-1", ["run-1/0a1b2c"], stage=f"s{char}", agent_id=f"a{char}", run_id=f"r{char}")
    told["artifacts"][0] |= {"name": f"{char}-events", "bucket": f"b{char}"}
    archive.complete(told)
    recover(database, archive.folder)
    said = "SELECT DISTINCT stage, agent_id, run_id, attrs ->> 'artifact' FROM workflow_comms.agent_messages"
    assert stored.ask(said) == [("s\ufffd", "a\ufffd", "r\ufffd", "\ufffd-events")]


def test_a_row_that_postgres_refuses_costs_no_neighbour(archive: Archive, database: str, stored: Stored) -> None:
    archive.add("run-1", [event("thread.started", thread_id=THREAD), *(said(n) for n in range(10))])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE workflow_comms.agent_messages ADD CHECK (content <> 'message 5')")
    report = recover(database, archive.folder)["run-1"].report
    assert report is not None
    assert (report.inserted, report.refused) == (10, 1)
    assert stored.ask("SELECT subject, reason FROM workflow_comms.dead_letters") == [
        ("workflow.agents.run-1.run-1.agent.agent.message", "refused_by_postgres")
    ]
    ((payload, stored_at),) = stored.ask("SELECT payload, stored_at FROM workflow_comms.dead_letters")
    kept = normalize(JetStreamMessage("workflow.agents.run-1.run-1.agent.agent.message", payload, DELIVERED), 1 << 20)
    assert isinstance(kept, Message)
    # Once it is replayed it is the message that was refused.
    assert (kept.content, kept.attrs["item_type"], kept.attrs["source"]) == ("message 5", "agent_message", "backfill")
    assert kept.dedupe_key not in [row[4] for row in stored.rows("run-1")]
    assert stored_at > 0


def test_several_processes_read_as_one_does(archive: Archive, database: str, stored: Stored) -> None:
    for number in range(150):
        archive.add(f"run-{number:03}", talk(2, thread_at(BEGIN, number)))
    done = recover(database, archive.folder, processes=2)
    once = [m.content for m in live("\n".join(talk(2)).encode(), "run", ends=True)]
    assert len(done) == 150
    assert stored.contents() == once * 150
    assert_runs_agree(database)

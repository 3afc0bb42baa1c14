"""Search finds exactly what there is, indexed or not, in reading order, in whatever steps it is asked."""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import psycopg.conninfo
import pytest

import web.archive
import web.indexer
import web.search
from flows.message import Event
from tests.waiting import wait_until
from tests.writers import Writer
from web.archive import Archive, Excerpt, Quote
from web.indexer import Indexer, forget, index_next, progress, take_turn
from web.queries import Place, Reader, Scope
from web.search import FIRST, LAST, find
from web.selection import Selection
from web.terms import matches, terms_of

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
RUN = Scope(workflow_namespace="agents", workflow_uid="run-1")
Index = Callable[[], None]


@pytest.fixture
def archive(database: str) -> Iterator[Archive]:
    reader = Reader(database, timedelta(minutes=15))
    yield Archive(reader)
    reader.close()


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


@pytest.fixture
def index(database: str, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Index all that is stored, in small segments."""
    monkeypatch.setattr(web.indexer, "ROWS", 50)

    def run() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(web.indexer.SESSION)
            while index_next(connection):
                pass
            # What is left is too little for a segment otherwise.
            monkeypatch.setattr(web.indexer, "ROWS", 1)
            while index_next(connection):
                pass

    return run


@pytest.fixture(params=["waiting", "indexed"])
def settle(request: pytest.FixtureRequest, index: Index) -> Index:
    return index if request.param == "indexed" else lambda: None


def found(archive: Archive, query: str, scope: Scope | None = None, **more: Any) -> list[str]:
    selection = Selection(scope or Scope(), terms=terms_of(query), **more)
    return [event.content for event in archive.before(selection, None, 100, 10).events]


SAID = {
    "code": "raise CheckoutTimeoutError in src/app/checkout_flow.py:42",
    "rust": "error[E0308]: mismatched types, see cve-2024-3094",
    "chinese": "数据库连接错误,请重试",
    "japanese": "テストが失敗しました",
    "korean": "권한이 없습니다",
    "russian": "ОШИБКА соединения",
    "german": "Der Verbindungsfehler im Café ist 50%_behoben",
    "thai": "การเชื่อมต่อล้มเหลว",
    "arabic": "\u0641\u0634\u0644 \u0627\u0644\u0627\u062a\u0635\u0627\u0644",
    "emoji": "shipped 🎉 → done",
}


# What is looked for, and in which of these it is.
QUERIES = [
    ("checkout", "code"),
    ("Timeout", "code"),
    ("checkout_flow", "code"),
    ("app/checkout", "code"),
    ("flow.py:42", "code"),
    ("e0308", "rust"),
    ("E0308]: mis", "rust"),
    ("CVE-2024-3094", "rust"),
    ("2024", "rust"),
    ("数据库", "chinese"),
    ("错误", "chinese"),
    ("错", "chinese"),
    ("失敗", "japanese"),
    ("テ", "japanese"),
    ("권한", "korean"),
    ("ошибка", "russian"),
    ("СОЕД", "russian"),
    ("FEHLER", "german"),
    ("café", "german"),
    ("cafe\u0301", "german"),
    ("50%_", "german"),
    ("ล้มเหลว", "thai"),
    ("\u0627\u062a\u0635", "arabic"),
    ("🎉", "emoji"),
    ("→", "emoji"),
    ("checkout 42", "code"),
    ('"mismatched types"', "rust"),
    ("types mismatched", "rust"),
    ('"types mismatched"', ""),
    ("checkouts", ""),
    ("50%x", ""),
    ("数库", ""),
    ("check error", "code"),
    ("r", "code rust german"),
]


def test_words_code_and_any_script_are_found(archive: Archive, writer: Writer, settle: Index) -> None:
    for number, said in enumerate(SAID.values()):
        writer.say(said, run=f"run-{number}")
    writer.say(*(f"step {number}" for number in range(100)), run="other")
    settle()
    for query, names in QUERIES:
        assert found(archive, query) == [SAID[name] for name in names.split()], query


def test_what_a_tool_took_and_gave_is_found_where_it_is(archive: Archive, writer: Writer, settle: Index) -> None:
    tool = {
        "name": "shell",
        "input": {"command": 'grep "needle\\d" hay'},
        "output": "line\nfound a needle7",
        "exit_code": 0,
    }
    writer.say("ran it", kind="tool_result", attrs={"tool": tool})
    settle()
    for query, field in (
        ("needle7", "tool.output"),
        ('"needle\\d', "tool.input.command"),
        ("hay", "tool.input.command"),
    ):
        (quote,) = archive.before(Selection(Scope(), terms=(query,)), None, 10, 10).events
        assert isinstance(quote, Quote)
        assert quote.matches[0].field == field
    assert found(archive, "exit_code") == []
    assert found(archive, "command") == []


def test_a_filter_of_any_kind_needs_no_run(archive: Archive, writer: Writer, settle: Index) -> None:
    writer.say("a", attrs={"repository": "org/shop", "issueNumber": 12, "branch": "fix"})
    writer.say("b", run="run-2", workflow_namespace="b", attrs={"repository": "org/shop", "issueNumber": "13"})
    writer.say("c", run="run-3", kind="error", agent_id="executor")
    writer.say("d", run="run-3", channel="general", attrs={"repository": "org/shop"})
    settle()
    assert found(archive, "", repository="org/shop") == ["a", "b"]
    assert found(archive, "", repository="org/shop", general=True) == ["a", "b", "d"]
    assert found(archive, "", issue="12") == ["a"]
    assert found(archive, "", issue="13") == ["b"]
    assert found(archive, "", branch="fix", repository="org/shop") == ["a"]
    assert found(archive, "", branch="fix", repository="org") == []
    assert found(archive, "", Scope(workflow_namespace="b")) == ["b"]
    assert found(archive, "", Scope(workflow_namespace="agents", kinds=("error", "status"))) == ["c"]
    assert found(archive, "", Scope(workflow_namespace="agents", agent_id="planner")) == ["a"]
    assert found(archive, "", since=datetime(2099, 1, 1, tzinfo=UTC), repository="org/shop") == []


def test_what_is_said_twice_is_shown_once(archive: Archive, writer: Writer, settle: Index) -> None:
    writer.say("said in both", timestamp=NOON)
    writer.say("said in both", channel="general", timestamp=NOON + timedelta(seconds=1))
    writer.say("said in both", channel="general", timestamp=NOON + timedelta(minutes=1))
    writer.say("said in both", channel="general", run="run-2", timestamp=NOON)
    writer.say("only general", channel="general", timestamp=NOON)
    writer.say("another agent", timestamp=NOON)
    writer.say("another agent", channel="general", agent_id="executor", timestamp=NOON)
    settle()

    def said(**selection: Any) -> list[tuple[str, str]]:
        excerpt = archive.before(Selection(RUN, **selection), None, 10)
        return [(event.channel, event.content) for event in excerpt.events]

    everything = [
        ("run", "said in both"),
        ("general", "only general"),
        ("run", "another agent"),
        ("general", "another agent"),
        ("general", "said in both"),
    ]
    assert said(general=True) == everything
    assert said() == [message for message in everything if message[0] == "run"]
    assert said(general=True, terms=("said in",)) == [message for message in everything if "said in" in message[1]]


# Words of which some are everywhere and some hardly anywhere.
WORDS = ["the", "test", "failed", "in", "checkout_flow", "数据库", "Zebra", "E0308", "ran", "it"]


def corpus(dice: random.Random, writer: Writer, index: Index) -> None:
    """Store messages of several runs, late ones and such of wrong clocks among them; index some of them."""
    for batch in range(6):
        for run in range(4):
            for _ in range(dice.randrange(8)):
                words = dice.choices(WORDS, weights=[30, 20, 10, 30, 3, 2, 1, 1, 20, 20], k=dice.randrange(1, 9))
                at = NOON + timedelta(minutes=20 * batch, seconds=dice.randrange(-2_000, 2_000))
                if dice.random() < 0.03:
                    at = at.replace(year=dice.choice([1971, 2099]))
                writer.say(
                    " ".join(words),
                    run=f"run-{run}",
                    workflow_namespace="agents" if run < 3 else "b",
                    agent_id=dice.choice(["planner", "executor"]),
                    kind=dice.choices(["message", "tool_call", "error"], weights=[10, 5, 1])[0],
                    channel="general" if dice.random() < 0.2 else "run",
                    timestamp=at.replace(microsecond=0),
                    attrs={"repository": f"org/{run % 2}", "identity": "claimed"},
                )
        if batch == 3:
            index()


def brute(events: list[Event], selection: Selection) -> list[int]:
    """Sift one by one."""
    found = []
    scope = selection.scope
    for event in events:
        wanted = msgspec.structs.replace(scope, channel=event.channel)
        twin = event.channel == "general" and any(
            other.channel == "run"
            and other.workflow_uid == event.workflow_uid
            and (other.agent_id, other.kind, other.content) == (event.agent_id, event.kind, event.content)
            and abs(other.timestamp - event.timestamp) <= timedelta(seconds=5)
            for other in events
        )
        if (
            event.channel in selection.channels
            and wanted.holds(event)
            and (selection.repository is None or event.attrs["repository"] == selection.repository)
            and (selection.since is None or event.timestamp >= selection.since)
            and (selection.until is None or event.timestamp < selection.until)
            and matches(event, selection.terms) is not None
            and not (selection.general and twin)
        ):
            found.append(event.seq)
    return found


SELECTIONS = [
    Selection(Scope(), terms=("the",)),
    Selection(Scope(), terms=("checkout", "test")),
    Selection(Scope(), terms=("zebra",)),
    Selection(Scope(), terms=("据",), general=True),
    Selection(Scope(), terms=("not there",)),
    Selection(Scope(workflow_namespace="agents")),
    Selection(Scope(workflow_namespace="b", kinds=("error",))),
    Selection(Scope(workflow_namespace="agents", agent_id="executor", kinds=("error", "tool_call")), terms=("it",)),
    Selection(Scope(), repository="org/1", general=True),
    Selection(Scope(channel="general")),
    Selection(Scope(channel="general", workflow_namespace="b")),
    Selection(Scope(channel="general", kinds=("error",))),
    Selection(RUN),
    Selection(RUN, general=True),
    Selection(RUN, terms=("failed",)),
    Selection(RUN, general=True, terms=("the",)),
    Selection(msgspec.structs.replace(RUN, kinds=("error",))),
    Selection(Scope(), terms=("ran",), since=NOON, until=NOON + timedelta(hours=1)),
    Selection(RUN, since=NOON, until=NOON + timedelta(hours=1)),
    Selection(Scope(channel="general"), since=NOON),
]


def everything(archive: Archive) -> list[Event]:
    excerpt = archive.before(Selection(Scope(workflow_namespace="agents"), general=False), None, 10_000, 60)
    rows = [*excerpt.events]
    for scope in (Scope(workflow_namespace="b"), Scope(channel="general")):
        rows += archive.before(Selection(scope), None, 10_000, 60).events
    return sorted(rows, key=lambda event: (event.timestamp, event.seq))


@pytest.mark.parametrize(("seed", "patience"), [(1, 10.0), (2, 0.0)], ids=["whole pages", "pages that are cut short"])
def test_every_selection_in_any_steps_both_ways_is_what_sifting_one_by_one_gives(
    archive: Archive, writer: Writer, index: Index, monkeypatch: pytest.MonkeyPatch, seed: int, patience: float
) -> None:
    dice = random.Random(seed)
    corpus(dice, writer, index)
    # So that each way through the search is taken with few messages.
    ways = {"NEXT": 1, "NEAR": 2, "NEAR_PLACES": 5, "FEW": dice.choice([0, 1_000]), "WINDOW": 3, "LEAST_GROUP": 1}
    for name, value in {**ways, "SPARED": 10.0, "MANY": 1}.items():
        monkeypatch.setattr(web.search, name, value)
    events = everything(archive)
    assert len({event.seq for event in events}) == len(events) > 50
    for selection in SELECTIONS:
        expected = brute(events, selection)
        limit = dice.choice([4, 20, 100])
        assert walk(archive.before, selection, limit, patience)[::-1] == expected, selection
        assert walk(archive.after, selection, limit, patience) == expected, selection
        assert [event.seq for batch in archive.batches(selection) for event in batch] == expected, selection
        start = archive.start_of_last(selection, 4)
        assert [event.seq for batch in archive.batches(selection, start) for event in batch] == expected[-4:], selection


def walk(read: Callable[..., Excerpt], selection: Selection, limit: int, patience: float) -> list[int]:
    """Go from page to page; return what they hold in the direction that was gone."""
    backwards = read.__name__ == "before"
    seqs: list[int] = []
    place: Place | None = None
    for _ in range(2_000):
        excerpt = read(selection, place, limit, patience)
        page = [event.seq for event in excerpt.events]
        assert len(page) <= limit
        seqs += reversed(page) if backwards else page
        if excerpt.edge is None:
            return seqs
        assert place is None or (excerpt.edge < place if backwards else excerpt.edge > place)
        place = excerpt.edge
    raise AssertionError("the pages lead in a circle")


def test_everything_is_what_there_was_when_it_was_asked_for(
    archive: Archive, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.archive, "BATCH", 3)
    writer.say(*map(str, range(4)), timestamp=NOON)
    seen = []
    for number, batch in enumerate(archive.batches(Selection(RUN))):
        # Whoever writes faster than it is read must not keep it from ending.
        assert number < 3
        seen += [event.content for event in batch]
        writer.say("later", "later", "later", "later", timestamp=NOON + timedelta(minutes=1))
    assert seen == ["0", "1", "2", "3"]


def test_a_page_ends_before_it_is_too_large(archive: Archive, writer: Writer, index: Index) -> None:
    words = [f"needle {number} " + "x" * 1_000_000 for number in range(9)]
    for said in words:
        writer.say(said)
    index()
    selection = Selection(Scope(), terms=("needle",))
    excerpt = archive.before(selection, None, 100, 10)
    contents = [event.content for event in excerpt.events]
    assert 1 < len(contents) < 6
    while excerpt.edge:
        excerpt = archive.before(selection, excerpt.edge, 100, 10)
        contents = [event.content for event in excerpt.events] + contents
    assert contents == words


def test_a_search_leaves_its_connection_as_it_was(database: str, writer: Writer, index: Index) -> None:
    writer.say("word")
    index()
    selection = Selection(Scope(), terms=("word",))
    with psycopg.connect(database, autocommit=True) as connection:
        found = find(connection, selection, (FIRST, LAST), 5, backwards=True, patience=10)
        assert len(found.hits) == 1
        assert connection.isolation_level is None
        with pytest.raises(psycopg.DataError):
            find(connection, selection, (("no time", 0), LAST), 5, backwards=True, patience=10)
        assert connection.isolation_level is None
        connection.close()
        with pytest.raises(psycopg.OperationalError):
            find(connection, selection, (FIRST, LAST), 5, backwards=True, patience=10)


def test_a_search_says_how_much_it_has_not_seen(
    archive: Archive, writer: Writer, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.say(*(f"word {number}" for number in range(60)))
    index()
    selection = Selection(Scope(), terms=("word",))
    sight = archive.before(selection, None, 5).sight
    assert sight is not None
    assert (sight.indexed_to_seq, sight.behind_seconds) == (60, 0.0)
    writer.say(*(f"word {number}" for number in range(60, 80)))
    sight = archive.before(selection, None, 5).sight
    assert sight is not None
    assert (sight.indexed_to_seq, sight.behind_seconds) == (60, 0.0)
    monkeypatch.setattr(web.search, "WAITING", 5)
    excerpt = archive.before(selection, None, 5)
    assert excerpt.sight is not None
    assert excerpt.sight.behind_seconds > 0
    assert [event.content for event in excerpt.events] == [f"word {number}" for number in range(75, 80)]


def test_one_indexer_works_and_another_takes_over(
    database: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.indexer, "ROWS", 20)
    monkeypatch.setattr(web.indexer, "POLL_S", 0.05)
    monkeypatch.setattr(web.indexer, "IDLE_S", 0.05)

    def upto() -> int:
        with psycopg.connect(database) as connection:
            row = connection.execute(
                "SELECT max(upto), count(*), count(DISTINCT segment) FROM workflow_comms.search_segments"
            )
            newest, rows, segments = row.fetchone() or (None, 0, 0)
            assert rows == segments
            return newest or 0

    first, second = Indexer(database), Indexer(database)
    first.start()
    second.start()
    try:
        for number in range(4):
            writer.say(*(f"{number} {other}" for other in range(25)))
        wait_until(lambda: upto() >= 80, "the index")
        first.close()
        writer.say(*(str(other) for other in range(40)))
        wait_until(lambda: upto() >= 130, "the index by the other one")
    finally:
        first.close()
        second.close()


def test_only_one_has_the_turn_until_it_is_gone(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as one, psycopg.connect(database, autocommit=True) as other:
        assert take_turn(one)
        assert not take_turn(other)
        one.close()
        wait_until(lambda: take_turn(other), "the turn")


def test_a_web_that_may_not_write_the_index_says_so_once(
    database: str, writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(web.indexer, "ROWS", 1)
    monkeypatch.setattr(web.indexer, "LEAST_BACKOFF_S", 0.02)
    writer.say("a")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE only_reads LOGIN PASSWORD 'x' IN ROLE pg_read_all_data")
        try:
            indexer = Indexer(psycopg.conninfo.make_conninfo(database, user="only_reads", password="x"))
            indexer.start()
            wait_until(lambda: "which grants it" in caplog.text, "a warning")
            # It tries again, and says no more.
            time.sleep(0.3)
            indexer.close()
            assert caplog.text.count("which grants it") == 1
        finally:
            connection.execute("DROP ROLE only_reads")


def test_a_live_order_that_began_anew_is_indexed_anew(
    database: str, archive: Archive, writer: Writer, index: Index
) -> None:
    writer.say(*(f"old {number}" for number in range(60)))
    index()
    with psycopg.connect(database) as connection:
        connection.execute("TRUNCATE workflow_comms.agent_messages RESTART IDENTITY")
    writer.say("new 1", "new 2")
    index()
    assert found(archive, "new") == ["new 1", "new 2"]
    assert found(archive, "old") == []
    with psycopg.connect(database, autocommit=True) as connection:
        assert progress(connection)[1] == 2


def test_what_is_gone_is_forgotten(
    database: str, archive: Archive, writer: Writer, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.indexer, "FORGOTTEN", 1)
    for number in range(4):
        writer.say(*(f"word {number} {other}" for other in range(50)))
    index()

    def segments() -> list[set[int]]:
        tables = ("search_segments", "search_blocks", "search_slices")
        with psycopg.connect(database) as connection:
            query = "SELECT DISTINCT segment FROM workflow_comms.{}"
            return [{segment for (segment,) in connection.execute(query.format(table).encode())} for table in tables]

    assert segments() == [{1, 2, 3, 4}] * 3
    with psycopg.connect(database, autocommit=True) as connection:
        assert not forget(connection)
        connection.execute("DELETE FROM workflow_comms.agent_messages WHERE seq <= 120")
        while forget(connection):
            pass
        assert segments() == [{3, 4}] * 3
        assert len(found(archive, "word")) == 80
        connection.execute("DELETE FROM workflow_comms.agent_messages")
        while forget(connection):
            pass
        # Or what comes next would be taken for what was indexed.
        assert segments() == [{4}] * 3
    writer.say("word")
    assert found(archive, "word") == ["word"]


def test_a_search_is_answered_while_messages_are_stored_and_indexed(database: str, archive: Archive) -> None:
    indexer = Indexer(database)
    indexer.start()
    try:
        with Writer(database) as writer:
            stop = time.monotonic() + 2
            for number in itertools.count(1):
                writer.say(
                    f"needle {number}", *(f"hay {number} {other}" for other in range(300)), run=f"run-{number % 7}"
                )
                excerpt = archive.before(Selection(Scope(), terms=("needle",)), None, 1_000, 10)
                assert excerpt.sight is not None
                # What comes faster than it is indexed is not seen for a while, and that is said.
                assert len(excerpt.events) == number or excerpt.sight.behind_seconds > 0
                if time.monotonic() > stop and number > 10:
                    break
    finally:
        indexer.close()

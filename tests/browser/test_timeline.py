"""A run's page, alive."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser import story
from tests.browser.conftest import OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import AT_THE_END, KEEP_WORDS, expect_live, place_of, sequence, wait_for, wait_until_still
from tests.browser.sights import message as shown
from tests.webserver import WebServer

NOW = datetime.now(UTC)
START = NOW - timedelta(hours=1)
# What the page waits for longest never comes: what a run comes to, and its lanes, are told after a pause.
NO_PAUSES = """
  const later = setTimeout;
  globalThis.setTimeout = (work, wait, ...more) => ([10_000, 15_000].includes(wait) ? 0 : later(work, wait, ...more));
"""


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


def fill(database: str, count: int, run: str = "run-1") -> list[int]:
    return insert(
        database,
        [message(START + timedelta(seconds=n), "planner", "message", f"Line {n}.", run=run) for n in range(count)],
    )


def say(database: str, content: str, run: str = "run-1", at: datetime | None = None) -> int:
    return insert(database, [message(at or datetime.now(UTC), "executor", "message", content, run=run)])[0]


def test_a_run_opens_at_its_newest_message(database: str, open_page: OpenPage) -> None:
    places = fill(database, 60)
    page = open_page("/agents/run-1")
    assert sequence(page) == places
    expect(shown(page, places[-1])).to_be_in_viewport()
    expect(page).to_have_title("run-1 · agent-comms")


def test_a_link_to_a_message_opens_there(database: str, open_page: OpenPage) -> None:
    places = fill(database, 60)
    page = open_page(f"/agents/run-1#m-{places[5]}")
    expect(shown(page, places[5])).to_be_in_viewport()
    expect_live(page)
    say(database, "New.")
    expect(page.locator(".pill")).to_have_text("1 new")
    expect(shown(page, places[5])).to_be_in_viewport()


def test_a_link_to_a_message_that_is_not_here_says_so(database: str, open_page: OpenPage) -> None:
    places = fill(database, 60)
    for javascript in (True, False):
        page = open_page("/agents/run-1?at=4000000#m-4000000", java_script_enabled=javascript)
        expect(page.get_by_text("The message that this link names isn't here")).to_be_visible()
        assert sequence(page) == places
        page.goto(f"/agents/run-1?at={places[5]}")
        expect(shown(page, places[5])).to_be_visible()
        expect(page.get_by_text("The message that this link names isn't here")).to_have_count(0)


def test_a_message_appears_without_reload(database: str, open_page: OpenPage) -> None:
    fill(database, 3)
    page = open_page("/agents/run-1")
    expect_live(page)
    page.evaluate("window.untouched = true")
    new = say(database, "**Just** said.")
    expect(shown(page, new).locator("strong")).to_have_text("Just")
    expect(shown(page, new)).to_have_attribute("data-agent", "executor")
    assert page.evaluate("window.untouched")


def test_the_page_follows_while_the_reader_is_at_the_end(database: str, open_page: OpenPage) -> None:
    fill(database, 60)
    page = open_page("/agents/run-1")
    expect_live(page)
    for _ in range(3):
        new = say(database, "More.\n\n" * 10)
        expect(shown(page, new)).to_be_attached()
        wait_for(page, AT_THE_END)
    expect(page.locator(".pill")).to_be_hidden()


def test_a_reader_who_scrolled_up_stays_and_is_told_how_much_is_new(database: str, open_page: OpenPage) -> None:
    places = fill(database, 60)
    page = open_page("/agents/run-1")
    expect_live(page)
    page.mouse.move(700, 500)
    page.mouse.wheel(0, -900)
    wait_for(page, f"!({AT_THE_END})")
    wait_until_still(page)
    seen = shown(page, places[40])
    before = place_of(seen)
    for _ in range(12):
        last = say(database, "New.")
    expect(shown(page, last)).to_be_attached()
    expect(page.locator(".pill")).to_have_text("12 new")
    assert place_of(seen) == pytest.approx(before, abs=1)
    page.locator(".pill").click()
    expect(shown(page, last)).to_be_in_viewport()
    expect(page.locator(".pill")).to_be_hidden()
    last = say(database, "Followed again.")
    expect(shown(page, last)).to_be_in_viewport()


def test_a_late_message_takes_its_place_by_time(database: str, open_page: OpenPage) -> None:
    places = fill(database, 30)
    page = open_page("/agents/run-1")
    expect_live(page)
    late = say(database, "Late.", at=START + timedelta(seconds=9, milliseconds=500))
    last = say(database, "Last.")
    expect(shown(page, last)).to_be_attached()
    assert sequence(page) == [*places[:10], late, *places[10:], last]


def test_many_messages_at_once_come_whole_and_in_order(database: str, open_page: OpenPage) -> None:
    fill(database, 1)
    page = open_page("/agents/run-1")
    expect_live(page)
    batch = [message(NOW + timedelta(milliseconds=n), "executor", "message", f"Burst {n}.") for n in range(300)]
    places = insert(database, batch)
    expect(shown(page, places[-1])).to_be_in_viewport()
    assert sequence(page)[1:] == places


def test_what_comes_alone_fades_in_and_many_at_once_do_not(database: str, open_page: OpenPage) -> None:
    fill(database, 1)
    page = open_page("/agents/run-1", reduced_motion="no-preference")
    expect_live(page)
    alone = say(database, "Alone.")
    expect(shown(page, alone)).to_have_css("animation-name", "arrive")
    batch = [message(NOW + timedelta(seconds=n), "executor", "message", f"Burst {n}.") for n in range(20)]
    places = insert(database, batch)
    expect(shown(page, places[-1])).to_be_attached()
    # Should they come in parts, the few that a part begins or ends with may.
    fading = "(rows, burst) => rows.filter((row) => burst.includes(Number(row.dataset.seq)) && "
    fading += "getComputedStyle(row).animationName === 'arrive').length"
    assert page.locator("[data-seq]").evaluate_all(fading, places) < len(places) / 2


def test_a_live_page_to_which_nothing_comes_draws_nothing(database: str, open_page: OpenPage) -> None:
    fill(database, 3)
    say(database, "It runs.")
    page = open_page("/agents/run-1", reduced_motion="no-preference")
    expect_live(page)
    expect(page.locator(".head .state.is-running")).to_be_visible()
    wait_for(page, "document.getAnimations().length === 0")


def test_after_a_lost_connection_nothing_is_missing_and_nothing_twice(
    database: str, web: WebServer, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    places = fill(database, 5)
    page = open_page("/agents/run-1", before=KEEP_WORDS)
    expect_live(page)
    places.append(say(database, "Before."))
    expect(shown(page, places[-1])).to_be_attached()
    web.kill()
    wait_for(page, "said.some((one) => one.startsWith('reconnecting: connection lost at'))")
    places += [say(database, f"Meanwhile {n}.") for n in range(3)]
    expect(page.locator(".badge")).to_have_attribute("data-state", "offline")
    web.start()
    expect(shown(page, places[-1])).to_be_attached()
    expect_live(page)
    wait_for(page, "said.some((one) => one.includes('caught up, 3 messages'))")
    expect(page.locator(".badge[data-passing]")).to_have_count(0)
    assert sequence(page) == places


def test_what_cannot_be_drawn_is_admitted_and_a_reload_shows_it(
    database: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    fill(database, 3)
    page = open_page("/agents/run-1")
    expect_live(page)
    # What the page counts on to draw.
    page.evaluate("document.querySelector('.empty').remove()")
    new = say(database, "Said.")
    expect(page.locator(".badge")).to_contain_text("some messages are missing here")
    # A new connection doesn't bring them.
    page.context.set_offline(True)
    expect(page.locator(".badge")).to_have_attribute("data-state", "offline")
    page.context.set_offline(False)
    expect(page.locator(".badge")).to_contain_text("some messages are missing here")
    page.get_by_role("link", name="Reload").click()
    expect(shown(page, new)).to_be_visible()
    assert [wrong.partition(":")[0] for wrong in witness.wrongs] == ["exception"]
    witness.wrongs.clear()


def test_what_was_opened_and_folded_stays_so_after_a_reload(database: str, open_page: OpenPage) -> None:
    results = [story.shell("ls", output=f"one\ntwo\n{n}", exit_code=n % 2) for n in range(4)]
    said = [message(NOW, "executor", "tool_result", "", attrs=attrs) for attrs in results]
    # Failures stand open.
    good, failed, other, last = insert(database, said)
    page = open_page("/agents/run-1")
    open_cards = (
        "[...document.querySelectorAll('.fold[open]')].map((one) => Number(one.closest('[data-seq]').dataset.seq))"
    )

    def expect_open(places: list[int]) -> None:
        wait_for(page, f"JSON.stringify({open_cards}) === '{json.dumps(places, separators=(',', ':'))}'")

    expect_open([failed, last])
    shown(page, good).locator("summary").click()
    shown(page, failed).locator("summary").click()
    expect_open([good, last])
    page.reload()
    expect_open([good, last])
    page.keyboard.press("E")
    expect_open([good, failed, other, last])
    page.keyboard.press("E")
    expect_open([])
    page.reload()
    expect_open([])


def test_a_call_and_its_result_are_one_card(database: str, open_page: OpenPage) -> None:
    # At one time, so that no midnight comes between them.
    call = message(NOW, "executor", "tool_call", "$ pytest -q", attrs=story.shell("pytest -q"))
    insert(database, [call])
    page = open_page("/agents/run-1")
    expect_live(page)
    output = "\n".join(f"line {n}" for n in range(5_067))
    attrs = story.shell("pytest -q", output=output, exit_code=1, duration_ms=4_100)
    (result,) = insert(database, [message(NOW, "executor", "tool_result", output, attrs=attrs)])
    card = shown(page, result)
    expect(card.locator(".outcome")).to_have_text("exit 1")
    expect(card.locator(".request")).to_be_hidden()
    above = page.locator(".is-call .card").bounding_box()
    below = card.locator(".card").bounding_box()
    assert above is not None
    assert below is not None
    assert below["y"] == pytest.approx(above["y"] + above["height"], abs=1)
    expect(card.locator("pre").get_by_text("line 5066")).to_be_visible()
    expect(card.get_by_text("line 5000")).to_have_count(0)
    card.get_by_text("Showing the last 12 of 5,067 lines").click()
    expect(card.get_by_text("line 5000")).to_be_visible()
    expect(card.locator(".request")).to_be_hidden()


def test_keys_take_a_call_and_its_result_for_one_card(database: str, open_page: OpenPage) -> None:
    command = "scripts/load.sh --path /search --rate 60 --seconds 10"
    said = [
        message(NOW, "executor", "tool_call", f"$ {command}", attrs=story.shell(command)),
        message(NOW, "executor", "tool_result", "", attrs=story.shell(command, output="one\ntwo", exit_code=0)),
        message(NOW, "executor", "tool_call", "$ true", attrs=story.shell("true")),
        message(NOW, "executor", "tool_result", "ok", attrs=story.shell("true", output="ok", exit_code=0)),
    ]
    call, result, other, last = insert(database, said)
    page = open_page("/agents/run-1")
    card = shown(page, result).locator(".fold")
    page.keyboard.press("g")
    for place in (call, result):
        expect(shown(page, place)).to_have_class(re.compile(r"\bselected\b"))
        # What has the focus stands in what is selected.
        expect(shown(page, place).locator(".at")).to_be_focused()
        page.keyboard.press("o")
        expect(card).to_have_attribute("open", "")
        page.keyboard.press("o")
        expect(card).not_to_have_attribute("open", "")
        page.keyboard.press("j")
    expect(shown(page, call).locator(".fold")).not_to_have_attribute("open", "")
    # Nothing is to be opened of either.
    page.keyboard.press("o")
    expect(shown(page, other).locator(".at")).to_be_focused()
    page.keyboard.press("j")
    expect(shown(page, last).locator(".at")).to_be_focused()
    expect(page.locator(".fold[open]")).to_have_count(0)


def test_a_result_that_comes_later_is_told_of_at_its_call(database: str, open_page: OpenPage) -> None:
    calls = [
        message(NOW + timedelta(milliseconds=n), "executor", "tool_call", f"$ job {n}", attrs=job(n)) for n in (1, 2)
    ]
    places = insert(database, calls)
    page = open_page("/agents/run-1")
    expect_live(page)
    results = [
        message(
            NOW + timedelta(milliseconds=10 + n),
            "executor",
            "tool_result",
            "x",
            attrs=job(n, exit_code=n - 1, output="x"),
        )
        for n in (1, 2)
    ]
    answers = insert(database, results)
    for call, answer, word in zip(places, answers, ("exit 0", "exit 1"), strict=True):
        link = shown(page, call).locator(".answer a")
        expect(link).to_contain_text(word)
        assert link.get_attribute("href") == f"#m-{answer}"
    page.reload()
    expect(shown(page, places[1]).locator(".answer")).to_contain_text("exit 1")


def job(number: int, **more: object) -> dict[str, object]:
    attrs: dict[str, object] = story.shell(f"job {number}", id=f"call-{number}", **more)
    return attrs


def test_the_head_counts_what_arrives(database: str, open_page: OpenPage) -> None:
    fill(database, 2)
    page = open_page("/agents/run-1")
    expect(page.locator(".head .facts")).to_contain_text("2 messages")
    insert(database, [message(datetime.now(UTC), "reviewer", "error", "Broken.")])
    expect(page.locator(".head .facts")).to_contain_text("3 messages")
    expect(page.locator(".head .facts")).to_contain_text("1 error")
    expect(page.locator(".summary .crew")).to_contain_text("reviewer")


def test_what_a_run_comes_to_is_told_as_soon_as_it_is_over(database: str, open_page: OpenPage) -> None:
    insert(database, [message(NOW - timedelta(minutes=1), "executor", "status", "running")])
    page = open_page("/agents/run-1", before=NO_PAUSES)
    account, lanes = page.locator(".summary .account"), page.locator(".lanes-place")
    expect(account).to_contain_text("No tool has answered yet")
    expect(lanes.locator(".lane")).to_have_count(1)
    expect_live(page)
    result = story.shell("make", output="no", exit_code=2, duration_ms=4_100)
    insert(database, [message(NOW, "planner", "tool_result", "no", attrs=result)])
    expect(page.locator(".head .facts")).to_contain_text("2 messages")
    expect(account).to_contain_text("No tool has answered yet")
    insert(database, [message(NOW, "executor", "status", "failed", attrs={"exit_code": 1})])
    expect(page.locator(".head .facts")).to_contain_text("Failed")
    expect(account).to_contain_text("shell")
    expect(lanes.locator(".lane")).to_have_count(2)


def test_times_are_the_readers_own(database: str, open_page: OpenPage) -> None:
    at = datetime(2026, 7, 1, 23, 30, 5, tzinfo=UTC)
    (place,) = insert(database, [message(at, "planner", "message", "Late in the evening.")])
    page = open_page("/agents/run-1", timezone_id="Europe/Berlin")
    expect(shown(page, place).locator(".at")).to_have_text("01:30:05")
    expect(page.locator(".day")).to_have_text("Thursday, 2 July 2026 · Europe/Berlin")


def test_the_general_channel_is_alive_too(database: str, open_page: OpenPage) -> None:
    page = open_page("/agents/general")
    expect(page.get_by_text("Nobody has spoken here yet.")).to_be_visible()
    expect_live(page)
    (place,) = insert(database, [message(NOW, "planner", "message", "Hello, all.", channel="general")])
    expect(shown(page, place)).to_contain_text("Hello, all.")
    expect(page.get_by_text("Nobody has spoken here yet.")).to_be_hidden()
    fill(database, 1)
    shown(page, place).locator(".where").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("run-1")


def test_a_message_by_itself_is_whole(database: str, open_page: OpenPage) -> None:
    output = "\n".join(f"line {n}" for n in range(20_000))
    attrs = story.shell("seq", output=output, exit_code=0)
    (place,) = insert(database, [message(NOW, "executor", "tool_result", "", attrs=attrs)])
    page = open_page("/agents/run-1")
    shown(page, place).locator("summary").first.click()
    shown(page, place).hover()
    shown(page, place).get_by_role("button", name="Open by itself").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Message {place}")
    expect(page.locator("pre")).to_contain_text("line 19999")
    expect(page.locator("pre")).to_contain_text("line 0\n")


def test_the_reader_at_the_end_stays_there_when_the_window_changes(database: str, open_page: OpenPage) -> None:
    fill(database, 60)
    page = open_page("/agents/run-1")
    page.set_viewport_size({"width": 700, "height": 500})
    wait_for(page, AT_THE_END)


@pytest.mark.usefixtures("database")
def test_what_cannot_be_sent_says_why_and_is_tried_again_or_edited(open_page: OpenPage, witness: Witness) -> None:
    # Nothing listens where this web looks for NATS.
    witness.is_loading_tolerated = True
    page = open_page("/agents/general")
    page.get_by_label("Say something").fill("Are you there?")
    page.get_by_role("button", name="Send").click()
    outgoing = page.get_by_test_id("outgoing")
    expect(outgoing).to_have_attribute("data-state", "failed")
    expect(outgoing).to_contain_text("not sent: The message was not sent")
    outgoing.get_by_role("button", name="Try again").click()
    expect(outgoing).to_have_attribute("data-state", "failed")
    expect(outgoing).to_have_count(1)
    outgoing.get_by_role("button", name="Edit").click()
    expect(page.get_by_label("Say something")).to_have_value("Are you there?")
    expect(outgoing).to_have_count(0)

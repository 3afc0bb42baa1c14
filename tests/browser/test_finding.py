"""Filters, search, failures and links: each in the address, each seen."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import story
from tests.browser.conftest import OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import expect_live, leaving, sequence, wait_for
from tests.browser.sights import message as shown
from tests.webserver import WebServer

NOW = datetime.now(UTC)
SELECTED = "Number(document.querySelector('.msg.selected')?.dataset.seq ?? 0)"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


def talk(database: str, run: str = "run-1") -> list[int]:
    start = NOW - timedelta(minutes=10)
    words = ("the plan", "a needle in hay", "nothing", "another Needle", "the end")
    return insert(
        database,
        [
            message(start + timedelta(seconds=n), ("planner", "executor")[n % 2], "message", text, run=run)
            for n, text in enumerate(words)
        ]
        + [
            message(start + timedelta(seconds=10), "executor", "error", "It broke, by a needle.", run=run),
            message(
                start + timedelta(seconds=11),
                "executor",
                "tool_result",
                "no",
                run=run,
                attrs=story.shell("make", output="no", exit_code=2),
            ),
        ],
    )


def test_a_filter_is_a_chip_and_in_the_address_and_goes_with_a_click(database: str, open_page: OpenPage) -> None:
    places = talk(database)
    page = open_page("/agents/run-1")
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Agent").select_option("executor")
    page.get_by_label("Kind").select_option("message")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**agentId=executor&kind=message")
    assert sequence(page) == [places[1], places[3]]
    chips = page.get_by_role("list", name="Filters that are on").get_by_role("link")
    expect(chips).to_have_count(3)
    page.get_by_role("link", name="kind message remove").click()
    expect(page.locator("[data-seq]")).to_have_count(4)
    page.get_by_role("link", name="agent executor remove").click()
    expect(page.locator("[data-seq]")).to_have_count(len(places))


def test_errors_alone_are_errors_and_failed_tools_live_too(database: str, open_page: OpenPage) -> None:
    places = talk(database)
    page = open_page("/agents/run-1?errors=1")
    assert sequence(page) == places[-2:]
    expect_live(page)
    new = insert(
        database,
        [
            message(NOW, "planner", "message", "Fine."),
            message(NOW, "planner", "tool_result", "", attrs=story.shell("x", output="x", exit_code=0)),
            message(NOW, "planner", "error", "Broken."),
        ],
    )
    expect(shown(page, new[2])).to_be_visible()
    assert sequence(page) == [*places[-2:], new[2]]


def test_times_narrow_what_is_shown(database: str, open_page: OpenPage) -> None:
    places = talk(database)
    since = (NOW - timedelta(minutes=10) + timedelta(seconds=3)).isoformat().replace("+00:00", "Z")
    page = open_page(f"/agents/run-1?since={since}")
    assert sequence(page) == places[3:]
    page = open_page(f"/agents/run-1?until={since}")
    assert sequence(page) == places[:3]
    expect(page.locator(".badge")).to_have_text("not live: its time is over")


@pytest.mark.parametrize("path", ["/agents/run-1", "/agents/general"])
def test_times_are_asked_for_as_the_page_shows_them(database: str, open_page: OpenPage, path: str) -> None:
    start = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
    channel = "general" if path.endswith("general") else "run"
    said = [message(start + timedelta(minutes=n), "planner", "message", f"At {n}.", channel=channel) for n in range(30)]
    places = insert(database, said)
    page = open_page(path, timezone_id="Asia/Kolkata")
    expect(shown(page, places[5]).locator(".at time")).to_have_text("15:35:00")
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("From", exact=True).fill("2026-05-04T15:35")
    page.get_by_label("Until", exact=True).fill("2026-05-04T15:40:00")
    # Browsers may call it by its older name.
    expect(page.get_by_text(re.compile("Times of Asia/(Kolkata|Calcutta)"))).to_be_visible()
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**since=2026-05-04T10%3A05%3A00.000Z&until=2026-05-04T10%3A10%3A00.000Z**")
    assert sequence(page) == places[5:10]
    chips = page.get_by_role("list", name="Filters that are on").locator("time")
    expect(chips).to_have_text(["04 May 2026, 15:35:00 GMT+5:30", "04 May 2026, 15:40:00 GMT+5:30"])
    page.get_by_text("Filter", exact=True).click()
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-05-04T15:35")
    # Shown once more, it is asked for the same.
    page.get_by_label("Until", exact=True).fill("")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(lambda url: "until=" not in url and "since=2026-05-04T10%3A05%3A00.000Z" in url)
    assert sequence(page) == places[5:]


def test_without_scripts_times_are_those_of_utc_and_say_so(database: str, open_page: OpenPage) -> None:
    places = insert(
        database,
        [message(datetime(2026, 5, 4, 10, n, tzinfo=UTC), "planner", "message", f"At {n}.") for n in range(30)],
    )
    page = open_page("/agents/run-1", timezone_id="Asia/Kolkata", java_script_enabled=False)
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("From, UTC").fill("2026-05-04T10:05")
    with page.expect_navigation():
        page.get_by_role("button", name="Show").click()
    assert sequence(page) == places[5:]
    expect(page.get_by_role("list", name="Filters that are on")).to_contain_text("4 May 2026, 10:05:00 UTC")


@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "none"])
def test_every_kind_that_a_run_has_can_be_chosen(database: str, open_page: OpenPage, *, javascript: bool) -> None:
    start = NOW - timedelta(minutes=10)
    kinds = ["run-started", "log", *["message"] * 100, "log", "a,b", "message"]
    places = insert(
        database, [message(start + timedelta(seconds=n), "planner", kind, "x") for n, kind in enumerate(kinds)]
    )
    page = open_page("/agents/run-1", java_script_enabled=javascript)
    page.get_by_text("Filter", exact=True).click()
    options = page.get_by_label("Kind").locator("option")
    fixed = ["all", "message", "tool call", "tool result", "status", "error"]
    # Without scripts those that the page shows are known.
    expect(options).to_have_text([*fixed, "log", *(["run-started"] if javascript else [])])
    page.get_by_label("Kind").select_option("log")
    with leaving(page):
        page.get_by_role("button", name="Show").click()
    assert sequence(page) == [places[1], places[-3]]
    page.get_by_text("Filter", exact=True).click()
    expect(page.get_by_label("Kind")).to_have_value("log")
    if javascript:
        expect(options).to_have_text([*fixed, "log", "run-started"])


def test_what_is_said_after_a_time_that_is_yet_to_come_is_not_shown(database: str, open_page: OpenPage) -> None:
    talk(database)
    until = datetime.now(UTC) + timedelta(hours=1)
    page = open_page(f"/agents/run-1?until={until.isoformat().replace('+00:00', 'Z')}")
    expect_live(page)
    later, sooner = insert(
        database,
        [message(until + timedelta(minutes=n), "planner", "message", f"At {n}.", run="run-1") for n in (0, -59)],
    )
    expect(shown(page, sooner)).to_be_visible()
    expect(shown(page, later)).to_have_count(0)


def test_what_is_searched_is_marked_and_gone_through_by_keys(database: str, open_page: OpenPage) -> None:
    places = talk(database)
    page = open_page("/agents/run-1")
    page.keyboard.press("/")
    page.keyboard.type("needle")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=needle*")
    found = [places[1], places[3], places[5]]
    assert sequence(page) == found
    assert page.locator("mark").all_inner_texts() == ["needle", "Needle", "needle"]
    expect(page.locator(".hits .place")).to_have_text("0 of 3")
    for number, place in enumerate(found, 1):
        page.keyboard.press("n")
        wait_for(page, f"{SELECTED} === {place}")
        expect(page.locator(".hits .place")).to_have_text(f"{number} of 3")
    page.keyboard.press("p")
    wait_for(page, f"{SELECTED} === {found[1]}")
    expect_live(page)
    new = insert(database, [message(NOW, "planner", "message", "Hay."), message(NOW, "planner", "message", "NEEDLE!")])
    expect(shown(page, new[1])).to_be_visible()
    expect(shown(page, new[0])).to_have_count(0)
    # What comes is gone through like what was there.
    expect(shown(page, new[1]).locator("mark")).to_have_text(["NEEDLE"])
    expect(page.locator(".hits .place")).to_have_text("2 of 4")
    for _ in range(2):
        page.keyboard.press("n")
    wait_for(page, f"{SELECTED} === {new[1]}")
    expect(page.locator(".hits .place")).to_have_text("4 of 4")
    # Out of what was found a message opens among those around it.
    shown(page, found[1]).locator(".at").click()
    expect(shown(page, places[2])).to_be_visible()
    expect(shown(page, found[1])).to_be_in_viewport()


def test_a_match_in_the_line_of_a_card_and_in_its_output_counts_once(database: str, open_page: OpenPage) -> None:
    output = "one\nno needle here"
    call, failed, good, other = (
        ("tool_call", "$ find needle", story.shell("find needle")),
        ("tool_result", output, story.shell("find needle", output=output, exit_code=1)),
        ("tool_result", output, story.shell("x", output=output, exit_code=0)),
        ("tool_result", "no needle", story.shell("x", output="no needle", exit_code=0)),
    )
    places = insert(
        database,
        [message(NOW, "executor", kind, said, attrs=attrs) for kind, said, attrs in (call, failed, good, other)],
    )
    page = open_page("/agents/run-1?q=needle")
    expect(page.locator(".hits .place")).to_have_text("0 of 4")
    page.keyboard.press("g")
    for number, place in enumerate(places, 1):
        page.keyboard.press("n")
        expect(page.locator(".hits .place")).to_have_text(f"{number} of 4")
        wait_for(page, f"{SELECTED} === {place}")
        expect(shown(page, place).locator("mark.is-current")).to_be_visible()


def test_only_what_was_said_is_marked_and_no_time_or_name_whenever_it_comes(database: str, open_page: OpenPage) -> None:
    at = datetime(2026, 5, 4, 13, 57, 8, tzinfo=UTC)
    insert(database, [message(at, "agent-5", "message", "live 5")])
    page = open_page("/agents/run-1?q=live+5", timezone_id="UTC")
    first = page.locator("[data-seq]")
    expect(first).to_have_count(1)
    assert first.locator("mark").all_inner_texts() == ["live", "5"]
    expect_live(page)
    (new,) = insert(database, [message(at, "agent-5", "message", "Live **5 & 55**")])
    expect(shown(page, new)).to_be_visible()
    assert shown(page, new).locator("mark").all_inner_texts() == ["Live", "5", "5", "5"]
    expect(page.locator(".hits .place")).to_have_text("0 of 6")
    page.reload()
    assert shown(page, new).locator("mark").all_inner_texts() == ["Live", "5", "5", "5"]


def test_the_filters_close_by_escape_and_by_a_click_beside_them(database: str, open_page: OpenPage) -> None:
    talk(database)
    page = open_page("/agents/run-1?kind=tool_call,tool_result")
    button, drawer = page.locator(".more-filters > summary"), page.locator(".drawer")
    button.click()
    expect(drawer.get_by_label("Kind")).to_contain_text("tool call, tool result")
    drawer.get_by_label("Agent").focus()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(button).to_be_focused()
    button.click()
    expect(drawer).to_be_visible()
    page.get_by_role("heading", level=1).click()
    expect(drawer).to_be_hidden()


def test_nothing_found_says_so_and_leads_back(database: str, open_page: OpenPage) -> None:
    places = talk(database)
    page = open_page("/agents/run-1?q=nowhere-at-all")
    expect(page.get_by_text("Nothing that this run said fits these filters.")).to_be_visible()
    expect(page.locator(".hits")).to_be_hidden()
    page.get_by_role("link", name="Show all of it").click()
    expect(page.locator("[data-seq]")).to_have_count(len(places))


def test_words_that_name_a_filter_lead_to_it(database: str, open_page: OpenPage) -> None:
    talk(database)
    for path in ("/agents/run-1", "/search"):
        page = open_page(f"{path}?q=kind:error needle")
        expect(page.locator("[data-seq]")).to_have_count(0)
        page.get_by_role("link", name="Filter by what it names instead").click()
        page.wait_for_url("**kind=error**")
        expect(page.locator("[data-seq]")).to_have_count(1)
        expect(page.locator("[data-seq]")).to_have_attribute("data-kind", "error")
    expect(page.get_by_label("Kind")).to_have_value("error")


def test_words_are_found_across_runs_and_open_where_they_were_said(database: str, open_page: OpenPage) -> None:
    places = talk(database)
    talk(database, "run-2")
    page = open_page("/search")
    page.get_by_label("Search all messages").fill("needle in")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=needle+in*")
    expect(page.locator(".hit")).to_have_count(2)
    assert page.locator(".hit").first.locator("mark").all_inner_texts() == ["needle", "in"]
    page.locator(f'.hit[data-seq="{places[1]}"] .quote a').click()
    expect(page.get_by_role("heading", level=1)).to_have_text("run-1")
    expect(shown(page, places[1])).to_be_in_viewport()


def test_what_the_general_channel_says_of_a_run_is_folded_in_and_marked(database: str, open_page: OpenPage) -> None:
    at = NOW - timedelta(minutes=5)
    claim: dict[str, Any] = {"attrs": {"identity": "claimed"}, "channel": "general"}
    places = insert(
        database,
        [
            message(at, "planner", "message", "In the run."),
            message(at + timedelta(seconds=1), "planner", "message", "In the run.", **claim),
            message(at + timedelta(seconds=2), "planner", "message", "In the room.", **claim),
        ],
    )
    page = open_page("/agents/run-1")
    assert sequence(page) == [places[0]]
    page = open_page("/agents/run-1?include=general")
    assert sequence(page) == [places[0], places[2]]
    expect(shown(page, places[2])).to_contain_text("general channel, claimed")
    expect_live(page)
    (new,) = insert(database, [message(NOW, "planner", "message", "Again in the room.", **claim)])
    expect(shown(page, new)).to_contain_text("general channel, claimed")


def test_runs_with_the_names_of_other_pages_open(database: str, open_page: OpenPage) -> None:
    # Of more than five that have gone silent the list shows five: however late this is run, they speak now.
    now = datetime.now(UTC)
    for name in ("general", "ops", "run", "a/b", "..", "events", "a/messages"):
        insert(database, [message(now, "planner", "message", f"I am {name}.", run=name)])
    page = open_page("/agents")
    for name in ("general", "ops", "run", "a/b", "..", "events", "a/messages"):
        page.locator(f'[data-run="{name}"] a.name').click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect_live(page)
        (new,) = insert(database, [message(datetime.now(UTC), "planner", "message", "Live.", run=name)])
        expect(shown(page, new)).to_be_visible()
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Agents")


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_message_is_copied_as_it_was_published_and_its_link(
    database: str, open_page: OpenPage, web: WebServer
) -> None:
    output = "\x1b[31mred\x1b[0m  spaced\n" + "\n".join(f"line {n}" for n in range(500))
    attrs = story.shell("x", output=output, exit_code=0)
    (place,) = insert(database, [message(NOW, "executor", "tool_result", output, attrs=attrs)])
    page = open_page("/agents/run-1", permissions=["clipboard-read", "clipboard-write"])
    shown(page, place).hover()
    shown(page, place).get_by_role("button", name="Copy what it says").click()
    expect(page.get_by_text("Text copied")).to_be_visible()
    assert copied(page) == output
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page.get_by_text("Link copied")).to_be_visible()
    assert copied(page) == f"{web.url}/agents/run-1?workflowNamespace=agents&workflowUid=run-1&at={place}#m-{place}"


def test_what_came_since_the_reader_looked_last_stands_under_a_line(database: str, open_page: OpenPage) -> None:
    places = talk(database)
    page = open_page("/agents/run-1")
    expect(page.locator(".looked")).to_have_count(0)
    page.goto("/agents")
    (new,) = insert(database, [message(NOW, "planner", "message", "Meanwhile.")])
    expect(page.locator("[data-run=run-1] .unread")).to_have_text("1 new")
    page.locator("[data-run=run-1] a.name").click()
    expect(page.locator(".looked")).to_have_text("Since you last looked")
    after = page.locator(".looked + .msg, .looked + .day + .msg")
    assert int(after.get_attribute("data-seq") or 0) == new
    assert sequence(page) == [*places, new]


def test_what_was_read_as_it_came_is_not_new_in_the_list(database: str, open_page: OpenPage) -> None:
    talk(database)
    page = open_page("/agents/run-1")
    expect_live(page)
    # However long the head takes to count it.
    page.route("**/parts?*", lambda _: None)
    new = insert(database, [message(NOW, "planner", "message", f"Read {n}.") for n in range(5)])
    expect(shown(page, new[-1])).to_be_in_viewport()
    kept = "(dispatchEvent(new Event('pagehide')), localStorage.getItem('agent-comms:seen:agents/run-1'))"
    wait_for(page, f"({kept} ?? '').startsWith('{new[-1]}/')")
    page.goto("/agents")
    unread = page.locator("[data-run=run-1] .unread")
    expect_live(page)
    expect(unread).to_be_hidden()
    insert(database, [message(NOW, "planner", "message", "Not read.")])
    expect(unread).to_have_text("1 new")


def test_the_run_tells_what_it_changed_and_where_its_time_went(database: str, open_page: OpenPage) -> None:
    insert(database, story.issue_119(NOW - timedelta(minutes=3)))
    page = open_page(f"/agents/{story.RUN}")
    account = page.locator(".summary .account")
    expect(account).to_contain_text("shell")
    expect(account.locator(".files")).to_contain_text("importer/store.py")
    with page.expect_download() as download:
        account.get_by_role("link", name="JSON lines").click()
    assert download.value.path().read_text().count("\n") == 25
    page.goto(f"/agents/{story.RUN}?kind=tool_call")
    expect(account).to_contain_text("Take it along, as it is filtered")
    with page.expect_download() as download:
        account.get_by_role("link", name="JSON lines").click()
    kinds = [json.loads(line)["kind"] for line in download.value.path().read_text().splitlines()]
    assert set(kinds) == {"tool_call"}
    account.get_by_role("link", name="All changes").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Changes")
    expect(page.locator("#file-1 .diff .d-add").first).to_contain_text("def add(self, line) -> bool:")

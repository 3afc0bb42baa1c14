"""The list of runs, and what isn't there."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import story
from tests.browser.conftest import PHONE, OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import OVERFLOW, expect_live, sequence

NOW = datetime.now(UTC)
START = NOW - timedelta(hours=1)


@pytest.fixture
def sample(database: str) -> str:
    """Fill the database with the story."""
    insert(database, list(story.others(NOW)))
    insert(database, story.issue_119(NOW - timedelta(seconds=130)))
    insert(database, story.room(NOW - timedelta(minutes=9)))
    insert(database, story.hostile(START))
    return database


def names(page: Page) -> list[str]:
    return page.locator("[data-run] .name").all_inner_texts()


def test_the_root_leads_to_the_runs(open_page: OpenPage) -> None:
    page = open_page("/")
    assert page.url.endswith("/agents")
    expect(page.get_by_role("heading", level=1)).to_have_text("Agents")


def test_without_runs_the_page_says_how_to_publish_one_and_shows_it(database: str, open_page: OpenPage) -> None:
    page = open_page("/agents")
    expect(page.get_by_text("No runs yet. Publish one:")).to_be_visible()
    expect(page.locator(".command")).to_contain_text("agent-comms publish")
    expect_live(page)
    insert(database, [message(NOW, "planner", "message", "Hello.", run="hello")])
    expect(page.locator("[data-run=hello] .words")).to_have_text("planner Hello.")
    expect(page.get_by_text("No runs yet.")).to_be_hidden()


def test_a_run_that_speaks_moves_to_the_top(database: str, open_page: OpenPage) -> None:
    for place, name in enumerate(("first", "second", "third")):
        insert(database, [message(START + timedelta(seconds=place), "planner", "message", "Words.", run=name)])
    page = open_page("/agents")
    assert names(page) == ["third", "second", "first"]
    expect(page.locator("[data-shelf=stale] [data-run]")).to_have_count(3)
    expect_live(page)
    insert(database, [message(NOW, "planner", "error", "It **broke**.", run="second")])
    expect(page.locator("[data-shelf=running] [data-run=second]")).to_be_visible()
    insert(database, [message(NOW + timedelta(seconds=1), "planner", "error", "It **broke**.", run="first")])
    row = page.locator("[data-run=first]")
    expect(row.locator(".words")).to_have_text("planner It broke.")
    expect(row.locator(".counts")).to_contain_text("1 error")
    assert names(page) == ["third", "first", "second"]


def test_what_needs_attention_comes_first(sample: str, open_page: OpenPage) -> None:
    page = open_page("/agents")
    shelves = page.locator(".shelf:not([hidden])").evaluate_all("all => all.map((one) => one.dataset.shelf)")
    assert shelves == ["failed", "stale", "running", "rest"]
    assert names(page)[0] == "codex-issue-117"
    expect(page.locator("[data-shelf=stale] [data-run=upgrade-postgres-18-dry-run]")).to_be_visible()
    expect(page.locator("[data-run=nightly-benchmarks] .spark")).to_be_visible()
    expect_live(page)
    failed = message(datetime.now(UTC), "planner", "status", "failed", run="nightly-benchmarks")
    insert(sample, [msgspec.structs.replace(failed, workflow_namespace="research")])
    expect(page.locator("[data-shelf=failed] [data-run]")).to_have_count(2)
    assert names(page)[0] == "nightly-benchmarks"


@pytest.mark.usefixtures("sample")
def test_several_namespaces_are_offered_and_one_is_a_chip(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.get_by_role("list", name="Namespaces and filters").get_by_role("link", name="platform").click()
    page.wait_for_url("**/agents?workflowNamespace=platform")
    assert names(page) == ["upgrade-postgres-18-dry-run"]
    page.get_by_role("link", name="namespace platform remove").click()
    page.wait_for_url("**/agents")
    assert len(names(page)) > 1


def test_the_list_is_filtered_by_its_url(sample: str, open_page: OpenPage) -> None:
    page = open_page("/agents?state=failed")
    assert names(page) == ["codex-issue-117"]
    page = open_page("/agents?q=importer+stores+rows")
    expect(page.get_by_text("No run fits.")).to_be_visible()
    page = open_page("/agents?workflowNamespace=platform")
    assert names(page) == ["upgrade-postgres-18-dry-run"]
    expect_live(page)
    insert(sample, [message(NOW, "planner", "message", "Elsewhere.", run="elsewhere")])
    insert(sample, [message(NOW, "planner", "message", "Here.", run="here", workflow_namespace="platform")])
    expect(page.locator("[data-run=here]")).to_be_visible()
    assert sorted(names(page)) == ["here", "upgrade-postgres-18-dry-run"]


@pytest.mark.usefixtures("sample")
def test_choosing_a_state_is_enough(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.get_by_role("radio", name="succeeded").check()
    page.wait_for_url("**/agents?state=succeeded")
    assert set(page.locator("[data-run]").evaluate_all("all => all.map((row) => row.dataset.state)")) == {"succeeded"}
    page.get_by_label("Find runs").fill("links")
    page.keyboard.press("Enter")
    page.wait_for_url("**/agents?q=links&state=succeeded")
    assert names(page) == ["docs-links-weekly"]


def test_many_runs_are_pages(database: str, open_page: OpenPage) -> None:
    every = [f"run-{n:03}" for n in range(120)]
    insert(
        database,
        [message(START + timedelta(seconds=n), "planner", "message", "x", run=name) for n, name in enumerate(every)],
    )
    page = open_page("/agents")
    found = names(page)
    while page.get_by_text("Older runs").is_visible():
        follow(page, page.get_by_text("Older runs"))
        expect(page.locator(".badge")).to_have_attribute("data-state", "paged")
        found += names(page)
    assert found == every[::-1]


@pytest.mark.usefixtures("sample")
def test_a_row_leads_to_its_run(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.locator("[data-run=nightly-benchmarks]").click(position={"x": 600, "y": 30})
    expect(page.get_by_role("heading", level=1)).to_have_text("nightly-benchmarks")
    assert "workflowNamespace=research" in page.url


def test_runs_of_the_same_name_are_told_apart(database: str, open_page: OpenPage) -> None:
    for at, uid in ((START, "uid-old"), (NOW, "uid-new")):
        insert(database, [message(at, "planner", "message", f"I am {uid}.", workflow_uid=uid, workflow_name="twin")])
    page = open_page("/agents/twin")
    expect(page.locator("[data-testid=timeline]")).to_contain_text("I am uid-new.")
    expect(page.locator(".others")).to_contain_text("1 other run has this name")
    page.locator(".others a").click()
    expect(page.locator("[data-testid=timeline]")).to_contain_text("I am uid-old.")


def test_an_unknown_run_is_waited_for(database: str, open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    page = open_page("/agents/not-yet")
    expect(page.get_by_role("heading", level=1)).to_have_text("No run is called “not-yet”")
    expect(page.get_by_role("link", name="Show all runs")).to_be_visible()
    expect_live(page)
    insert(database, [message(NOW, "planner", "message", "Here I am.", run="not-yet")])
    expect(page.get_by_role("heading", level=1)).to_have_text("not-yet")
    expect(page.locator("[data-testid=timeline]")).to_contain_text("Here I am.")


def test_hostile_words_run_nothing_and_ask_nobody(sample: str, open_page: OpenPage) -> None:
    for path in ("/agents", "/agents/hostile", "/agents/general"):
        page = open_page(path, size=PHONE)
        expect_live(page)
        insert(sample, story.hostile(START))
        for channel in ("run", "general"):
            over = message(datetime.now(UTC), "planner", "message", "Over.", channel=channel, run="hostile")
            insert(sample, [over])
        expect(page.get_by_text("Over.").first).to_be_attached()
        assert page.evaluate("window.hurt") is None
        assert page.evaluate(OVERFLOW) <= 0
        assert page.locator("[data-seq=\\31 ]").count() <= 1


def test_without_scripts_everything_can_be_read(database: str, open_page: OpenPage) -> None:
    places = insert(database, story.long_run(NOW, 450))
    page = open_page("/agents", java_script_enabled=False)
    follow(page, page.locator("[data-run] .name"))
    read = sequence(page)
    earlier = page.get_by_role("link", name="Earlier messages")
    while earlier.count():
        follow(page, earlier)
        read = sequence(page) + read
    assert read == places
    follow(page, page.get_by_role("link", name="To the newest messages"))
    assert sequence(page) == places[-120:]


def follow(page: Page, link: Locator) -> None:
    with page.expect_navigation():
        link.click()

"""The list of runs, what isn't there, and what holds for every page."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import OVERFLOW, PALE, expect_live, sequence, wait_for

NOW = datetime.now(UTC)
START = NOW - timedelta(hours=1)
PAGES = (
    "/agents",
    "/agents/codex-issue-119",
    "/agents/hostile",
    "/agents/general",
    "/agents/nobody-knows",
    "/nowhere/at/all",
)

STATIC_BYTES = """performance.getEntriesByType('resource').filter((one) => one.name.includes('/static/'))
    .reduce((sum, one) => sum + one.encodedBodySize, 0)"""


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
    expect_live(page)
    insert(database, [message(NOW, "planner", "error", "It **broke**.", run="first")])
    row = page.locator("[data-run=first]")
    expect(row.locator(".words")).to_have_text("planner It broke.")
    expect(row.locator(".counts")).to_contain_text("1 error")
    wait_for(page, "document.querySelector('[data-run]').dataset.run == 'first'")
    assert names(page) == ["first", "third", "second"]


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
    assert names(page) == ["here", "upgrade-postgres-18-dry-run"]


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


@pytest.mark.usefixtures("sample")
def test_every_page_fits_a_phone(open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    for path in PAGES:
        page = open_page(path, size=PHONE)
        assert page.evaluate(OVERFLOW) <= 0, path
        bar = page.get_by_role("navigation", name="Places")
        box = bar.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] == pytest.approx(PHONE[1], abs=1), path
        expect(bar.get_by_role("link", name="Agents", exact=True)).to_be_visible()
        expect(bar.get_by_role("link", name="General", exact=True)).to_be_visible()


@pytest.mark.parametrize(("theme", "background"), [("light", "rgb(252, 252, 250)"), ("dark", "rgb(18, 19, 21)")])
@pytest.mark.usefixtures("sample")
def test_every_page_can_be_read_in_both_themes(
    theme: str, background: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    for path in PAGES:
        page = open_page(path, color_scheme=theme)
        page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        assert page.evaluate(PALE) == [], path
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background, path


@pytest.mark.usefixtures("sample")
def test_every_page_has_the_bones_of_a_page(open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    for path in PAGES:
        page = open_page(path)
        assert page.locator("html").get_attribute("lang") == "en", path
        assert len(page.title()) > len(" · agent-comms"), path
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator("main")).to_have_count(1)
        ids = page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
        assert len(ids) == len(set(ids)), path
        for field in page.locator("input:not([type=hidden])").all():
            assert field.evaluate("one => one.labels.length") == 1, path


@pytest.mark.usefixtures("sample")
def test_every_page_has_a_twin_in_json(open_page: OpenPage) -> None:
    for path in PAGES[:4]:
        page = open_page(path)
        twin = page.locator("link[rel=alternate][type='application/json']").get_attribute("href")
        answer = page.request.get(twin or "")
        assert answer.ok, path
        assert answer.json(), path


@pytest.mark.usefixtures("sample")
def test_html_enters_a_page_through_one_function_only(open_page: OpenPage, witness: Witness) -> None:
    page = open_page("/agents")
    wrong = page.evaluate(
        "(() => { try { document.body.innerHTML = '<b>x</b>' } catch (error) { return error.name } })()"
    )
    assert wrong == "TypeError"
    assert any("TrustedHTML" in one for one in witness.wrongs)
    witness.wrongs.clear()


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
    assert sequence(page) == places[-200:]


def follow(page: Page, link: Locator) -> None:
    with page.expect_navigation():
        link.click()


def test_a_page_of_a_long_run_is_small_and_waits_for_no_script(database: str, open_page: OpenPage) -> None:
    insert(database, story.long_run(NOW, 5_000))
    page = open_page("/agents/index-the-monorepo")
    expect_live(page)
    assert len(sequence(page)) == 200
    assert page.locator("script:not([type=module]):not([async]):not([defer])").count() == 0
    static = page.evaluate(STATIC_BYTES)
    assert static < 70_000


@pytest.mark.usefixtures("sample")
def test_keyboard_alone_reaches_the_content(open_page: OpenPage) -> None:
    page = open_page("/agents", size=DESK)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

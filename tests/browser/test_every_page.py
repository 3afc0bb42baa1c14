"""What holds for every page: its bones, its size, its contrast, its twin, and what a screen reader is told."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage, Witness
from tests.browser.rows import insert
from tests.browser.sights import OVERFLOW, PALE, wait_for
from tests.servers import PostgresServer, fresh_database
from tests.webserver import WebServer

NOW = datetime.now(UTC)
PAGES = (
    "/agents",
    "/agents?state=failed&q=memory",
    "/agents/codex-issue-119",
    "/agents/codex-issue-119?errors=1&agentId=executor&include=general",
    "/agents/codex-issue-119?q=importer",
    "/agents/codex-issue-119?q=nothing-of-this",
    "/agents/codex-issue-119/changes",
    "/agents/codex-issue-119/message/1",
    "/agents/hostile",
    "/agents/general",
    "/search",
    "/search?q=importer",
    "/search?q=nothing-of-this",
    "/agents/ops",
    "/agents/nobody-knows",
    "/nowhere/at/all",
)
FIRST_LOAD_BYTES = 150_000
TRANSFERRED = """(() => {
  const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  return all.filter((one) => one.initiatorType !== "fetch").reduce((sum, one) => sum + one.encodedBodySize + 300, 0);
})()"""
LETTER = """
    INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, deliveries)
    VALUES ('workflow.agents.x.y.agent.z.message', '{"content":', 'not_json', 'It ends too soon.', 'x', 3)
"""
QUEUED = """
    INSERT INTO workflow_comms.reconcile_queue
        (workflow_namespace, workflow_uid, workflow_name, payload, state, attempts, last_error)
    VALUES ('agents', 'gone', 'gone', '{}', 'failed', 10, 'log.tgz: it is damaged')
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[WebServer]:
    """A web with something on every page; nothing here changes it."""
    with fresh_database(postgres_server) as dsn:
        insert(dsn, story.issue_119(NOW - timedelta(seconds=130)))
        insert(dsn, list(story.others(NOW)))
        insert(dsn, story.room(NOW - timedelta(minutes=9)))
        insert(dsn, story.hostile(NOW - timedelta(hours=1)))
        with psycopg.connect(dsn) as connection:
            connection.execute(LETTER)
            connection.execute(QUEUED)
        with WebServer(tmp_path_factory.mktemp("web"), {"DATABASE_URL": dsn}) as web:
            yield web


@pytest.fixture
def web(filled: WebServer) -> WebServer:
    return filled


def visits(open_page: OpenPage, paths: Sequence[str], **options: Any) -> Iterator[tuple[str, Page]]:
    """Go from page to page, as a reader does, in one tab."""
    page = open_page(paths[0], **options)
    yield paths[0], page
    for path in paths[1:]:
        page.goto(path)
        yield path, page


def loaded(page: Page) -> None:
    """Wait until what a page loads by itself is there."""
    if page.locator(".lanes-place").count():
        expect(page.locator(".lanes svg").first).to_be_attached()
        expect(page.locator(".account .part").first).to_be_attached()


def test_every_page_fits_a_phone(open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    for path, page in visits(open_page, PAGES, size=PHONE):
        assert page.evaluate(OVERFLOW) <= 0, path
        bar = page.get_by_role("navigation", name="Places")
        box = bar.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] == pytest.approx(PHONE[1], abs=1), path
        expect(bar.get_by_role("link", name="Agents", exact=True)).to_be_visible()
        expect(bar.get_by_role("link", name="General", exact=True)).to_be_visible()


@pytest.mark.parametrize(("theme", "background"), [("light", "rgb(252, 252, 250)"), ("dark", "rgb(18, 19, 21)")])
def test_every_page_can_be_read_in_both_themes(
    theme: str, background: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    for path, page in visits(open_page, PAGES, color_scheme=theme):
        page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        assert page.evaluate(PALE) == [], path
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background, path


def test_every_page_has_the_bones_of_a_page(open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    for path, page in visits(open_page, PAGES):
        assert page.locator("html").get_attribute("lang") == "en", path
        assert len(page.title()) > len(" · agent-comms"), path
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator("main")).to_have_count(1)
        ids = page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
        assert len(ids) == len(set(ids)), path
        for field in page.locator("input:not([type=hidden])").all():
            assert field.evaluate("one => one.labels.length") == 1, path


def test_every_page_has_a_twin_in_json(open_page: OpenPage) -> None:
    for path, page in visits(open_page, PAGES[:-2]):
        twin = page.locator("link[rel=alternate][type='application/json']").get_attribute("href")
        answer = page.request.get(twin or "")
        assert answer.ok, path
        assert answer.json(), path


def test_html_enters_a_page_through_one_function_only(open_page: OpenPage, witness: Witness) -> None:
    page = open_page("/agents")
    wrong = page.evaluate(
        "(() => { try { document.body.innerHTML = '<b>x</b>' } catch (error) { return error.name } })()"
    )
    assert wrong == "TypeError"
    assert any("TrustedHTML" in one for one in witness.wrongs)
    witness.wrongs.clear()


def test_keyboard_alone_reaches_the_content(open_page: OpenPage) -> None:
    page = open_page("/agents", size=DESK)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(theme: str, open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    found: list[str] = []
    for path, page in visits(open_page, PAGES, color_scheme=theme):
        loaded(page)
        page.locator("main details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        for violation in Axe().run(page).response["violations"]:
            nodes = [node["html"][:160] for node in violation["nodes"][:3]]
            found.append(f"{path}: {violation['id']}, {violation['help']}: {nodes}")
    assert found == []


def test_the_first_load_of_a_page_is_light(open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    for path in PAGES:
        page = open_page(path)
        size = page.evaluate(TRANSFERRED)
        assert 3_000 < size < FIRST_LOAD_BYTES, path
        page.context.close()


def test_the_sheet_of_keys_opens_and_closes(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    expect(sheet).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    expect(sheet).to_be_visible()
    sheet.get_by_role("button", name="Close").click()
    expect(sheet).to_be_hidden()


def test_a_slash_leads_to_the_search_and_escape_out_of_it(open_page: OpenPage) -> None:
    for _, page in visits(open_page, ("/agents", "/agents/codex-issue-119", "/agents/general", "/search")):
        page.keyboard.press("/")
        expect(page.locator("input[type=search]")).to_be_focused()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator("input[type=search]")).not_to_be_focused()


def test_the_theme_can_be_chosen_and_is_remembered(open_page: OpenPage) -> None:
    page = open_page("/agents", color_scheme="light")
    button = page.get_by_role("button", name="Theme")
    expect(button).to_have_accessible_name("Theme: system")
    background = "getComputedStyle(document.body).backgroundColor"
    button.click()
    expect(button).to_have_accessible_name("Theme: light")
    button.click()
    expect(button).to_have_accessible_name("Theme: dark")
    assert page.evaluate(background) == "rgb(18, 19, 21)"
    page.goto("/agents/general")
    assert page.evaluate(background) == "rgb(18, 19, 21)"
    page.get_by_role("button", name="Theme").click()
    wait_for(page, f"{background} === 'rgb(252, 252, 250)'")


def test_a_key_goes_from_run_to_run(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.keyboard.press("j")
    expect(page.locator("[data-run].selected a.name")).to_be_focused()
    first = page.locator("[data-run].selected").get_attribute("data-name")
    page.keyboard.press("j")
    assert page.locator("[data-run].selected").get_attribute("data-name") != first
    page.keyboard.press("k")
    assert page.locator("[data-run].selected").get_attribute("data-name") == first
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(first or "")

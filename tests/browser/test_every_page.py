"""What holds for every page: its bones, its size, its contrast, its twin, and what a screen reader is told."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage, Witness
from tests.browser.rows import insert
from tests.browser.sights import OVERFLOW, PALE, expect_announced, wait_for
from tests.servers import PostgresServer, fresh_database
from tests.webserver import WebServer

PAGES = (
    "/agents",
    "/agents?state=failed&q=memory&since=2026-05-04&until=2036-05-04",
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
# One of each kind: in the dark other colours are looked at, on the others they are the same.
IN_THE_DARK = (
    "/agents",
    "/agents/codex-issue-119?q=importer",
    "/agents/codex-issue-119/changes",
    "/agents/general",
    "/search?q=importer",
    "/agents/ops",
    "/agents/nobody-knows",
)
FIRST_LOAD_BYTES = 150_000
MOST_SHIFTED = 0.05
SHIFTED = """(async () => {
  let sum = 0;
  const add = (list) => list.getEntries().forEach((one) => (sum += one.hadRecentInput ? 0 : one.value));
  new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return sum;
})()"""
BONES = """(() => {
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  const fields = [...document.querySelectorAll("input:not([type=hidden]), textarea, select")];
  const bones = {
    "its language": document.documentElement.lang === "en",
    "a title": document.title.length > " · agent-comms".length,
    "one h1": document.querySelectorAll("h1").length === 1,
    "one main": document.querySelectorAll("main").length === 1,
    "ids of one element each": new Set(ids).size === ids.length,
    "a label for each field": fields.every(({ labels }) => labels.length === 1),
  };
  return Object.keys(bones).filter((name) => !bones[name]);
})()"""
AXE = Axe().axe_script
# What else axe looks at is the same in both themes.
ONLY_CONTRAST = '{ runOnly: ["color-contrast"] }'
VIOLATIONS = """(async (rules) => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"], preload: false, ...rules });
  const html = ({ nodes }) => nodes.slice(0, 3).map((node) => node.html.slice(0, 160));
  return violations.map((one) => `${one.id}, ${one.help}: ${html(one).join(" ")}`);
})"""
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
    now = datetime.now(UTC)
    with fresh_database(postgres_server) as dsn:
        insert(dsn, story.issue_119(now - timedelta(seconds=130)))
        insert(dsn, list(story.others(now)))
        insert(dsn, story.room(now - timedelta(minutes=9)))
        insert(dsn, story.hostile(now - timedelta(hours=1)))
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


class Finding(NamedTuple):
    """What one page is like.

    Attributes:
        transferred: bytes of its first load.
        shifted: how far what is drawn moves while the rest arrives, in the measure of layout shifts.
        bones: what of a page's bones is missing.
        twin: the status of its twin, and whether there is something in it; None where it has none.
        wide: pixels that it is wider than a phone.
        bar: where the bar of places ends on a phone, and how many of its links can be seen.
        backgrounds: by theme.
        pale: text that is hard to read, in either theme.
        violations: what axe complains of, in either theme.
    """

    path: str
    transferred: int
    shifted: float
    bones: list[str]
    twin: tuple[int, bool] | None
    wide: float
    bar: tuple[float, int]
    backgrounds: tuple[str, str]
    pale: list[Any]
    violations: list[str]


def loaded(page: Page) -> None:
    """Wait until what a page loads by itself is there."""
    if page.locator(".lanes-place").count():
        expect(page.locator(".lanes svg").first).to_be_attached()
        expect(page.locator(".account .part").first).to_be_attached()


@pytest.fixture(scope="module")
def found(chromium: Browser, filled: WebServer) -> list[Finding]:
    """Each page, opened once in a browser that has nothing of it yet, and looked at from all sides."""
    witness = Witness(urlsplit(filled.url).netloc)
    witness.is_loading_tolerated = True
    findings = []
    context = chromium.new_context(viewport=size(DESK), base_url=filled.url, reduced_motion="reduce")
    # To open another one for each page takes longer than what is looked at.
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    witness.watch(page)
    for path in PAGES:
        page.emulate_media(color_scheme="light")
        page.goto(path)
        loaded(page)
        findings.append(look_at(page, path))
        session.send("Storage.clearDataForOrigin", {"origin": filled.url, "storageTypes": "all"})
        page.evaluate("sessionStorage.clear()")
    context.close()
    assert witness.wrongs == []
    return findings


def size(pixels: tuple[int, int]) -> ViewportSize:
    return {"width": pixels[0], "height": pixels[1]}


def look_at(page: Page, path: str) -> Finding:
    transferred, shifted = page.evaluate(TRANSFERRED), page.evaluate(SHIFTED)
    bones = page.evaluate(BONES)
    link = page.locator("link[rel=alternate][type='application/json']")
    # A connection that is kept may be closed by the server just then.
    answer = page.request.get(link.get_attribute("href") or "", max_retries=3) if link.count() else None
    twin = (answer.status, bool(answer.json())) if answer else None
    page.set_viewport_size(size(PHONE))
    bar = page.get_by_role("navigation", name="Places")
    box = bar.bounding_box()
    assert box is not None
    places = sum(bar.get_by_role("link", name=name, exact=True).is_visible() for name in ("Agents", "General"))
    wide = page.evaluate(OVERFLOW)
    page.set_viewport_size(size(DESK))
    page.locator("main details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    page.evaluate(AXE)
    pale, violations, backgrounds = [], [], []
    for theme, rules in (("light", "{}"), ("dark", ONLY_CONTRAST)):
        page.emulate_media(color_scheme="light" if theme == "light" else "dark")
        pale += page.evaluate(PALE)
        if theme == "light" or path in IN_THE_DARK:
            violations += [f"{theme}: {one}" for one in page.evaluate(f"{VIOLATIONS}({rules})")]
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = backgrounds
    return Finding(
        path,
        transferred,
        shifted,
        bones,
        twin,
        wide,
        (box["y"] + box["height"], places),
        (light, dark),
        pale,
        violations,
    )


def test_every_page_fits_a_phone(found: list[Finding]) -> None:
    for page in found:
        assert page.wide <= 0, page.path
        end, places = page.bar
        assert end == pytest.approx(PHONE[1], abs=1), page.path
        assert places == 2, page.path


def test_every_page_can_be_read_in_both_themes(found: list[Finding]) -> None:
    for page in found:
        assert page.pale == [], page.path
        assert page.backgrounds == ("rgb(252, 252, 250)", "rgb(18, 19, 21)"), page.path


def test_every_page_has_the_bones_of_a_page(found: list[Finding]) -> None:
    assert {page.path: page.bones for page in found if page.bones} == {}


def test_every_page_has_a_twin_in_json(found: list[Finding]) -> None:
    for page in found[:-2]:
        assert page.twin == (200, True), page.path


def test_axe_finds_nothing_to_complain_of(found: list[Finding]) -> None:
    assert {page.path: page.violations for page in found if page.violations} == {}


def test_the_first_load_of_a_page_is_light(found: list[Finding]) -> None:
    for page in found:
        assert 3_000 < page.transferred < FIRST_LOAD_BYTES, page.path


def test_nothing_jumps_while_a_page_loads(found: list[Finding]) -> None:
    for page in found:
        assert page.shifted < MOST_SHIFTED, page.path


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


def test_the_sheet_of_keys_opens_and_closes(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    expect(sheet).to_be_visible()
    # The rest stays at hand: to make a long page inert takes longer than a key may.
    expect(page.get_by_role("main")).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    expect(sheet).to_be_visible()
    page.get_by_role("button", name="Keys").click()
    expect(sheet).to_be_hidden()
    page.keyboard.press("?")
    expect(sheet).to_be_visible()
    sheet.get_by_role("button", name="Close").click()
    expect(sheet).to_be_hidden()


def test_the_sheet_names_the_keys_that_do_something_here(open_page: OpenPage) -> None:
    named = {
        "/agents/codex-issue-119": "/ j k n p e g G f o E w c y ? Esc",
        "/agents": "/ j k n p e g G c ? Esc",
        "/search?q=importer": "/ j k n p g G c ? Esc",
        "/agents/ops": "? Esc",
    }
    for path, page in visits(open_page, list(named)):
        loaded(page)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        expect(page.locator(".keys kbd:visible")).to_have_text(named[path].split())


def test_keys_lead_to_failed_runs_and_copy_links_in_lists(open_page: OpenPage) -> None:
    page = open_page("/agents", permissions=["clipboard-read", "clipboard-write"])
    failed = page.locator("[data-run][data-state=failed]")
    expect(failed).to_have_count(1)
    page.keyboard.press("e")
    expect(page.locator(".selected")).to_have_attribute("data-state", "failed")
    page.keyboard.press("n")
    expect_announced(page, "No failed run after this")
    page.keyboard.press("G")
    expect(page.locator(".selected")).not_to_have_attribute("data-state", "failed")
    page.keyboard.press("p")
    expect(page.locator(".selected")).to_have_attribute("data-state", "failed")
    for path, link in (("/agents", ".run .name"), ("/search?q=importer", ".hit .quote a")):
        page.goto(path)
        page.keyboard.press("G")
        page.keyboard.press("c")
        expect_announced(page, "Link copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator(link).last.evaluate("link => link.href")


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
    wait_for(page, f"{background} === 'rgb(18, 19, 21)'")
    page.goto("/agents/general")
    wait_for(page, f"{background} === 'rgb(18, 19, 21)'")
    page.get_by_role("button", name="Theme").click()
    wait_for(page, f"{background} === 'rgb(252, 252, 250)'")


def test_a_key_goes_from_run_to_run(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.keyboard.press("j")
    expect(page.locator("[data-run].selected a.name")).to_be_focused()
    first = page.locator("[data-run].selected").get_attribute("data-name") or ""
    page.keyboard.press("j")
    expect(page.locator("[data-run].selected")).not_to_have_attribute("data-name", first)
    page.keyboard.press("k")
    expect(page.locator("[data-run].selected")).to_have_attribute("data-name", first)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(first)

"""Pictures of every page: `make screenshots ARGS=folder`.

At the widths of a desk, a tablet and a phone, light and dark, with a sample, with
nothing, with a run of 5,000 messages, and in moments that pass. Three of them are the
README's, and go where it has them.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import psycopg
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from connectors.embedded import EmbeddedPostgres
from flows.message import Message
from tests.browser import story
from tests.browser.conftest import chromium_program, launch
from tests.browser.moments import KEEP_SOURCES, MOMENTS, Scene
from tests.browser.rows import insert
from tests.browser.sights import expect_live
from tests.browser.test_every_page import QUEUED
from tests.browser.test_ops import LETTER, PULSE, SUBJECT
from tests.readers import Readers
from tests.servers import FAST, PostgresServer, fresh_database, make_template
from tests.webserver import WebServer

SIZES = {"1440": (1440, 900), "1024": (1024, 768), "390": (390, 844)}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# A page's picture is named for what is on it; the number is how far it is scrolled, else it stands as it opens.
WITH_SAMPLE: dict[str, tuple[str, int | None]] = {
    "agents": ("/agents", None),
    "agents-failed": ("/agents?state=failed", None),
    "run": (f"/agents/{story.RUN}", None),
    "run-beginning": (f"/agents/{story.RUN}", 0),
    "run-failure": (f"/agents/{story.RUN}", 760),
    "run-exit": (f"/agents/{story.RUN}", 1_150),
    "run-diff": (f"/agents/{story.RUN}", 1_240),
    "run-long": ("/agents/index-the-monorepo", None),
    "run-missing": ("/agents/not-yet", None),
    "run-found": (f"/agents/{story.RUN}?q=store", 0),
    "run-errors": ("/agents/index-the-monorepo?errors=1&agentId=executor", None),
    "changes": (f"/agents/{story.RUN}/changes", 0),
    "search": ("/search?q=store", 0),
    "ops": ("/agents/ops", 0),
    "general": ("/agents/general", None),
    "error": ("/agents?state=asleep", None),
}
WITH_NOTHING: dict[str, tuple[str, int | None]] = {
    "agents-empty": ("/agents", None),
    "general-empty": ("/agents/general", None),
    "search-empty": ("/search", 0),
    "ops-empty": ("/agents/ops", 0),
}
WITH_MALICE: dict[str, tuple[str, int | None]] = {
    "run-hostile": ("/agents/hostile", 0),
    "agents-hostile": ("/agents", None),
}
WITH_READERS: dict[str, tuple[str, int | None]] = {
    "sign-in": ("/sign-in", 0),
    "forbidden": ("/agents/ops", 0),
}
WITHOUT_POSTGRES: dict[str, tuple[str, int | None]] = {"away": ("/agents", 0)}
WITHOUT_A_BADGE = ("error", "search", "search-empty", "changes", *WITH_READERS, *WITHOUT_POSTGRES)
NO_POSTGRES = "postgresql://127.0.0.1:1/none"
# Which of them the README shows, and as what.
README = {"run": "run-1440-light", "runs": "agents-1440-dark", "phone": "run-exit-390-light"}
README_FOLDER = Path(__file__).parents[2] / ".github"


def main(folder: Path) -> None:
    """Write the pictures into a folder."""
    program = chromium_program()
    if program is None:
        sys.exit("screenshots: Chromium is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = launch(playwright, program)
        with EmbeddedPostgres(Path(place) / "postgres", settings=FAST) as postgres:
            make_template(postgres)
            now = datetime.now(UTC)
            for pages, past in (
                (WITH_SAMPLE, sample(now)),
                (WITH_NOTHING, []),
                (WITH_MALICE, story.hostile(now - timedelta(minutes=5))),
            ):
                with served(postgres, Path(place) / "web", past) as web:
                    shoot(browser, web.url, pages, folder)
                    if pages is WITH_SAMPLE:
                        shoot_moments(browser, web, folder)
        readers = Readers(Path(place) / "readers.toml")
        settings = {"AGENT_COMMS_AUTH": "token", "AGENT_COMMS_READERS_FILE": str(readers.path)}
        with WebServer(Path(place) / "guarded", {"DATABASE_URL": NO_POSTGRES, **settings}) as web:
            shoot(browser, web.url, WITH_READERS, folder, readers.add("alice", "agents"))
        with WebServer(Path(place) / "alone", {"DATABASE_URL": NO_POSTGRES}) as web:
            shoot(browser, web.url, WITHOUT_POSTGRES, folder)
        browser.close()
    for name, picture in README.items():
        shutil.copyfile(folder / f"{picture}.png", README_FOLDER / f"{name}.png")


def sample(now: datetime) -> list[Message]:
    """Return a past with everything that agents do."""
    return [
        *story.others(now),
        *story.long_run(now - timedelta(hours=30)),
        *story.issue_119(now - timedelta(seconds=130)),
        *story.room(now - timedelta(minutes=9)),
    ]


@contextmanager
def served(postgres: PostgresServer, folder: Path, past: list[Message]) -> Iterator[WebServer]:
    """Serve a database of its own with some past in it."""
    with fresh_database(postgres) as database:
        if past:
            insert(database, past)
            with psycopg.connect(database) as connection:
                # Its last word stays fresh while pictures are taken.
                connection.execute(PULSE, [-3_600, 0, 0.0])
                connection.execute(LETTER, [SUBJECT, b'{"content": "half a mess', "not_json", "1", 1])
                connection.execute(QUEUED)
        with WebServer(folder, {"DATABASE_URL": database}) as web:
            yield web


def shoot(
    browser: Browser,
    url: str,
    pages: dict[str, tuple[str, int | None]],
    folder: Path,
    headers: dict[str, str] | None = None,
) -> None:
    """Take a picture of each page at each size in each theme."""
    for suffix, context in contexts(browser, url, headers or {}):
        for name, (path, scroll) in pages.items():
            page = context.new_page()
            page.goto(path)
            if name not in WITHOUT_A_BADGE:
                expect_live(page)
            wait_for_parts(page)
            if scroll is not None:
                page.evaluate(f"scrollTo(0, {scroll})")
            page.screenshot(path=folder / f"{name}-{suffix}.png")
            page.close()


def shoot_moments(browser: Browser, web: WebServer, folder: Path) -> None:
    """Take a picture of each moment at each size in each theme."""
    for suffix, context in contexts(browser, web.url, {}):
        context.add_init_script(KEEP_SOURCES)
        for name, (path, come_to) in MOMENTS.items():
            page = context.new_page()
            page.goto(path)
            wait_for_parts(page)
            come_to(Scene(page, web.database))
            page.screenshot(path=folder / f"{name}-{suffix}.png")
            context.set_offline(False)
            page.close()


def wait_for_parts(page: Page) -> None:
    """Wait for what a run's page loads once it has been drawn."""
    for place, part in ((".lanes-place", ".lanes"), (".account[data-load]", ".account[data-load] h3")):
        if page.locator(place).count():
            page.locator(part).first.wait_for(state="attached")


def contexts(browser: Browser, url: str, headers: dict[str, str]) -> Iterator[tuple[str, BrowserContext]]:
    """Return a context for each size in each theme, with what its pictures' names end in."""
    for size, (width, height) in SIZES.items():
        for theme in THEMES:
            context = browser.new_context(
                base_url=url,
                viewport={"width": width, "height": height},
                device_scale_factor=2 if size == "390" else 1,
                color_scheme=theme,
                reduced_motion="reduce",
                extra_http_headers=headers,
            )
            yield f"{size}-{theme}", context
            context.close()


if __name__ == "__main__":
    main(Path(*sys.argv[1:2] or ["screenshots"]))

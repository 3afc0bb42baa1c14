"""Pages in a real Chromium, watched while they are used.

Whatever a test does, its pages log no error, break no content security policy
and ask no other host: that is checked when it ends.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    expect,
    sync_playwright,
)

from tests.browser.sights import KEEP_ANNOUNCED
from tests.webserver import WebServer

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DESK = (1440, 900)
PHONE = (390, 844)
PATIENCE_MS = 180_000
# What Chromium itself logs of an answer that isn't 2xx, and of a server that is away.
_LOADING = re.compile(r"Failed to load resource")

OpenPage = Callable[..., Page]


def chromium_program() -> str | None:
    """Return Chromium's path, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def launch(playwright: Playwright, program: str) -> Browser:
    return playwright.chromium.launch(executable_path=program, args=ARGUMENTS)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = chromium_program()
    if program is None:
        if os.environ.get("AGENT_COMMS_REQUIRE_CHROMIUM"):
            pytest.fail("Chromium is not installed, and AGENT_COMMS_REQUIRE_CHROMIUM is set")
        pytest.skip("Chromium is not installed; on Debian: apt install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = launch(playwright, program)
        yield browser
        browser.close()


class Witness:
    """Notes what a page should never do.

    Args:
        host: the only one that may be asked.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.wrongs: list[str] = []
        self.is_loading_tolerated = False

    def watch(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.wrongs.append(f"exception: {error}"))
        page.on("request", self._see)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        if self.is_loading_tolerated and _LOADING.search(message.text):
            return
        self.wrongs.append(f"{message.type}: {message.text}")

    def _see(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self._host:
            self.wrongs.append(f"request: {request.url}")


@pytest.fixture
def address(web: WebServer) -> str:
    """Where pages are opened; a test may have a way there of its own."""
    return web.url


@pytest.fixture
def witness(address: str) -> Iterator[Witness]:
    witness = Witness(urlsplit(address).netloc)
    yield witness
    assert witness.wrongs == []


@pytest.fixture
def open_page(chromium: Browser, address: str, witness: Witness) -> Iterator[OpenPage]:
    """Open pages: `open_page("/agents", size=PHONE, before=SCRIPT, …)`; further options are the browser context's."""
    contexts: list[BrowserContext] = []

    def open_it(path: str, *, size: tuple[int, int] = DESK, before: str = "", **options: Any) -> Page:
        width, height = size
        options.setdefault("reduced_motion", "reduce")
        context = chromium.new_context(viewport={"width": width, "height": height}, base_url=address, **options)
        contexts.append(context)
        context.add_init_script(KEEP_ANNOUNCED)
        if before:
            context.add_init_script(before)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        witness.watch(page)
        page.goto(path)
        return page

    yield open_it
    for context in contexts:
        context.close()

"""What a page looks like in the moments that pass: each is caused, and waited for until it shows."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import psycopg
from playwright.sync_api import Page, expect

from tests.browser import story
from tests.browser.rows import insert, message
from tests.browser.sights import AT_THE_END, wait_for
from tests.browser.test_ops import PULSE, SEEN_AGAIN

RUN = f"/agents/{story.RUN}"
# What is said meanwhile is said here, so that the other pictures stay as they are.
LONG = "index-the-monorepo"
# Keeps what each page opens, so that it can be told what a server seldom says.
KEEP_SOURCES = """
  globalThis.sources = [];
  globalThis.EventSource = class extends EventSource {
    constructor(...words) { super(...words); sources.push(this); }
  };
"""
FRESH = [-3_600, 0, 0.0]


class Scene(NamedTuple):
    """A page, and the database behind it."""

    page: Page
    database: str


Moment = Callable[[Scene], None]


def offline(scene: Scene) -> None:
    # A stream that is open stays so, and whatever comes on it says that it lives.
    reconnecting(scene)
    scene.page.context.set_offline(True)
    _expect_state(scene.page, "offline")


def reconnecting(scene: Scene) -> None:
    scene.page.route("**/live?*", lambda route: route.abort())
    _come_again(scene.page)
    _expect_state(scene.page, "reconnecting")


def caught_up(scene: Scene) -> None:
    reconnecting(scene)
    _say(scene.database, 42)
    scene.page.unroute("**/live?*")
    _come_again(scene.page)
    expect(scene.page.locator(".badge")).to_contain_text("caught up, 42 messages")


def gap(scene: Scene) -> None:
    _tell(scene.page, "gap")
    _expect_state(scene.page, "stale")


def signed_out(scene: Scene) -> None:
    _tell(scene.page, "signed-out")
    _expect_state(scene.page, "signed-out")


def behind(scene: Scene) -> None:
    with psycopg.connect(scene.database, autocommit=True) as connection:
        connection.execute(PULSE, [1, 12_410, 240])
        scene.page.evaluate(SEEN_AGAIN)
        _expect_state(scene.page, "stale")
        connection.execute(PULSE, FRESH)


def new_below(scene: Scene) -> None:
    scene.page.evaluate("scrollBy(0, -900)")
    wait_for(scene.page, f"!({AT_THE_END})")
    _say(scene.database, 12)
    expect(scene.page.locator(".pill")).to_have_text("12 new")


def looked(scene: Scene) -> None:
    seq = scene.page.locator("[data-seq]").nth(-5).get_attribute("data-seq")
    scene.page.add_init_script(f"localStorage.setItem('agent-comms:seen:agents/{story.RUN}', '{seq}/20')")
    scene.page.reload()
    expect(scene.page.locator(".looked")).to_be_attached()


def filtering(scene: Scene) -> None:
    scene.page.locator(".more-filters > summary").click()
    expect(scene.page.locator(".drawer")).to_be_visible()


def keys(scene: Scene) -> None:
    scene.page.keyboard.press("?")
    expect(scene.page.get_by_role("dialog", name="Keys")).to_be_visible()


def not_sent(scene: Scene) -> None:
    scene.page.route("**/api/agents/messages", lambda route: route.abort())
    scene.page.locator("#words").fill("Please wait for the replica, then go on.")
    scene.page.get_by_role("button", name="Send").click()
    expect(scene.page.locator(".outgoing")).to_have_attribute("data-state", "failed")


def selected(scene: Scene) -> None:
    scene.page.keyboard.press("k")
    expect(scene.page.locator(".selected")).to_be_visible()


def alone(scene: Scene) -> None:
    scene.page.goto(scene.page.locator("[data-kind=tool_result]").first.get_attribute("data-page") or "/")
    expect(scene.page.locator("article")).to_be_visible()


def still(scene: Scene) -> None:
    expect(scene.page.locator("h1")).to_be_visible()


MOMENTS: dict[str, tuple[str, Moment]] = {
    "run-offline": (RUN, offline),
    "run-reconnecting": (RUN, reconnecting),
    "run-gap": (RUN, gap),
    "run-signed-out": (RUN, signed_out),
    "run-behind": (RUN, behind),
    "run-looked": (RUN, looked),
    "run-filtering": (f"{RUN}?kind=tool_call,tool_result", filtering),
    "run-with-general": (f"{RUN}?include=general", still),
    "run-no-match": (f"{RUN}?q=zebra", still),
    "run-selected": (RUN, selected),
    "run-not-sent": (RUN, not_sent),
    "message": (RUN, alone),
    "agents-keys": ("/agents", keys),
    "agents-filtering": ("/agents?since=2026-05-04&state=failed", filtering),
    "agents-offline": ("/agents", offline),
    "agents-no-match": ("/agents?q=zebra", still),
    "search-no-match": ("/search?q=zebra", still),
    "not-found": ("/agents/general/zebra/zebra", still),
    "run-new": (f"/agents/{LONG}", new_below),
    "run-caught-up": (f"/agents/{LONG}", caught_up),
}


def _expect_state(page: Page, state: str) -> None:
    expect(page.locator(".badge")).to_have_attribute("data-state", state)


def _come_again(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('online'))")


def _tell(page: Page, name: str) -> None:
    wait_for(page, "sources.length > 0")
    topic = page.evaluate("new URL(sources.at(-1).url).searchParams.get('watch').split(' ').at(-1)")
    told = json.dumps({"reason": name, "topic": topic})
    page.evaluate(f"sources.at(-1).dispatchEvent(new MessageEvent('{name}', {{ data: '{told}' }}))")


def _say(database: str, number: int) -> None:
    now = datetime.now(UTC)
    insert(database, [message(now, "executor", "message", f"Row {n} is stored.", run=LONG) for n in range(number)])

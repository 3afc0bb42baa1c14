"""A run of 50,000 messages in a real browser: how soon it is there, how light it stays, how it bears what comes."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any
from urllib.request import urlopen

import click
import msgspec
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.bench import Bench
from tests.bench.figure import Figure, Results
from tests.bench.pacer import publish_steadily
from tests.browser import story
from tests.browser.conftest import DESK, chromium_program, launch
from tests.browser.rows import insert
from tests.browser.sights import NODES, wait_for
from tests.ingestion import Ingest
from tests.webserver import WebServer

MESSAGES = 50_000
RUN = "live"
UID = f"uid-{RUN}"
SCROLLS = 300
PROMPT = 100
RATE = 200
SECONDS = 20.0

# Notes when rows were first drawn, tasks that are long, how old a message is when it appears, how late a key is heard.
NOTES = """(() => {
  const notes = (globalThis.notes = { first: null, tasks: [], ages: [], keys: [] });
  const look = () => {
    if (!document.querySelector("[data-seq]")) requestAnimationFrame(look);
    else requestAnimationFrame(() => (notes.first = performance.now()));
  };
  requestAnimationFrame(look);
  new PerformanceObserver((list) => notes.tasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({ type: "longtask", buffered: true });
  addEventListener("keydown", (event) => notes.keys.push(performance.now() - event.timeStamp), true);
  addEventListener("DOMContentLoaded", () => new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const node of addedNodes) {
      const sent = node.dataset?.seq && /sent (\\d+)/.exec(node.textContent)?.[1];
      if (sent) requestAnimationFrame(() => notes.ages.push(Date.now() - Number(sent)));
    }
  }).observe(document.querySelector(".timeline"), { childList: true }));
})()"""


@dataclass(frozen=True)
class Opened:
    """A run that is opened and read upward."""

    first: Annotated[float, Figure("navigation to the first rows drawn", "ms", "≤ 1,000")]
    nodes: Annotated[float, Figure("DOM nodes, the most while scrolling", "", "≤ 6,000")]
    task: Annotated[float, Figure("the longest task while scrolling, with its waits for a core", "ms", "≤ 200")]
    computed: Annotated[float, Figure("the most computed in one task", "ms of the page's thread", "≤ 200")]
    memory: Annotated[float, Figure("private memory of the tab after it", "MB", "≤ 200")]
    read: Annotated[float, Figure("messages read upward", "messages")]


@dataclass(frozen=True)
class Prompt:
    """Messages one by one through NATS and the flow."""

    p50: Annotated[float, Figure("publish to drawn, p50", "ms")]
    p99: Annotated[float, Figure("publish to drawn, p99", "ms", "≤ 500")]


@dataclass(frozen=True)
class Busy:
    """Keys while many messages come."""

    p50: Annotated[float, Figure("a key is heard after, p50", "ms")]
    # As INP counts: of a hundred interactions the slowest two are chance.
    p98: Annotated[float, Figure("a key is heard after, p98", "ms", "≤ 100")]
    most: Annotated[float, Figure("a key is heard after, at most", "ms")]
    task: Annotated[float, Figure("the longest task, with its waits for a core", "ms")]
    computed: Annotated[float, Figure("the most computed in one task", "ms of the page's thread", "≤ 100")]
    nodes: Annotated[float, Figure("DOM nodes at the end", "", "≤ 6,000")]


def measure(bench: Bench) -> Results:
    """Open a long run, read it, and follow it while more comes."""
    program = chromium_program()
    if program is None:
        raise click.ClickException("room: Chromium is not installed")
    number = bench.messages(MESSAGES)
    with ExitStack() as ends:
        bench.stream.create()
        database = ends.enter_context(bench.database())
        now = datetime.now(UTC)
        told = story.long_run(now - timedelta(seconds=10), number, RUN)
        insert(database, [msgspec.structs.replace(message, workflow_uid=UID) for message in told])
        ends.enter_context(Ingest(bench.stream, database, bench.folder / "room-ingest.log"))
        settings = {"DATABASE_URL": database, "NATS_URL": bench.stream.url}
        web = ends.enter_context(WebServer(bench.folder / "web-room", settings))
        # By then it has read its templates, as one that serves people has.
        with urlopen(f"{web.url}/agents/{UID}") as answer:
            answer.read()
        playwright = ends.enter_context(sync_playwright())
        browser = launch(playwright, program)
        ends.callback(browser.close)
        with opened(browser, web, f"/agents/{UID}") as page:
            read = reading(browser, page)
        with opened(browser, web, f"/agents/{UID}") as page:
            prompt = one_by_one(bench, page)
            busy = while_many_come(bench, browser, page)
    return {
        f"a run of {number:,} messages": read,
        "one message at a time": prompt,
        f"{RATE} messages a second": busy,
    }


class Tasks:
    """What the main thread of a page computes within the context: unlike how long a task is, other work adds nothing.

    Attributes:
        most: in one task, milliseconds.
    """

    def __init__(self, browser: Browser, page: Page) -> None:
        self._browser = browser
        self._page = page
        self.most = 0.0

    def __enter__(self) -> "Tasks":
        self._browser.start_tracing(page=self._page, categories=["toplevel"])
        return self

    def __exit__(self, *_: object) -> None:
        events = msgspec.json.decode(self._browser.stop_tracing())["traceEvents"]
        mains = {
            (one["pid"], one["tid"])
            for one in events
            if one.get("name") == "thread_name" and one["args"].get("name") == "CrRendererMain"
        }
        tasks = [
            one["tdur"]
            for one in events
            if one["name"].endswith("RunTask") and (one["pid"], one["tid"]) in mains and "tdur" in one
        ]
        self.most = max(tasks) / 1_000


@contextmanager
def opened(browser: Browser, web: WebServer, path: str) -> Iterator[Page]:
    """Open a page that takes notes of itself."""
    width, height = DESK
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=web.url)
    context.add_init_script(NOTES)
    page = context.new_page()
    page.goto(path)
    wait_for(page, "notes.first !== null && document.querySelector('.badge').dataset.state !== 'connecting'")
    yield page
    context.close()


def notes(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.evaluate("JSON.stringify(notes)"))
    return found


def reading(browser: Browser, page: Page) -> Opened:
    """Scroll up, a screen at a time."""
    first = notes(page)["first"]
    page.evaluate("notes.tasks.length = 0")
    page.mouse.move(700, 500)
    nodes = 0
    with Tasks(browser, page) as tasks:
        for _ in range(SCROLLS):
            page.mouse.wheel(0, -800)
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            nodes = max(nodes, page.evaluate(NODES))
    read = page.evaluate("Number([...document.querySelectorAll('[data-seq]')][0].dataset.seq)")
    longest = max(notes(page)["tasks"], default=0.0)
    return Opened(first, nodes, longest, tasks.most, private_mb(browser, page), _count(page, read))


def _count(page: Page, first: int) -> float:
    return float(page.evaluate(f"Number(document.querySelector('.timeline').dataset.cursor) - {first}"))


def private_mb(browser: Browser, page: Page) -> float:
    """Return the private memory of the largest page's process."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return max(_private(int(one["id"])) for one in processes if one["type"] == "renderer")


def _private(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
    return kib * 1024 / 1e6


def one_by_one(bench: Bench, page: Page) -> Prompt:
    """Publish one message after the other and note how old each is when it is drawn."""
    subject = f"workflow.agents.{RUN}.{UID}.agent.executor.message"
    for number in range(PROMPT):
        payload = {"message_id": f"room-{number}", "content": f"Message {number}, sent {round(time.time() * 1000)}"}
        bench.stream.publish(subject, json.dumps(payload).encode())
        wait_for(page, f"notes.ages.length > {number}")
    cuts = quantiles(notes(page)["ages"], n=100, method="inclusive")
    return Prompt(cuts[49], cuts[98])


def while_many_come(bench: Bench, browser: Browser, page: Page) -> Busy:
    """Press keys while the page follows."""
    page.evaluate("notes.tasks.length = 0; notes.keys.length = 0")
    seconds = bench.seconds(SECONDS)
    with Tasks(browser, page) as tasks:
        pacer = publish_steadily(bench.stream.url, RUN, float(RATE), int(RATE * seconds))
        while pacer.poll() is None:
            for key in ("j", "k", "Shift+G", "?", "Escape"):
                page.keyboard.press(key)
                page.evaluate("new Promise((done) => setTimeout(done, 100))")
    taken = notes(page)
    heard, longest = taken["keys"], max(taken["tasks"], default=0.0)
    cuts = quantiles(heard, n=100, method="inclusive")
    return Busy(cuts[49], cuts[97], max(heard), longest, tasks.most, page.evaluate(NODES))

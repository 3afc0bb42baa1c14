"""The list of runs, and what isn't there."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect

from flows.message import Message
from flows.retention import prune
from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import KEEP_WORDS, OVERFLOW, expect_live, leaving, sequence
from tests.browser.test_every_page import AXE, VIOLATIONS
from tests.webserver import WebServer

# The reader's zone is UTC here.
IN_FULL = """(stamp) => {
  const date = { day: "2-digit", month: "short", year: "numeric" };
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" };
  return new Intl.DateTimeFormat("en-GB", { ...date, ...time }).format(new Date(stamp));
}"""


def now() -> datetime:
    """The time of a test, not of the file's loading: a run that has been silent since then would be stale."""
    return datetime.now(UTC)


def an_hour_ago() -> datetime:
    return now() - timedelta(hours=1)


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


@pytest.fixture
def sample(database: str) -> str:
    """Fill the database with the story."""
    insert(database, list(story.others(now())))
    insert(database, story.issue_119(now() - timedelta(seconds=130)))
    insert(database, story.room(now() - timedelta(minutes=9)))
    insert(database, story.hostile(an_hour_ago()))
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
    insert(database, [message(now(), "planner", "message", "Hello.", run="hello")])
    expect(page.locator("[data-run=hello] .words")).to_have_text("planner Hello.")
    expect(page.get_by_text("No runs yet.")).to_be_hidden()


def test_a_run_that_speaks_moves_to_the_top(database: str, open_page: OpenPage) -> None:
    for place, name in enumerate(("first", "second", "third")):
        insert(database, [message(an_hour_ago() + timedelta(seconds=place), "planner", "message", "Words.", run=name)])
    page = open_page("/agents")
    assert names(page) == ["third", "second", "first"]
    expect(page.locator("[data-shelf=stale] [data-run]")).to_have_count(3)
    expect_live(page)
    insert(database, [message(now(), "planner", "error", "It **broke**.", run="second")])
    expect(page.locator("[data-shelf=running] [data-run=second]")).to_be_visible()
    insert(database, [message(now() + timedelta(seconds=1), "planner", "error", "It **broke**.", run="first")])
    row = page.locator("[data-run=first]")
    expect(row.locator(".words")).to_have_text("planner It broke.")
    expect(row.locator(".counts")).to_contain_text("1 error")
    assert names(page) == ["third", "first", "second"]


def test_a_run_that_goes_silent_moves_by_itself(database: str, open_page: OpenPage) -> None:
    page = open_page("/agents")
    expect_live(page)
    soon_silent = now() - timedelta(minutes=15) + timedelta(seconds=5)
    insert(
        database,
        [
            message(soon_silent, "planner", "message", "Words.", run="silent"),
            message(now(), "planner", "message", "Words.", run="talks"),
        ],
    )
    expect(page.locator("[data-shelf=running] [data-run=talks]")).to_be_visible()
    expect(page.locator("[data-shelf=stale] [data-run=silent] .state")).to_have_text("stale")


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


def test_runs_of_several_namespaces_are_grouped_and_stay_so_as_they_change(sample: str, open_page: OpenPage) -> None:
    page = open_page("/agents")
    expect_live(page)
    groups = page.locator("[data-shelf=running] .group")

    def shown() -> list[tuple[str, list[str]]]:
        titles = groups.locator(".group-title").all_inner_texts()
        return [(title, groups.nth(at).locator(".name").all_inner_texts()) for at, title in enumerate(titles)]

    assert shown() == [("agents", ["codex-issue-119"]), ("research", ["nightly-benchmarks"])]
    insert(sample, [message(datetime.now(UTC), "x", "message", "x", run="one-more", workflow_namespace="research")])
    expect(groups.first).to_contain_text("one-more")
    assert shown() == [("research", ["one-more", "nightly-benchmarks"]), ("agents", ["codex-issue-119"])]
    insert(sample, [message(datetime.now(UTC), "x", "message", "x", run="new", workflow_namespace="plat\u202eform")])
    expect(groups).to_have_count(3)
    assert shown()[0] == ("plat\ufffdform", ["new"])
    insert(
        sample, [message(datetime.now(UTC), "x", "status", "failed", run="new", workflow_namespace="plat\u202eform")]
    )
    expect(groups).to_have_count(2)
    expect(page.locator("[data-shelf=failed] .group-title").first).to_have_text("plat\ufffdform")
    page.get_by_role("link", name="research", exact=True).first.click()
    page.wait_for_url("**workflowNamespace=research")
    assert names(page) == ["one-more", "nightly-benchmarks"]
    expect(page.locator(".group-title")).to_have_count(0)


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
    insert(sample, [message(now(), "planner", "message", "Elsewhere.", run="elsewhere")])
    insert(sample, [message(now(), "planner", "message", "Here.", run="here", workflow_namespace="platform")])
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


def stamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def pair(name: str, first: datetime, last: datetime) -> list[Message]:
    """Return what a run says first and last."""
    return [message(at, "planner", "message", "Words.", run=name) for at in (first, last)]


def test_the_list_is_filtered_by_the_time_in_which_runs_were_under_way(database: str, open_page: OpenPage) -> None:
    day = (now() - timedelta(days=9)).replace(hour=12, minute=0, second=0, microsecond=0)
    hours = [day + timedelta(hours=n) for n in range(8)]
    for name, first, last in (("early", 0, 1), ("long", 0, 7), ("within", 3, 4), ("late", 6, 7)):
        insert(database, pair(name, hours[first], hours[last]))
    page = open_page("/agents")
    page.get_by_text("Time", exact=True).click()
    page.get_by_label("From", exact=True).fill(f"{hours[2]:%Y-%m-%dT%H:%M}")
    # A time that is complete may not be the one that is meant yet.
    page.get_by_label("Until", exact=True).fill(f"{hours[5]:%Y-%m-%dT%H:%M}")
    assert page.url.endswith("/agents")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**since=**")
    assert names(page) == ["long", "within"]
    assert "q=" not in page.url
    chips = page.get_by_role("list", name="Namespaces and filters").locator(".chip > bdi")
    assert chips.all_inner_texts() == [page.evaluate(IN_FULL, stamp(at)) for at in (hours[2], hours[5])]
    twin = page.locator('link[type="application/json"]').get_attribute("href") or ""
    assert [run["workflow_uid"] for run in page.request.get(twin, max_retries=3).json()["runs"]] == ["long", "within"]
    # The other filters keep it.
    page.get_by_label("Find runs").fill("within")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=within**")
    assert names(page) == ["within"]
    page.get_by_role("link", name="with within remove").click()
    page.wait_for_url(lambda url: "q=" not in url)
    page.get_by_role("link", name="from").click()
    page.wait_for_url(lambda url: "since=" not in url)
    assert names(page) == ["long", "within", "early"]


def test_a_run_that_comes_while_the_list_is_open_comes_where_its_time_fits(database: str, open_page: OpenPage) -> None:
    begin = now() - timedelta(minutes=5)
    insert(database, pair("was-there", begin - timedelta(minutes=9), begin - timedelta(minutes=1)))
    page = open_page(f"/agents?since={stamp(begin)}&until={stamp(begin + timedelta(minutes=2))}")
    assert names(page) == []
    expect_live(page)
    within = begin + timedelta(minutes=1)
    insert(database, pair("later", begin + timedelta(minutes=2), now()))
    insert(database, pair("earlier", begin - timedelta(minutes=9), begin - timedelta(seconds=1)))
    insert(database, pair("fits", within, now()))
    expect(page.locator("[data-run=fits]")).to_be_visible()
    insert(database, [message(within, "planner", "message", "Words.", run="was-there")])
    expect(page.locator("[data-run=was-there]")).to_be_visible()
    assert sorted(names(page)) == ["fits", "was-there"]


def test_the_time_of_the_list_is_kept_from_page_to_page_and_needs_no_scripts(
    database: str, open_page: OpenPage
) -> None:
    begin = now() - timedelta(days=2)
    every = [f"run-{n:03}" for n in range(120)]
    insert(
        database,
        [message(begin + timedelta(minutes=n), "planner", "message", "x", run=name) for n, name in enumerate(every)],
    )
    page = open_page("/agents", java_script_enabled=False)
    page.get_by_text("Time", exact=True).click()
    page.get_by_label("From, UTC").fill(f"{begin + timedelta(minutes=10):%Y-%m-%dT%H:%M}")
    page.get_by_label("Until, UTC").fill(f"{begin + timedelta(minutes=90):%Y-%m-%dT%H:%M}")
    with page.expect_navigation():
        page.locator(".drawer").get_by_role("button", name="Show").click()
    found = names(page)
    while page.get_by_text("Older runs").is_visible():
        follow(page, page.get_by_text("Older runs"))
        found += names(page)
    # The fields have whole minutes, which the first of these began before, and the last of these before its end.
    assert found == every[10:90][::-1]


def test_what_ran_yesterday_or_last_night_is_one_choice_of_the_readers_own_days(
    database: str, open_page: OpenPage
) -> None:
    midnight = datetime(2026, 5, 4, tzinfo=timezone(timedelta(hours=9)))
    hours = {"before": (-40, -39), "noon": (-12, -11), "evening": (-2.5, -1.5), "morning": (5, 7), "today": (9, 10)}
    for name, (first, last) in hours.items():
        insert(database, pair(name, midnight + timedelta(hours=first), midnight + timedelta(hours=last)))
    page = open_page("/agents?q=planner", size=PHONE, timezone_id="Asia/Tokyo", bypass_csp=True)
    page.clock.set_fixed_time(midnight + timedelta(hours=11))
    for words, found in (
        ("Today", ["today", "morning"]),
        ("Yesterday", ["evening", "noon"]),
        ("Last night, 22:00 to 06:00", ["morning", "evening"]),
    ):
        page.locator(".more-filters > summary").click()
        with leaving(page):
            page.get_by_role("link", name=words, exact=True).click()
        assert names(page) == found
        # What else was asked for is kept, and the twin is asked for the same.
        expect(page.get_by_label("Find runs")).to_have_value("planner")
        twin = page.locator('link[type="application/json"]').get_attribute("href") or ""
        assert [run["workflow_uid"] for run in page.request.get(twin, max_retries=3).json()["runs"]] == found
    chips = page.get_by_role("list", name="Namespaces and filters").locator("time")
    assert chips.all_inner_texts() == ["03 May 2026, 22:00:00 GMT+9", "04 May 2026, 06:00:00 GMT+9"]
    page.locator(".more-filters > summary").click()
    page.evaluate(AXE)
    assert page.evaluate(f"{VIOLATIONS}({{}})") == []


def test_the_times_of_the_list_are_asked_for_in_the_readers_zone(database: str, open_page: OpenPage) -> None:
    midnight = datetime(2026, 5, 4, tzinfo=timezone(timedelta(hours=9)))
    for name, hours in (("evening", -2), ("noon", 12)):
        insert(database, pair(name, midnight + timedelta(hours=hours), midnight + timedelta(hours=hours + 1)))
    page = open_page("/agents", timezone_id="Asia/Tokyo")
    page.get_by_text("Time", exact=True).click()
    page.get_by_label("From", exact=True).fill("2026-05-04T12:30")
    page.get_by_label("Until", exact=True).fill("2026-05-04T14:00")
    expect(page.get_by_text("Times of Asia/Tokyo")).to_be_visible()
    page.locator(".drawer").get_by_role("button", name="Show").click()
    page.wait_for_url("**since=2026-05-04T03%3A30%3A00.000Z&until=2026-05-04T05%3A00%3A00.000Z")
    assert names(page) == ["noon"]
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-05-04T12:30")


def test_yesterday_is_that_of_utc_without_scripts(database: str, open_page: OpenPage) -> None:
    ago = {"before": (60, 49), "then": (25, 23), "now": (0, 0)}
    for name, (first, last) in ago.items():
        insert(database, pair(name, now() - timedelta(hours=first), now() - timedelta(hours=last)))
    page = open_page("/agents", java_script_enabled=False)
    page.get_by_text("Time", exact=True).click()
    expect(page.locator(".drawer noscript p")).to_be_visible()
    with page.expect_navigation():
        page.get_by_role("link", name="Yesterday").click()
    assert names(page) == ["then"]


def test_a_time_in_which_no_run_was_under_way_or_that_is_none_is_told(
    database: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    insert(database, pair("run-1", an_hour_ago(), now()))
    page = open_page("/agents?until=2026-05-04&q=run")
    empty = page.locator(".empty")
    expect(empty).to_contain_text("No run that fits was under way before 04 May 2026, 00:00:00 UTC.")
    expect(empty.get_by_role("link", name="Show all runs")).to_have_attribute("href", "/agents")
    empty.get_by_role("link", name="Show what fits of any time").click()
    page.wait_for_url("**/agents?q=run")
    assert names(page) == ["run-1"]
    page.goto("/agents?since=yesterday")
    expect(page.locator("main")).to_contain_text("since is a date or a time such as")
    page.goto("/agents?since=2026-05-04&until=2026-05-03")
    expect(page.locator("main")).to_contain_text("until is before since: nothing lies between them.")


def test_many_runs_are_pages(database: str, open_page: OpenPage) -> None:
    every = [f"run-{n:03}" for n in range(120)]
    insert(
        database,
        [
            message(an_hour_ago() + timedelta(seconds=n), "planner", "status", "completed", run=name)
            for n, name in enumerate(every)
        ],
    )
    page = open_page("/agents")
    found = names(page)
    while page.get_by_text("Older runs").is_visible():
        follow(page, page.get_by_text("Older runs"))
        expect(page.locator(".badge")).to_have_attribute("data-state", "paged")
        found += names(page)
    assert found == every[::-1]


def many(database: str) -> None:
    """Store more runs that wait for somebody than a page shows, and some that run."""
    ago = {"failed": 20, "silent": 90, "runs": 1}
    words = {"failed": ("status", "failed")}
    insert(
        database,
        [
            message(
                now() - timedelta(minutes=minutes, seconds=n), "planner", *words.get(name, ("message", "x")), run=run
            )
            for name, minutes in ago.items()
            for n, run in enumerate(f"{name}-{n:03}" for n in range({"failed": 12, "silent": 171, "runs": 4}[name]))
        ],
    )


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "none"])
def test_what_runs_is_on_the_first_page_and_every_number_is_of_all_runs(
    database: str, open_page: OpenPage, size: tuple[int, int], *, javascript: bool
) -> None:
    many(database)
    page = open_page("/agents", size=size, java_script_enabled=javascript)
    assert names(page) == [
        *(f"failed-{n:03}" for n in range(5)),
        *(f"silent-{n:03}" for n in range(5)),
        *(f"runs-{n:03}" for n in range(4)),
    ]
    assert page.locator(".totals .fact a").all_inner_texts() == ["12 failed", "171 silent", "4 running"]
    assert page.locator(".shelf:visible .count").all_inner_texts() == ["12", "171", "4"]
    expect(page.locator("[data-shelf=running] .all")).to_be_hidden()
    follow(page, page.get_by_role("link", name="Show all 171 silent"))
    found = names(page)
    while page.get_by_text("Older runs").is_visible():
        follow(page, page.get_by_text("Older runs"))
        found += names(page)
    assert found == [f"silent-{n:03}" for n in range(171)]
    # No heading of a page counts its rows.
    expect(page.locator(".shelf .count")).to_have_text("")


def test_the_numbers_of_the_list_are_right_as_runs_change(database: str, open_page: OpenPage) -> None:
    many(database)
    page = open_page("/agents")
    expect_live(page)
    insert(database, [message(now(), "planner", "message", "x", run=f"silent-{n:03}") for n in (2, 99)])
    insert(database, [message(now(), "planner", "status", "failed", run="runs-001")])
    expect(page.locator("[data-shelf=running] [data-run=silent-099]")).to_be_visible()
    facts = page.locator(".totals .fact a")
    expect(facts).to_have_text(["13 failed", "169 silent", "5 running"])
    expect(page.locator(".shelf:visible .count")).to_have_text(["13", "169", "5"])
    expect(page.locator("[data-shelf=stale] .all")).to_have_text("Show all 169 silent")
    # Of a shelf that is cut nothing may be left in the page.
    insert(database, [message(now(), "planner", "message", "x", run=f"silent-{n:03}") for n in range(5)])
    expect(page.locator("[data-shelf=stale] [data-run]")).to_have_count(0)
    expect(page.get_by_role("link", name="Show all 165 silent")).to_be_visible()
    insert(database, [message(now(), "planner", "status", "completed", run=f"failed-{n:03}") for n in range(12)])
    expect(page.locator("[data-shelf=failed] .count")).to_have_text("1")
    expect(page.locator("[data-shelf=failed] .all")).to_be_hidden()


@pytest.mark.usefixtures("sample")
def test_a_row_leads_to_its_run(open_page: OpenPage) -> None:
    page = open_page("/agents")
    page.locator("[data-run=nightly-benchmarks]").click(position={"x": 600, "y": 30})
    expect(page.get_by_role("heading", level=1)).to_have_text("nightly-benchmarks")
    assert "workflowNamespace=research" in page.url


def test_runs_of_the_same_name_are_told_apart(database: str, open_page: OpenPage) -> None:
    for at, uid in ((an_hour_ago(), "uid-old"), (now(), "uid-new")):
        insert(database, [message(at, "planner", "message", f"I am {uid}.", workflow_uid=uid, workflow_name="twin")])
    page = open_page("/agents/twin")
    expect(page.locator("[data-testid=timeline]")).to_contain_text("I am uid-new.")
    expect(page.locator(".others")).to_contain_text("1 other run has this name")
    page.locator(".others a").click()
    expect(page.locator("[data-testid=timeline]")).to_contain_text("I am uid-old.")


def test_a_run_that_calls_itself_by_the_name_of_another_stands_in_nobodys_way(
    database: str, open_page: OpenPage
) -> None:
    insert(database, [message(an_hour_ago(), "planner", "message", "I am the victim.", workflow_uid="victim")])
    insert(database, [message(now(), "planner", "message", "I am the thief.", workflow_uid="thief", run_id="victim")])
    page = open_page("/agents")
    page.locator("li[data-run=victim] a.name").click()
    expect(page.locator("[data-testid=timeline]")).to_contain_text("I am the victim.")
    # By a run id first, where only a name is asked for; the others are told of, and each link leads to its own run.
    page = open_page("/agents/victim")
    expect(page.locator("[data-testid=timeline]")).to_contain_text("I am the thief.")
    page.locator(".others a").click()
    expect(page.locator("[data-testid=timeline]")).to_contain_text("I am the victim.")


def test_who_waits_for_a_run_misses_nothing_of_what_was_pruned(
    database: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    insert(database, [message(an_hour_ago(), "planner", "message", "Gone.", run="run-1")])
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE workflow_comms.agent_messages SET created_at = now() - interval '1 year'")
    prune(database, now())
    page = open_page("/agents/not-yet", before=KEEP_WORDS)
    expect_live(page)
    page.evaluate("addEventListener('pagehide', () => (sessionStorage.said = said.join()))")
    # It follows the gap on the same connection.
    insert(database, [message(now(), "planner", "message", "Here I am.", run="not-yet")])
    expect(page.get_by_role("heading", level=1)).to_have_text("not-yet")
    assert "missing" not in page.evaluate("sessionStorage.said")


def test_an_unknown_run_is_waited_for(database: str, open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    page = open_page("/agents/not-yet")
    expect(page.get_by_role("heading", level=1)).to_have_text("No run is called “not-yet”")
    expect(page.locator(".badge")).to_contain_text("Waiting")
    expect(page.get_by_role("link", name="Show all runs")).to_be_visible()
    expect_live(page)
    insert(database, [message(now(), "planner", "message", "Here I am.", run="not-yet")])
    expect(page.get_by_role("heading", level=1)).to_have_text("not-yet")
    expect(page.locator("[data-testid=timeline]")).to_contain_text("Here I am.")


def test_hostile_words_run_nothing_and_ask_nobody(sample: str, open_page: OpenPage) -> None:
    for path in ("/agents", "/agents/hostile", "/agents/general"):
        page = open_page(path, size=PHONE)
        expect_live(page)
        insert(sample, story.hostile(an_hour_ago()))
        for channel in ("run", "general"):
            over = message(datetime.now(UTC), "planner", "message", "Over.", channel=channel, run="hostile")
            insert(sample, [over])
        expect(page.get_by_text("Over.").first).to_be_attached()
        assert page.evaluate("window.hurt") is None
        assert page.evaluate(OVERFLOW) <= 0
        assert page.locator("[data-seq=\\31 ]").count() <= 1


def test_a_long_name_fits_where_a_page_tells_whose_it_is(database: str, open_page: OpenPage) -> None:
    name = "n" * 200
    [place] = insert(database, [message(now(), name, "message", "Hello.", run="long-name", workflow_name=name)])
    page = open_page("/agents", size=PHONE)
    for path in ("/agents", "/agents/long-name", "/agents/long-name/changes", f"/agents/long-name/message/{place}"):
        page.goto(path)
        expect(page.locator("main").get_by_text(name).first).to_be_attached()
        assert page.evaluate(OVERFLOW) <= 0, path


def test_without_scripts_everything_can_be_read(database: str, open_page: OpenPage) -> None:
    places = insert(database, story.long_run(now(), 150))
    page = open_page("/agents", java_script_enabled=False)
    expect(page.locator(".badge")).to_have_text("as it was when the page was loaded")
    follow(page, page.locator("[data-run] .name"))
    expect(page.locator(".badge")).to_have_text("as it was when the page was loaded")
    read = sequence(page)
    earlier = page.get_by_role("link", name="Earlier messages")
    while earlier.count():
        follow(page, earlier)
        read = sequence(page) + read
    assert read == places
    follow(page, page.get_by_role("link", name="To the newest messages"))
    assert sequence(page) == places[-60:]


def follow(page: Page, link: Locator) -> None:
    with page.expect_navigation():
        link.click()

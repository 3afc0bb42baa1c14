"""Signing in and out, as people do."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE, OpenPage, Witness
from tests.browser.sights import OVERFLOW, expect_live
from tests.readers import Readers
from tests.webserver import WebServer
from tests.writers import Writer


@pytest.fixture
def web(guarded: WebServer) -> WebServer:
    return guarded


def test_a_reader_signs_in_watches_and_is_signed_out(
    open_page: OpenPage, witness: Witness, database: str, readers: Readers
) -> None:
    # Whoever isn't known gets a page under 401, and later no stream.
    witness.is_loading_tolerated = True
    readers.add("alice", "agents")
    with Writer(database) as writer:
        writer.say("hello")
        writer.say("not for her", workflow_namespace="others", run="run-2")
        page = open_page("/agents/run-1?workflowNamespace=agents")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("Nobody has this token.")
        page.get_by_label("Token").fill("token-of-alice")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/agents/run-1[?]workflowNamespace=agents$"))
        expect(page.get_by_test_id("timeline").locator("[data-seq]")).to_have_count(1)
        expect_live(page)
        writer.say("live")
        expect(page.get_by_test_id("timeline").locator("[data-seq]")).to_have_count(2)
        assert page.context.cookies()[0].get("httpOnly") is True
        assert page.evaluate("document.cookie") == ""
        page.goto("/agents")
        expect(page.get_by_text("Signed in as alice")).to_be_visible()
        expect(page.locator("[data-run]")).to_have_count(1)
        # What she may not open isn't offered.
        expect(page.get_by_role("navigation", name="Places").get_by_role("link")).to_have_text(
            ["agent-comms", "Agents", "General", "Search"]
        )
        expect_live(page)
        readers.remove("alice")
        expect(page.locator("[data-state]").first).to_have_attribute("data-state", "signed-out")
        page.get_by_role("link", name="Reload").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        readers.add("alice", "agents", token="another")
        page.get_by_label("Token").fill("another")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert page.context.cookies() == []


def test_the_form_fits_a_phone_and_works_without_scripts(open_page: OpenPage, readers: Readers) -> None:
    readers.add("alice", "agents")
    page = open_page("/sign-in", size=PHONE, java_script_enabled=False)
    page.get_by_label("Token").fill("token-of-alice")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Agents")
    page = open_page("/sign-in", size=PHONE)
    assert page.evaluate(OVERFLOW) <= 0

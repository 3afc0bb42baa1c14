"""Who may read."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.settings import SettingError, Settings
from web.access import check_access, host_names, is_loopback


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "/run/agent-comms.sock"])
def test_these_addresses_are_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "", "localhost.example.org", "127.0.0.1.example.org"])
def test_these_addresses_may_be_anybodys(address: str) -> None:
    assert not is_loopback(address)


def test_without_readers_only_this_machine_is_served() -> None:
    check_access(Settings(agent_comms_host="::1"), "127.0.0.1")
    with pytest.raises(SettingError, match="AGENT_COMMS_AUTH"):
        check_access(Settings(agent_comms_host="0.0.0.0"))
    with pytest.raises(SettingError, match=r"'0\.0\.0\.0'"):
        check_access(Settings(), "0.0.0.0")


def test_hosts_are_names_and_addresses() -> None:
    names = host_names(" Agents.Example.com,other_name ,10.0.0.7, [::1],::2,, xn--bcher-kva.example")
    assert names == {
        "agents.example.com",
        "other_name",
        "10.0.0.7",
        "::1",
        "::2",
        "xn--bcher-kva.example",
    }


@pytest.mark.parametrize(
    "word",
    [
        "http://agents.example.com",
        "a b",
        "*",
        "*.example.com",
        "agents.example.com:443",
        "a/b",
        "a..b",
        ".a",
        "-a",
        "ü",
    ],
)
def test_a_host_by_which_nobody_would_be_let_in_is_refused(word: str) -> None:
    with pytest.raises(SettingError) as raised:
        check_access(Settings(agent_comms_hosts=f"good.example,{word}"))
    assert str(raised.value).startswith("AGENT_COMMS_HOSTS: it takes host names")
    assert str(raised.value).endswith(f"but got {word!r}")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(agent_comms_auth="token"), "AGENT_COMMS_READERS_FILE: it is needed with AGENT_COMMS_AUTH `token`"),
        (Settings(agent_comms_auth="proxy"), "AGENT_COMMS_PROXY_ADDRESSES: it is needed with AGENT_COMMS_AUTH `proxy`"),
        (
            Settings(agent_comms_auth="proxy", agent_comms_proxy_addresses="10.0.0.0/8, x.example"),
            "AGENT_COMMS_PROXY_ADDRESSES: it takes addresses .* but got 'x.example'",
        ),
        (
            Settings(agent_comms_auth="token", agent_comms_readers_file=Path("/nowhere")),
            "AGENT_COMMS_READERS_FILE: No such file or directory",
        ),
    ],
)
def test_readers_need_to_be_known(settings: Settings, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        check_access(settings)


def test_with_readers_it_may_listen_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "readers.toml"
    file.write_text("[[group]]\nname = 'a'\nnamespaces = ['*']\n", encoding="utf-8")
    check_access(Settings(agent_comms_auth="token", agent_comms_readers_file=file, agent_comms_host="0.0.0.0"))


def test_nothing_is_imported_that_looks_at_what_gevent_patches() -> None:
    program = "import sys, web.access; print([n for n in sys.modules if n.split('.')[0] in ('flask', 'psycopg')])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"

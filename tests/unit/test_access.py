"""Who may read."""

import pytest

from flows.settings import SettingError, Settings
from web.access import check_access, is_loopback


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


@pytest.mark.parametrize("auth", ["token", "proxy"])
def test_what_is_not_available_is_refused_rather_than_left_open(auth: str) -> None:
    with pytest.raises(SettingError, match=f"`{auth}` is not available"):
        check_access(Settings(agent_comms_auth=auth))  # type: ignore[arg-type]  # one of its words

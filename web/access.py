"""Who may read."""

import ipaddress

from flows.settings import SettingError, Settings


def check_access(settings: Settings, *addresses: str) -> None:
    """Refuse to serve other machines without asking who they are.

    Args:
        settings: what was set.
        addresses: where the server listens besides AGENT_COMMS_HOST.

    Raises:
        SettingError: AGENT_COMMS_AUTH doesn't go with where the server listens, or isn't available.
    """
    if settings.agent_comms_auth != "none":
        message = (
            f"AGENT_COMMS_AUTH: `{settings.agent_comms_auth}` is not available in this version;"
            " it takes `none`, and AGENT_COMMS_HOST a loopback address"
        )
        raise SettingError(message)
    for address in (settings.agent_comms_host, *addresses):
        if not is_loopback(address):
            message = f"AGENT_COMMS_AUTH: `none` takes a loopback address to listen on, but got {address!r}"
            raise SettingError(message)


def author() -> str | None:
    """Return who asks, for what they say; None where nobody is asked who they are."""
    return None


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address; a path is a Unix socket."""
    if address == "localhost" or address.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False

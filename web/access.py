"""Whether the web may listen where it is to, and what it knows of those who come.

gunicorn's configuration imports this before gevent has patched anything: no driver and no framework may be imported
from here, since they look at what is patched when they are.
"""

import ipaddress

from flows.settings import SettingError, Settings
from web.roster import Roster

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_access(settings: Settings, *addresses: str) -> None:
    """Refuse to serve other machines without asking who they are.

    Args:
        settings: what was set.
        addresses: where the server listens besides AGENT_COMMS_HOST.

    Raises:
        SettingError: AGENT_COMMS_AUTH doesn't go with where the server listens, or lacks what it needs.
    """
    if roster_of(settings) is not None:
        return
    for address in (settings.agent_comms_host, *addresses):
        if not is_loopback(address):
            message = f"AGENT_COMMS_AUTH: `none` takes a loopback address to listen on, but got {address!r}"
            raise SettingError(message)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address; a path is a Unix socket."""
    if address == "localhost" or address.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def roster_of(settings: Settings) -> Roster | None:
    """Return who may read what; None where nobody is asked who they are.

    Raises:
        SettingError: AGENT_COMMS_AUTH lacks what it needs.
    """
    if settings.agent_comms_auth == "none":
        return None
    if settings.agent_comms_auth == "proxy" and not networks(settings.agent_comms_proxy_addresses):
        message = "AGENT_COMMS_PROXY_ADDRESSES: it is needed with AGENT_COMMS_AUTH `proxy`, and is empty"
        raise SettingError(message)
    if settings.agent_comms_readers_file is None:
        message = f"AGENT_COMMS_READERS_FILE: it is needed with AGENT_COMMS_AUTH `{settings.agent_comms_auth}`"
        raise SettingError(message)
    return Roster(settings.agent_comms_readers_file)


def networks(text: str) -> list[Network | None]:
    """Read AGENT_COMMS_PROXY_ADDRESSES; None stands for Unix sockets.

    Raises:
        SettingError: one is no address.
    """
    found: list[Network | None] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            found.append(None if word == "unix" else ipaddress.ip_network(word))
        except ValueError:
            message = (
                "AGENT_COMMS_PROXY_ADDRESSES: it takes addresses and networks such as 10.0.0.0/8, and `unix`, but got"
                f" {word!r}"
            )
            raise SettingError(message) from None
    return found

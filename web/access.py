"""Whether the web may listen where it is to, and what it knows of those who come.

gunicorn's configuration imports this before gevent has patched anything: no driver and no framework may be imported
from here, since they look at what is patched when they are.
"""

import ipaddress
import re

from flows.settings import SettingError, Settings
from web.roster import Roster

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# One part of a host's name, as browsers ask for it.
_LABEL = re.compile("[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")


def check_access(settings: Settings, *addresses: str) -> None:
    """Refuse to serve other machines without asking who they are.

    Args:
        settings: what was set.
        addresses: where the server listens besides AGENT_COMMS_HOST.

    Raises:
        SettingError: AGENT_COMMS_AUTH doesn't go with where the server listens, or lacks what it needs, or
            AGENT_COMMS_HOSTS holds what is no name.
    """
    host_names(settings.agent_comms_hosts)
    if roster_of(settings) is not None:
        return
    for address in (settings.agent_comms_host, *addresses):
        if not is_loopback(address):
            message = f"AGENT_COMMS_AUTH: `none` takes a loopback address to listen on, but got {address!r}"
            raise SettingError(message)


def host_names(text: str) -> frozenset[str]:
    """Read AGENT_COMMS_HOSTS, in small letters and without the brackets of an address.

    Raises:
        SettingError: one is no name that a browser would ask for: nobody would be let in by it.
    """
    found = set()
    for word in filter(None, (word.strip() for word in text.split(","))):
        name = word.lower().removeprefix("[").removesuffix("]")
        if not (all(map(_LABEL.fullmatch, name.split("."))) or _is_address(name)):
            message = (
                "AGENT_COMMS_HOSTS: it takes host names such as agents.example.com, without scheme, port and *, but got"
                f" {word!r}"
            )
            raise SettingError(message)
        found.add(name)
    return frozenset(found)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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

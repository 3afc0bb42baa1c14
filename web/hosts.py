"""Which host names the web answers to: a page of another name could be made to lead to us, and read what we say."""

import ipaddress
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, request

from flows.settings import Settings
from web.access import host_names
from web.problems import Problem

# Whoever asks whether we live, or what we measure, knows our address only.
_ASKED_BY_ADDRESS = ("/healthz", "/readyz", "/metrics")

# No name has any of these; what reads addresses would take what stands beside them for it.
_ODD = frozenset("@/?#\\")


def install(app: Flask, settings: Settings) -> None:
    """Have an app refuse what is asked under a name that is none of its own."""
    names = host_names(settings.agent_comms_hosts)
    if not names and settings.agent_comms_auth != "none":
        return

    def check() -> None:
        if request.path in _ASKED_BY_ADDRESS and settings.agent_comms_auth != "none":
            return
        host = request.headers.get("Host", "")
        name = _name(host)
        # A browser always says one.
        if host and (name is None or not (name in names or _is_near(name))):
            message = "Host: this server has another name; AGENT_COMMS_HOSTS lists its names."
            raise Problem(message, "Host", HTTPStatus.MISDIRECTED_REQUEST)

    app.before_request(check)


def _name(host: str) -> str | None:
    if not _ODD.isdisjoint(host):
        return None
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_near(name: str) -> bool:
    """Whether a name is loopback's, or has no dot: nobody can get such a one to have it lead here."""
    if name.endswith(".localhost") or not {".", ":"} & set(name):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

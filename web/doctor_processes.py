"""The doctor's look at the web and the flow: whether they answer, and what they say of themselves."""

import http.client
import json
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from flows.exposition import LASTING_PORT
from flows.settings import Settings
from flows.target import target_of
from flows.waits import NO_CONNECTION, UNANSWERED
from web.finding import Finding, failing, ok, skipped, warning

ANSWER_S = 4.0
MOST_BYTES = 4 * 1024 * 1024
# What keeps a flow from storing, by the class of Postgres' error code.
_TROUBLES = {
    UNANSWERED: "Postgres does not answer what it stores: frozen, or a lock of somebody's",
    "25": "Postgres takes no writes: it is read-only",
    "42": "Postgres refuses what it stores: a table, a column or a right is missing",
    "53": "Postgres refuses what it stores: there is no disk, memory or connection left",
}


def check_web(settings: Settings) -> Finding:
    """Look whether the web answers, and is ready."""
    url = settings.agent_comms_url or f"http://{_reachable(settings.agent_comms_host)}:{settings.agent_comms_port}"
    try:
        status, body = _get(url, "/readyz")
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = f"{_shown(url)} doesn't answer: {error or type(error).__name__}"
        if settings.agent_comms_url:
            return failing("web", why, "check AGENT_COMMS_URL, and whether the web runs and can be reached from here")
        return warning("web", why, "start it, or set AGENT_COMMS_URL to where it is")
    if status == http.client.OK and _is_ready(body):
        return ok("web", f"{_shown(url)} is ready")
    return failing("web", f"{_shown(url)}: {_unready(status, body)}", "repair what it names")


def _is_ready(body: bytes) -> bool:
    # Some other server may answer to any path.
    try:
        said = json.loads(body)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("ready") is True


def _unready(status: int, body: bytes) -> str:
    try:
        said = json.loads(body)
        if said.get("draining"):
            return "it is about to end"
        checks = said["checks"].items()
        return "; ".join(f"{name} is {check['state']}: {check.get('error')}" for name, check in checks if _fails(check))
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"/readyz answers {status}: is this the web of agent-comms?"


def _fails(check: dict[str, str]) -> bool:
    return check["state"] != "ok"


def check_flow(settings: Settings) -> Finding:
    """Look whether a flow tells its metrics here."""
    port = LASTING_PORT if settings.agent_comms_metrics_port is None else settings.agent_comms_metrics_port
    if not port:
        return skipped("flow", "AGENT_COMMS_METRICS_PORT is 0, so it tells nothing")
    url = f"http://{_reachable(settings.agent_comms_metrics_host)}:{port}"
    try:
        status, body = _get(url, "/metrics")
    except (OSError, http.client.HTTPException, ValueError):
        return skipped("flow", f"no metrics at {url}; the consumer's lag says whether somebody pulls")
    if status != http.client.OK or b"agent_comms_messages_received_total" not in body:
        todo = "choose another AGENT_COMMS_METRICS_PORT for the flow"
        return warning("flow", f"something else answers at {url}", todo)
    told = _told_target(body)
    ours = target_of(settings)
    if others := [f"{told[what]} and not {name}" for what, name in ours.items() if told.get(what, name) != name]:
        todo = "set AGENT_COMMS_METRICS_PORT to where this set-up's flow tells its metrics; `up` says it at its start"
        return warning("flow", f"the flow at {url} is another set-up's: it uses {', '.join(others)}", todo)
    if wrong := _told_troubles(body):
        return failing("flow", f"{url} tells that {' and '.join(wrong)}", "see its log")
    return ok("flow", f"{url} tells its metrics")


def _told_troubles(body: bytes) -> list[str]:
    waits = [why for why in _waits(body) if why != NO_CONNECTION]
    unconnected = [to for to in ("nats", "postgres") if f'agent_comms_connected{{to="{to}"}} 0.0'.encode() in body]
    return [
        *(f"it has no connection to {to}" for to in unconnected if to == "nats" or not waits),
        *(_TROUBLES.get(why, f"Postgres refuses what it stores, by an error of class {why}") for why in waits),
    ]


def _waits(body: bytes) -> list[str]:
    for family in text_string_to_metric_families(body.decode(errors="replace")):
        if family.name == "agent_comms_store_waits":
            return [sample.labels["class"] for sample in family.samples if sample.value]
    return []


def _told_target(body: bytes) -> dict[str, str]:
    for family in text_string_to_metric_families(body.decode(errors="replace")):
        if family.name == "agent_comms_flow_target_info":
            return family.samples[0].labels
    return {}


def _reachable(host: str) -> str:
    """Return where a server that listens on an address can be reached from its own machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  # not listened on
    return f"[{host}]" if ":" in host else host


def _get(url: str, path: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES)
    finally:
        connection.close()


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

"""The doctor's look at the settings: what they hold, whether they could work, and until when."""

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from flows.database import conninfo
from flows.expiry import expiries
from flows.nats import nats_options
from flows.redact import redactor_of
from flows.settings import SettingError, Settings
from web.access import check_access
from web.finding import Finding, failing, ok, skipped, warning

DAY_S = 86_400
SOON_S = 14 * DAY_S
LEAST_FREE_BYTES = 256 * 1024 * 1024
# What Kubernetes puts into every container for a Service whose name begins like ours, and what tests are told.
_NOT_OURS = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP).*)?$|^AGENT_COMMS_REQUIRE_")
_SECRET_FILES = ("nats_creds_file", "nats_nkey_seed_file", "nats_key_file", "agent_comms_readers_file")


def read_settings(environ: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """Read the settings; None where they can't be used, and what was found."""
    try:
        settings = Settings.from_env(environ)
        nats_options(settings, "agent-comms-doctor")
        conninfo(settings, "agent-comms-doctor")
        redactor_of(settings)
        check_access(settings)
    except SettingError as error:
        return None, [failing("settings", str(error), "correct this variable; `agent-comms settings` lists all")]
    names = [field.name.upper() for field in msgspec.structs.fields(Settings)]
    given = [name for name in names if environ.get(name, "").strip()]
    text = f"{len(given)} of {len(names)} are set{': ' if given else ''}{', '.join(given)}"
    return settings, [ok("settings", text), *_unknown(environ, names), *_open_files(settings)]


def _unknown(environ: Mapping[str, str], names: list[str]) -> Iterator[Finding]:
    for name in sorted(environ):
        if name.startswith("AGENT_COMMS_") and name not in names and not _NOT_OURS.search(name):
            todo = "correct its name, or take it away; `agent-comms settings` lists all"
            yield warning("settings", f"{name} is no setting", todo)


def _open_files(settings: Settings) -> Iterator[Finding]:
    for name in _SECRET_FILES:
        path = getattr(settings, name)
        if path is not None and path.exists() and path.stat().st_mode & stat.S_IROTH:
            yield warning("settings", f"{name.upper()}: {path} can be read by everybody", f"chmod o-r {path}")


def check_expiry(settings: Settings) -> list[Finding]:
    """Look at until when the credentials for NATS are good."""
    found = []
    for name, at in expiries(settings).items():
        todo = f"renew it and replace what {name.upper()} holds; it is read anew at each connect"
        found.append(until("expiry", name.upper(), at, todo))
    return found or [skipped("expiry", "no credential is set that ends some day")]


def until(check: str, what: str, at: float, todo: str) -> Finding:
    """Say how long something is good; `at` is its end, seconds since the Unix epoch."""
    left = at - time.time()
    if left <= 0:
        return failing(check, f"{what} has ended {-left / DAY_S:.1f} days ago", todo)
    if left < SOON_S:
        return warning(check, f"{what} ends in {left / DAY_S:.1f} days", todo)
    return ok(check, f"{what} is good for {left / DAY_S:,.0f} days")


def check_disk(settings: Settings) -> list[Finding]:
    """Look at where this process may have to write: the publisher's spool, and temporary files."""
    places = {"temporary files": Path(tempfile.gettempdir())}
    if settings.agent_comms_spool_dir:
        places["AGENT_COMMS_SPOOL_DIR"] = settings.agent_comms_spool_dir
    return [_check_place(name, path, settings.agent_comms_spool_bytes) for name, path in places.items()]


def _check_place(name: str, path: Path, spool_bytes: int) -> Finding:
    there = path
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        return failing("disk", f"{name}: {there} can't be written to", "give this user the right, or choose another")
    free = shutil.disk_usage(there).free
    text = f"{name}: {free / 1e9:,.1f} GB free at {there}"
    if free < max(spool_bytes, LEAST_FREE_BYTES):
        return warning("disk", text, "make room: what NATS doesn't take for a while is kept there")
    return ok("disk", text)

"""Log lines: one event a line, as logfmt or JSON, on stderr.

What a line is about stands in fields of its own, given as `extra`: `run`, `message_id`, `stream_seq` and the like; and
in `todo` what to do about it, which every warning has. What is said again and again is said once a minute, with
how often it was said in between in `repeated`.
"""

import atexit
import json
import logging
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime
from importlib.metadata import version
from types import TracebackType

from flows.hiding import hide, secrets_of
from flows.settings import LogFormat, Settings

log = logging.getLogger(__name__)

AGAIN_S = 60.0
MOST_KNOWN = 512
# What a record has by itself; all else are fields.
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """Writes a record as one line of `key=value` pairs, or as one JSON object.

    Args:
        style: which of the two.
        secrets: what must be on no line.
    """

    def __init__(self, style: LogFormat, secrets: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._as_json = style == "json"
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _OWN and value is not None}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        line = _as_json(fields) if self._as_json else _as_logfmt(fields)
        return hide(line, self._secrets)


class Repetition(logging.Filter):
    """Lets a warning through once a minute, however often it is said; numbers in it don't make it another one."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        # When it was let through last, and how often it was said since.
        self._known: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is written; it is told how often it was not."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, re.sub(r"\d+", "0", record.getMessage())[:500])
        now = time.monotonic()
        with self._lock:
            said_at, times = self._known.get(key, (-AGAIN_S, 0))
            if now - said_at < AGAIN_S:
                self._known[key] = (said_at, times + 1)
                return False
            self._known[key] = (now, 0)
            self._known.move_to_end(key)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        if times:
            record.repeated = times
        return True


def set_up(settings: Settings) -> None:
    """Send this process's log to stderr in the form that the settings ask for, what nobody has caught too."""
    handler = logging.StreamHandler()
    dress(handler, settings)
    logging.basicConfig(level=settings.agent_comms_log_level.upper(), handlers=[handler], force=True)
    # It warns of errors that it ignores behind one that it raises, and that one is told.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda thrown: _log_uncaught(thrown.exc_type, thrown.exc_value, thrown.exc_traceback)


def dress(handler: logging.Handler, settings: Settings) -> None:
    """Have a handler write lines as the settings ask for."""
    handler.setFormatter(LineFormatter(settings.agent_comms_log_format, frozenset(secrets_of(os.environ))))
    handler.addFilter(Repetition())


def tell_life(program: str) -> None:
    """Log that a program begins, and, in the end, that it is over."""
    log.info("%s: starts", program, extra={"version": version("agent-comms"), "pid": os.getpid()})
    atexit.register(lambda: log.info("%s: has ended", program, extra={"pid": os.getpid()}))


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, SystemExit):
        return
    if issubclass(kind, KeyboardInterrupt) or error is None:
        sys.__excepthook__(kind, error or kind(), trace)
        return
    todo = "this is a defect: report it with this line"
    log.critical("uncaught: %s", error, exc_info=(kind, error, trace), extra={"todo": todo})


def _as_json(fields: dict[str, object]) -> str:
    line = json.dumps(fields, ensure_ascii=False, default=str)
    # What moves a terminal's cursor, or ends a line for some, is none of it.
    return line if line.isprintable() else json.dumps(fields, default=str)


def _as_logfmt(fields: dict[str, object]) -> str:
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def _quoted(value: str) -> str:
    if not value.isprintable():
        return json.dumps(value)
    plain = value and not any(char in value for char in ' "=\\')
    return value if plain else json.dumps(value, ensure_ascii=False)

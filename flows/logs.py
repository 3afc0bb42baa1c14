"""Log lines: one event a line, as logfmt or JSON, on stderr."""

import json
import logging
from datetime import UTC, datetime

from flows.settings import LogFormat, Settings


class LineFormatter(logging.Formatter):
    """Writes a record as one line of `key=value` pairs, or as one JSON object."""

    def __init__(self, style: LogFormat) -> None:
        super().__init__()
        self._as_json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        if self._as_json:
            return json.dumps(fields, ensure_ascii=False)
        return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: str) -> str:
    plain = value and not any(char in value for char in ' "=\n\r\t\\')
    return value if plain else json.dumps(value, ensure_ascii=False)


def set_up(settings: Settings) -> None:
    """Send this process's log to stderr in the form that the settings ask for."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(settings.agent_comms_log_format))
    logging.basicConfig(level=settings.agent_comms_log_level.upper(), handlers=[handler], force=True)

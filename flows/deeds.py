"""What operators did from a shell, noted in `workflow_comms.audit_log` beside what people did in the pages."""

import getpass
import json
import logging
import socket

import psycopg

import sql
from flows.text import storable_json

log = logging.getLogger(__name__)


def note_deed(conninfo: str, action: str, **details: object) -> None:
    """Note that whoever runs this process did something; never raises, since it is done.

    Args:
        conninfo: any libpq connection string.
        action: what, such as `pruned`.
        details: what else there is to say, no secret among it.
    """
    values = {
        "who": _user(),
        "how": "shell",
        "source": socket.gethostname(),
        "action": action,
        "namespace": None,
        "target": None,
        "details": json.dumps(storable_json(details), default=str),
    }
    try:
        with psycopg.connect(conninfo) as connection:
            connection.execute(sql.query("note_deed"), values)
    except psycopg.Error as error:
        todo = "run `agent-comms migrate`, where the table is missing"
        log.warning("audit: %s was not noted: %s", action, " ".join(str(error).split()), extra={"todo": todo})


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container the user may have a number alone.
        return "unknown"

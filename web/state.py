"""The folder of a local set-up: who works in it, its ports, and what tells others where things are."""

import fcntl
import json
import os
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from connectors.loopback import free_port, is_free
from connectors.private import write_private
from web.failure import Failure

# What an `up` that was killed has left behind needs a moment to end.
GRACE_S = 10.0
POLL_S = 0.05


class State:
    """A folder that one `agent-comms up` works in at a time.

    Attributes:
        lock: a descriptor; the folder is taken as long as any process has it open. The programs inherit it,
            so that after an `up` that was killed the next one waits until they are gone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.lock = -1

    @property
    def env_file(self) -> Path:
        """Where the addresses are written while everything runs."""
        return self.folder / "up.env"

    @property
    def logs(self) -> Path:
        """Where each program's output is."""
        return self.folder / "logs"

    def __enter__(self) -> Self:
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            self.lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            text = f"{self.folder}: {error.strerror}; choose another folder with --state"
            raise Failure(text) from error
        try:
            self._take()
        except BaseException:
            os.close(self.lock)
            raise
        self.forget_addresses()
        return self

    def __exit__(self, *_: object) -> None:
        self.forget_addresses()
        os.close(self.lock)

    @property
    def _lock_file(self) -> Path:
        return self.folder / "up.lock"

    def _take(self) -> None:
        deadline = time.monotonic() + GRACE_S
        while not self._try_to_take():
            pid = os.pread(self.lock, 32, 0).decode()
            if _is_alive(pid):
                text = f"{self.folder} is in use by another `agent-comms up`, process {pid}"
                raise Failure(text)
            if time.monotonic() > deadline:
                text = f"{self.folder} is still in use by servers that process {pid or '?'} left behind"
                raise Failure(text)
            time.sleep(POLL_S)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, str(os.getpid()).encode(), 0)

    def _try_to_take(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def port(self, name: str) -> int:
        """Return the port that a server had before, or a free one; it is remembered."""
        ports = self._ports()
        if not is_free(ports.get(name, 0)) or name not in ports:
            ports[name] = free_port()
            self._ports_file.write_text(json.dumps(ports), encoding="utf-8")
        return ports[name]

    @property
    def _ports_file(self) -> Path:
        return self.folder / "ports.json"

    def _ports(self) -> dict[str, int]:
        with suppress(OSError, ValueError, AttributeError):
            found = json.loads(self._ports_file.read_text(encoding="utf-8"))
            return {name: port for name, port in found.items() if type(port) is int and 0 < port < 2**16}
        return {}

    def tell_addresses(self, addresses: dict[str, str]) -> None:
        """Write the addresses as lines of KEY=value, for this user only, and whole from the first moment."""
        write_private(self.env_file, "".join(f"{name}={shlex.quote(value)}\n" for name, value in addresses.items()))

    def forget_addresses(self) -> None:
        """Remove the addresses: nothing is there any more."""
        self.env_file.unlink(missing_ok=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True

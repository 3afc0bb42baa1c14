"""Tells when files may have changed: at once where the system has inotify, by looking otherwise."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Network and overlay file systems don't tell of what others write.
LOOK_ANYWAY_S = 1.0
# Without inotify: how often is looked, while something happens and when nothing has for a while.
LOOK_SOON_S = 0.01
LOOK_LATER_S = 0.1
CALM_AFTER = 200


class FileWatch:
    """Watches some paths, which need not exist.

    Args:
        paths: of files.
        use_inotify: otherwise files are looked at again and again.
    """

    def __init__(self, paths: Iterable[Path], *, use_inotify: bool = True) -> None:
        self._paths = list(paths)
        self._inotify: Any = _inotify() if use_inotify and self._paths else None
        self._watches: dict[Path, int] = {}
        self._quiet = 0
        self.refresh()

    def fileno(self) -> int | None:
        """Return what becomes readable at a change; None where nothing does."""
        return int(self._inotify.fileno()) if self._inotify is not None else None

    def refresh(self) -> None:
        """Watch what bears the paths' names now."""
        if self._inotify is None:
            return
        from inotify_simple import flags

        beside = flags.CREATE | flags.MOVED_TO | flags.ONLYDIR
        for path in self._paths:
            self._add(path.parent, beside)
            self._add(path, flags.MODIFY | flags.ATTRIB)

    def _add(self, path: Path, mask: int) -> None:
        before = self._watches.get(path)
        try:
            watch = self._inotify.add_watch(path, mask)
        except OSError:
            return
        self._watches[path] = watch
        if before is not None and before != watch:
            with suppress(OSError):
                self._inotify.rm_watch(before)

    def drain(self) -> None:
        """Take note of the changes told so far."""
        if self._inotify is not None:
            for _event in self._inotify.read(timeout=0):
                pass

    def patience(self, *, changed: bool) -> float:
        """Return how many seconds may pass until the files are looked at anyway.

        Args:
            changed: whether the last look found something.
        """
        if self._inotify is not None:
            return LOOK_ANYWAY_S
        self._quiet = 0 if changed else self._quiet + 1
        return LOOK_SOON_S if self._quiet < CALM_AFTER else LOOK_LATER_S

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None


def _inotify() -> Any:
    if sys.platform != "linux":
        return None
    from inotify_simple import INotify

    try:
        return INotify(nonblocking=True)
    except OSError:
        # The user has as many as the system allows.
        return None

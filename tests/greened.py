"""What gevent changes of the standard library, changed for a while only."""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def greened() -> Iterator[None]:
    """Have modules that are loaded meanwhile find what a worker's modules find, and then everything as it was.

    A worker of gunicorn has gevent replace locks, sockets and waiting before it loads the
    application, the process that starts it has them as they are: here is how one
    process may have loaded for both. Whoever is forked from it replaces them again.
    """
    monkey, green, metadata, system, known = map(
        _module, ("gevent.monkey", "gevent.threading", "importlib.metadata", "os", "threading")
    )
    register_at_fork = os.register_at_fork

    def register(**calls: Callable[[], None]) -> None:
        # There is no way to take it back.
        if getattr(calls.get("before"), "__self__", None) is not green._fork_hooks:
            register_at_fork(**calls)

    assert not monkey.saved
    main: Any = threading.main_thread()
    ident = main.ident
    # For each module that it changes gevent looks through whatever is installed for plugins of its own.
    metadata.entry_points = cache(metadata.entry_points)
    system.register_at_fork = register
    monkey.patch_all()
    system.register_at_fork = register_at_fork
    try:
        yield
    finally:
        for name, items in monkey.saved.items():
            for item, original in items.items() if name in sys.modules else ():
                setattr(sys.modules[name], item, original)
        monkey.saved.clear()
        main._tstate_lock = main._gevent_real_tstate_lock
        del known._active[main.ident]
        main._ident = ident
        known._active[ident] = main
        known._dangling.add(main)


def _module(name: str) -> Any:
    """Return a module that is to be changed."""
    return importlib.import_module(name)

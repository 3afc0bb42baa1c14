"""Protocols, and nothing of the domain: JetStream, Postgres, artifacts, embedded servers."""

import sys
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

# What nats-py needs for WebSockets alone, and what only an artifact's reader uses, takes as long to import as all of a
# publisher. Each is read at its first use.
LAZY = ("aiohttp", "fsspec")
_lock = RLock()


class _Postponed(ModuleType):
    """A library that is named and not read yet. The standard library's own is read as soon as it is imported twice."""

    def __getattr__(self, name: str) -> Any:
        with _lock:
            if type(self) is _Postponed and "_is_read" not in self.__dict__:
                self._read()
        if name in self.__dict__ or type(self) is ModuleType:
            return getattr(self, name)
        # Asked for in the midst of its being read.
        message = f"module {self.__name__!r} has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=self)

    def _read(self) -> None:
        spec = self.__spec__
        assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - as `_postpone` has seen
        self.__dict__["_is_read"] = True
        try:
            spec.loader.exec_module(self)
        finally:
            del self.__dict__["_is_read"]
        # From here on it is as any other.
        self.__class__ = ModuleType  # type: ignore[assignment]


def _postpone(name: str) -> None:
    spec = None if name in sys.modules else find_spec(name)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        module.__class__ = _Postponed
        sys.modules[name] = module


for _name in LAZY:
    _postpone(_name)

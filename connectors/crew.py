"""Processes that work through tasks and hand on what they find, while somebody else uses it."""

import gc
import multiprocessing
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Generic, Protocol, TypeVar

from connectors.launch import die_with_parent

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

# Those that this process may use.
CORES = len(os.sched_getaffinity(0))
# Those who wait for the same cores and disks go first; who uses what is found does, too.
NICENESS = 15
# Who uses it has as much to do for a little as for this much, so that it waits for it, though not for long.
WORTH_BYTES = 512 * 1024
_WAIT_S = 0.2
_DONE = b""


class Work(Protocol[T_contra]):
    """What is done with a task: it yields what it finds, never empty. It has to be picklable."""

    def __call__(self, task: T_contra, /) -> Iterator[bytes]:
        """Work on a task."""


def make_ready(module: str) -> None:
    """Begin to load a module that work is in, beside this process, so that a crew has its processes at once.

    Args:
        module: its name; of the first that is asked for alone. What it can't load is loaded by each process itself.
    """
    context = _context()
    if isinstance(context, ForkServerContext):
        context.set_forkserver_preload([module])
        forkserver.ensure_running()


def _context() -> ForkServerContext | SpawnContext:
    """Return how processes are started.

    A fork of this one would take its threads' locks with it, and its connections; of one that has none, it is at once
    what it takes a new process a quarter of a second to become. That one listens in the folder of temporary files.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


class Workers(Protocol[T_contra]):
    """Whoever works through tasks."""

    @property
    def is_done(self) -> bool:
        """Whether everything has been found and taken."""

    def take(self, most_bytes: int) -> list[bytes]:
        """Return what is found next, about so many bytes of it."""

    def add(self, task: T_contra) -> None:
        """Have one more task worked on."""

    def close(self) -> None:
        """End, whatever is left to do."""


class Alone(Generic[T]):
    """Works through tasks in this process, a little at each call.

    Args:
        work: done with each task.
        tasks: in their order.
    """

    def __init__(self, work: Work[T], tasks: Iterable[T]) -> None:
        self._work = work
        self._tasks = deque(tasks)
        self._found: Iterator[bytes] = iter(())
        self.is_done = False

    def take(self, most_bytes: int) -> list[bytes]:
        """Return what is found next, about so many bytes of it."""
        taken: list[bytes] = []
        while most_bytes > 0:
            found = next(self._found, None)
            if found is not None:
                taken.append(found)
                most_bytes -= len(found)
            elif self._tasks:
                self._found = self._work(self._tasks.popleft())
            else:
                self.is_done = True
                break
        return taken

    def add(self, task: T) -> None:
        """Have one more task worked on."""
        self._tasks.append(task)
        self.is_done = False

    def close(self) -> None:
        """End, whatever is left to do."""
        self._tasks.clear()
        self._found = iter(())
        self.is_done = True


class Crew(Generic[T]):
    """Works through tasks in several processes.

    Each ends with this one, however it ends. What is found in a task comes in its order; between tasks there
    is none. Where a process dies, the tasks that it had are begun again by another one, each by itself; the one
    that kills this one too is lost.

    Args:
        work: done with each task, in another process.
        bundles: tasks; those of a bundle are given to a process at once.
        processes: how many.
        lost: returns what is handed on in place of a lost task's end.
        ahead_bytes: asked how much may be found and not yet taken, of all processes together.
    """

    def __init__(
        self,
        work: Work[T],
        bundles: Iterable[Sequence[T]],
        processes: int,
        lost: Callable[[T], Iterable[bytes]],
        ahead_bytes: Callable[[], int],
    ) -> None:
        self._work = work
        self._bundles = deque(bundles)
        # Hands that work on one.
        self._busy = 0
        self._lost = lost
        self._ahead_bytes = ahead_bytes
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._closing = False
        self._processes: set[_Process[T]] = set()
        self._hands = [
            threading.Thread(target=self._keep_busy, name=f"crew-{number}", daemon=True) for number in range(processes)
        ]
        self._failure: BaseException | None = None
        for hand in self._hands:
            hand.start()

    @property
    def is_done(self) -> bool:
        """Whether everything has been found and taken."""
        with self._changed:
            if self._failure is not None:
                message = "a process can't be started"
                raise RuntimeError(message) from self._failure
            return not (self._waiting or self._bundles or self._busy)

    def take(self, most_bytes: int) -> list[bytes]:
        """Return what has been found, about so many bytes of it; waits a moment where it is little and not all."""
        taken: list[bytes] = []
        with self._changed:
            self._changed.wait_for(self._is_worth_it, _WAIT_S)
            while self._waiting and most_bytes > 0:
                taken.append(self._waiting.popleft())
                most_bytes -= len(taken[-1])
                self._waiting_bytes -= len(taken[-1])
            self._changed.notify_all()
        return taken

    def _is_worth_it(self) -> bool:
        is_all = not (self._bundles or self._busy)
        worth = min(WORTH_BYTES, self._ahead_bytes() // 2)
        return self._waiting_bytes >= worth or is_all or self._failure is not None

    def add(self, task: T) -> None:
        """Have one more task worked on, by whoever is free first."""
        with self._changed:
            self._bundles.append([task])
            self._changed.notify_all()

    def close(self) -> None:
        """End, whatever is left to do."""
        with self._changed:
            self._closing = True
            for process in self._processes:
                process.kill()
            self._changed.notify_all()
        for hand in self._hands:
            hand.join()

    def _keep_busy(self) -> None:
        """Have one process at a time work on one bundle after the other."""
        process: _Process[T] | None = None
        try:
            while (bundle := self._next_bundle()) is not None:
                process = process or self._begin()
                if not self._work_on(process, bundle):
                    self._end(process)
                    process = None
                self._put_down()
        except BaseException as error:  # it is raised again where somebody sees it
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            if process is not None:
                self._end(process)

    def _begin(self) -> "_Process[T]":
        process = _Process(self._work)
        with self._changed:
            self._processes.add(process)
            if self._closing:
                process.kill()
        return process

    def _end(self, process: "_Process[T]") -> None:
        with self._changed:
            self._processes.discard(process)
        process.end()

    def _next_bundle(self) -> Sequence[T] | None:
        """Return what to work on, once there is something; None where there will be nothing any more."""
        with self._changed:
            while not self._bundles and not self._closing:
                self._changed.wait()
            if self._closing:
                return None
            self._busy += 1
            return self._bundles.popleft()

    def _put_down(self) -> None:
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def _work_on(self, process: "_Process[T]", bundle: Sequence[T]) -> bool:
        """Return whether the process has survived it."""
        try:
            for found in process.work_on(bundle):
                if not self._put(found):
                    return False
        except (EOFError, OSError):
            if len(bundle) == 1:
                for found in self._lost(bundle[0]):
                    self._put(found)
            with self._changed:
                self._bundles.extendleft([task] for task in reversed(bundle if len(bundle) > 1 else []))
            return False
        return True

    def _put(self, found: bytes) -> bool:
        """Keep what was found, once there is room; returns whether anybody still wants it."""
        with self._changed:
            while self._waiting_bytes > self._ahead_bytes() and not self._closing:
                self._changed.wait()
            self._waiting.append(found)
            self._waiting_bytes += len(found)
            self._changed.notify_all()
            return not self._closing


class _Process(Generic[T]):
    """A process that works."""

    def __init__(self, work: Work[T]) -> None:
        context = _context()
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, other), daemon=True)
        self._process.start()
        other.close()

    def work_on(self, bundle: Sequence[T]) -> Iterator[bytes]:
        """Yield what it finds.

        Raises:
            EOFError, OSError: it has died.
        """
        self._pipe.send(bundle)
        while (found := self._pipe.recv_bytes()) != _DONE:
            yield found

    def kill(self) -> None:
        """Have it end, at work or not."""
        self._process.kill()

    def end(self) -> None:
        """End it, and forget it."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(work: Work[T], pipe: Connection) -> None:
    """Work on what comes through a pipe until nothing comes any more."""
    # The process that this one is a fork of ends with the one that works for nobody else.
    die_with_parent(os.getppid(), signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not so much more than whoever began it: that may be this process's parent or its parent's.
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    # What is found holds no cycles, and looking for them among thousands of lines takes time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    with suppress(EOFError, BrokenPipeError):
        while True:
            for task in pipe.recv():
                for found in work(task):
                    pipe.send_bytes(found)
            pipe.send_bytes(_DONE)

"""Who reads the runs: this process, or several that are given a bundle of runs at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from connectors.crew import Alone, Crew, Workers, make_ready
from flows.listed import Listed
from flows.reading import SheetReader, unread
from flows.sheet import Task

# Reading in processes of their own is worth their start from so many bytes on, as they are stored; a run counts, too.
WORTH_PROCESSES_BYTES = 4 * 1024 * 1024
RUN_BYTES = 32 * 1024
BUNDLE_BYTES = 512 * 1024
BUNDLE_RUNS = 64


def prepare(listed: Sequence[Listed], processes: int) -> None:
    """Begin to load what reading takes, where some runs are worth processes of their own: while this one still loads.

    Args:
        listed: the runs, of which perhaps not all are to be read.
        processes: as for `workers`.
    """
    sizes = [sum(artifact.object.size for artifact in each.artifacts) for each in listed]
    if _are_worth(processes, sizes):
        make_ready(SheetReader.__module__)


def workers(
    reader: SheetReader, tasks: Sequence[Task], processes: int, ahead_bytes: Callable[[], int]
) -> Workers[Task]:
    """Begin to read.

    Args:
        reader: reads a run.
        tasks: the runs.
        processes: how many may read; 0 for none beside this one.
        ahead_bytes: asked how much they may read ahead.
    """
    if not _are_worth(processes, [task.size for task in tasks]):
        return Alone(reader, tasks)
    return Crew(reader, list(_bundles(tasks)), processes, _lost, ahead_bytes)


def _are_worth(processes: int, sizes: Iterable[int]) -> bool:
    return processes > 0 and sum(size + RUN_BYTES for size in sizes) >= WORTH_PROCESSES_BYTES


def _bundles(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Put small runs together: each process is given a bundle at a time."""
    bundle: list[Task] = []
    size = 0
    for task in tasks:
        bundle.append(task)
        size += task.size + RUN_BYTES
        if size >= BUNDLE_BYTES or len(bundle) >= BUNDLE_RUNS:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def _lost(task: Task) -> Iterator[bytes]:
    """Say of a run whose reading has killed two processes that it can't be read."""
    return unread(task, "reading it ended the process that did")

from flows.dedupe import KEYS_A_WORKFLOW, Duplicate, Memory, RecentKeys
from flows.message import Message
from tests.unit.deliveries import delivered
from tests.unit.test_runs import said


def keyed(key: str, seq: int = 1) -> Message:
    return said(dedupe_key=key, origin=delivered({}, stream_seq=seq))


def test_a_key_passes_once_and_its_duplicate_keeps_its_ack() -> None:
    recent = RecentKeys(Memory())
    first, again = keyed("a", 1), keyed("a", 2)
    assert list(recent.on_batch([first, again])[0]) == [first, Duplicate(again.reply)]
    assert list(recent.on_batch([keyed("a", 3)])[0]) == [Duplicate(keyed("a", 3).reply)]


def test_a_workflow_is_remembered_in_bounded_memory() -> None:
    recent = RecentKeys(Memory())
    recent.on_batch([keyed(f"k{n}") for n in range(KEYS_A_WORKFLOW + 1)])
    oldest, newest = list(recent.on_batch([keyed("k0"), keyed(f"k{KEYS_A_WORKFLOW}")])[0])
    assert isinstance(oldest, Message)
    assert isinstance(newest, Duplicate)


def test_all_workflows_together_are_remembered_in_bounded_memory() -> None:
    memory = Memory(keys=100)
    workflows = [RecentKeys(memory) for _ in range(50)]
    for number, workflow in enumerate(workflows):
        workflow.on_batch([keyed(f"{number}-{n}") for n in range(10)])
    assert sum(len(workflow._keys) for workflow in workflows) == 100
    # The oldest have forgotten, the newest remember.
    (old,) = workflows[0].on_batch([keyed("0-9")])[0]
    (new,) = workflows[-1].on_batch([keyed("49-0")])[0]
    assert isinstance(old, Message)
    assert isinstance(new, Duplicate)


def test_a_silent_workflow_is_forgotten() -> None:
    recent = RecentKeys(Memory())
    assert recent.notify_at() is not None
    assert recent.on_notify() == ([], True)

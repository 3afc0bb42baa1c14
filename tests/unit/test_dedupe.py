from flows.dedupe import KEYS_A_WORKFLOW, Memory, RecentKeys, by_workflow
from flows.duplicate import Duplicate
from flows.message import Message
from tests.unit.deliveries import delivered
from tests.unit.test_runs import said


def keyed(key: str, seq: int = 1) -> Message:
    return said(dedupe_key=key, origin=delivered({}, stream_seq=seq))


def passed(recent: RecentKeys, *messages: Message) -> list[Message | Duplicate]:
    (items,) = recent.on_batch([[*messages]])[0]
    return items


def test_a_key_passes_once_and_its_duplicate_keeps_its_ack() -> None:
    recent = RecentKeys(Memory())
    first, again = keyed("a", 1), keyed("a", 2)
    assert passed(recent, first, again) == [first, Duplicate(again.reply)]
    assert passed(recent, keyed("a", 3)) == [Duplicate(keyed("a", 3).reply)]


def test_what_came_in_several_batches_keeps_its_order() -> None:
    first, second, third = keyed("a", 1), keyed("b", 2), keyed("c", 3)
    assert [*RecentKeys(Memory()).on_batch([[first], [second, third]])[0]] == [[first, second, third]]


def test_what_workflows_say_is_told_apart_by_namespace_and_uid_in_its_order() -> None:
    one, two = said(workflow_uid="u", at=1), said(workflow_uid="v", at=2)
    other, again = said(workflow_uid="u", workflow_namespace="other"), said(workflow_uid="u", at=3)
    expected = [("agents/u", [one, again]), ("agents/v", [two]), ("other/u", [other])]
    assert by_workflow([one, two, other, again]) == expected


def test_a_workflow_is_remembered_in_bounded_memory() -> None:
    recent = RecentKeys(Memory())
    passed(recent, *[keyed(f"k{n}") for n in range(KEYS_A_WORKFLOW + 1)])
    oldest, newest = passed(recent, keyed("k0"), keyed(f"k{KEYS_A_WORKFLOW}"))
    assert isinstance(oldest, Message)
    assert isinstance(newest, Duplicate)


def test_all_workflows_together_are_remembered_in_bounded_memory() -> None:
    memory = Memory(keys=100)
    workflows = [RecentKeys(memory) for _ in range(50)]
    for number, workflow in enumerate(workflows):
        passed(workflow, *[keyed(f"{number}-{n}") for n in range(10)])
    assert sum(len(workflow._keys) for workflow in workflows) == 100
    # The oldest have forgotten, the newest remember.
    (old,) = passed(workflows[0], keyed("0-9"))
    (new,) = passed(workflows[-1], keyed("49-0"))
    assert isinstance(old, Message)
    assert isinstance(new, Duplicate)


def test_a_silent_workflow_is_forgotten() -> None:
    recent = RecentKeys(Memory())
    assert recent.notify_at() is not None
    assert recent.on_notify() == ([], True)

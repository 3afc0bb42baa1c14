"""A mailbox: bounded, in order, and past it where nobody has anything to wait for."""

import threading

import pytest

from tests.unit.test_frame import item
from tests.waiting import wait_until
from web import mailbox
from web.frame import Chunk
from web.mailbox import Mailbox
from web.sight import EVERYTHING


@pytest.fixture
def box() -> Mailbox:
    return Mailbox(on_cut=lambda: None, sight=EVERYTHING)


def chunk(seq: int, size: int = 1) -> Chunk:
    return Chunk([item(seq, "x" * size)])


def seqs(chunks: list[Chunk]) -> list[int]:
    return [one.seq for chunk in chunks for one in chunk.items]


class Waiting:
    """Takes from a mailbox in a thread, with an express that takes so many chunks and then leaves a rest."""

    def __init__(self, box: Mailbox, most: int = 100, error: Exception | None = None) -> None:
        self.sent: list[int] = []
        self._box = box
        self._most = most
        self._error = error
        self._thread = threading.Thread(target=self._take)
        self._thread.start()
        wait_until(lambda: box._express is not None)

    def _take(self) -> None:
        self.mail = self._box.take(120, self._send)

    def _send(self, chunk: Chunk) -> memoryview | None:
        if self._error:
            raise self._error
        self.sent += seqs([chunk])
        return None if len(self.sent) < self._most else memoryview(b"rest")

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_what_comes_while_nobody_waits_is_kept_in_order(box: Mailbox) -> None:
    assert not box.put(chunk(1))
    assert not box.put(chunk(2))
    mail = box.take(1, lambda _: None)
    assert seqs(mail.chunks) == [1, 2]
    assert not mail.lapsed


def test_what_comes_while_the_connection_waits_goes_past_it(box: Mailbox) -> None:
    waiting = Waiting(box)
    assert box.put(chunk(1))
    assert box.put(chunk(2))
    box.nudge()
    waiting.join()
    assert waiting.sent == [1, 2]
    assert waiting.mail.chunks == []
    # Now the connection is busy.
    assert not box.put(chunk(3))


def test_what_is_half_sent_comes_first_and_the_rest_waits(box: Mailbox) -> None:
    waiting = Waiting(box, most=2)
    assert [box.put(chunk(seq)) for seq in (1, 2)] == [True, False]
    box.put(chunk(3))
    waiting.join()
    left = seqs(waiting.mail.chunks) or seqs(box.take(1).chunks)
    assert waiting.sent == [1, 2]
    assert bytes(waiting.mail.rest or b"") == b"rest"
    assert left == [3]


def test_a_client_that_is_gone_ends_it(box: Mailbox) -> None:
    waiting = Waiting(box, error=BrokenPipeError())
    assert not box.put(chunk(1))
    waiting.join()
    assert waiting.mail.ended


def test_one_that_is_full_forgets_and_lapses(box: Mailbox) -> None:
    for seq in range(10):
        box.put(chunk(seq, mailbox.MAX_BYTES // 4))
    mail = box.take(1)
    assert mail.lapsed
    assert mail.chunks == []
    # One message that is larger than all there may be is no reason.
    box.rewind()
    box.put(chunk(11, 2 * mailbox.MAX_BYTES))
    assert seqs(box.take(1).chunks) == [11]


def test_one_that_takes_nothing_while_full_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = threading.Event()
    box = Mailbox(cut.set, EVERYTHING)
    monkeypatch.setattr(mailbox, "PATIENCE_S", -1.0)
    for seq in range(10):
        box.put(chunk(seq, mailbox.MAX_BYTES // 4))
    assert cut.is_set()
    assert box.ended

import base64
import random

import msgspec
import pytest

from flows.codex import Reader, State
from flows.codex.pem import MAX_LINES
from flows.patterns import HIDDEN_KEY

BODY = base64.b64encode(random.Random(1).randbytes(48 * 5 + 7)).decode()
LINES = [BODY[at : at + 64] for at in range(0, len(BODY), 64)]
BEGIN, END = "-----BEGIN RSA " + "PRIVATE KEY-----", "-----END RSA " + "PRIVATE KEY-----"


def shown(*lines: str, reader: Reader | None = None) -> list[str]:
    """What the lines of a log say."""
    reader = reader or Reader("log", "live", "agent-log")
    return [claim.content or "" for number, line in enumerate(lines, 1) for claim in reader.read(number, line.encode())]


@pytest.mark.parametrize("before", ["", "+", "    ", "2026-01-01T00:00:00Z stdout ", "\x1b[32m> \x1b[0m"])
def test_a_private_key_that_comes_line_by_line_is_hidden(before: str) -> None:
    lines = ["cat key", *(before + line for line in [BEGIN, *LINES, END]), "done"]
    hidden = [HIDDEN_KEY] * len(LINES)
    assert shown(*lines) == ["cat key", before + BEGIN, *hidden, before + END, "done"]


def test_what_is_said_of_a_key_is_shown_and_a_blank_line_ends_nothing() -> None:
    headers = ["Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-256-CBC,0123456789ABCDEF"]
    assert shown(BEGIN, *headers, "", *LINES, END) == [BEGIN, *headers, *[HIDDEN_KEY] * len(LINES), END]


def test_a_block_of_pgp_is_hidden_with_its_sum() -> None:
    begin, end = "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----", "-----END PGP " + "PRIVATE KEY BLOCK-----"
    lines = shown(begin, "Comment: mine", "", *LINES, "=aB3d", end)
    assert lines == [begin, "Comment: mine", *[HIDDEN_KEY] * (len(LINES) + 1), end]


def test_one_key_after_another_is_hidden() -> None:
    assert (
        shown(BEGIN, LINES[0], END, "between", BEGIN, LINES[1], BEGIN, LINES[2], END, "behind").count(HIDDEN_KEY) == 3
    )


@pytest.mark.parametrize(
    "text",
    [
        [BEGIN + " is how a key begins", "and this is what comes then"],
        [BEGIN, "Note: this is no key", "as you see", "really"],
        [BEGIN, "words", "more"],
        ["-----BEGIN CERTIFICATE-----", *LINES, "-----END CERTIFICATE-----"],
        [BEGIN + "\\n" + LINES[0] + "\\n" + END, LINES[0]],
        LINES,
    ],
)
def test_what_is_no_key_is_shown(text: list[str]) -> None:
    assert shown(*text) == text


def test_text_behind_a_key_that_never_ends_is_shown() -> None:
    assert shown(BEGIN, *LINES[:2], "and so on", LINES[2]) == [BEGIN, HIDDEN_KEY, HIDDEN_KEY, "and so on", LINES[2]]
    many = shown(BEGIN, *[LINES[0]] * (MAX_LINES + 3))
    assert many == [BEGIN, *[HIDDEN_KEY] * MAX_LINES, *[LINES[0]] * 3]


def test_who_reads_on_in_the_midst_of_a_key_knows_of_it() -> None:
    reader = Reader("log", "live", "agent-log")
    shown(BEGIN, LINES[0], reader=reader)
    kept = msgspec.json.decode(msgspec.json.encode(reader.state), type=State)
    assert shown(LINES[1], reader=Reader("log", "live", "agent-log", state=kept)) == [HIDDEN_KEY]
    assert shown(LINES[1]) == [LINES[1]]


def test_a_hidden_line_has_the_id_that_its_own_words_give_it() -> None:
    reader, other = Reader("log", "live", "agent-log"), Reader("log", "backfill", "agent-log")
    reader.read(1, BEGIN.encode())
    (hidden,), (plain,) = reader.read(2, LINES[0].encode()), other.read(2, LINES[0].encode())
    assert (hidden.content, hidden.message_id) == (HIDDEN_KEY, plain.message_id)

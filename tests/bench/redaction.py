"""What looking for credentials costs, found or not."""

from dataclasses import dataclass
from typing import Annotated

from flows.message import Message
from flows.normalize import normalize
from flows.redact import Redactor, redactor_of
from flows.settings import Settings
from tests.bench.bench import Bench
from tests.bench.corpus import Corpus, plain, realistic, with_secret
from tests.bench.figure import Figure, Results
from tests.bench.ingest import LIMIT, delivered
from tests.bench.stages import cpu_us, redact


@dataclass(frozen=True)
class Redaction:
    """The redactor alone, on messages that are normalized already."""

    nothing_us: Annotated[float, Figure("a message, nothing found", "µs CPU")]
    kilobyte_us: Annotated[float, Figure("a kB of payload, nothing found", "µs CPU")]
    some_us: Annotated[float, Figure("a message, one of a hundred holding a token", "µs CPU")]
    found_us: Annotated[float, Figure("a message, each holding a token", "µs CPU")]


def measure(bench: Bench) -> Results:
    """Redact messages of 400 bytes, and realistic ones."""
    number = bench.messages(20_000)
    redactor = redactor_of(Settings())
    return {
        load: _redaction(redactor, corpus, number) for load, corpus in (("400 bytes", plain), ("realistic", realistic))
    }


def _redaction(redactor: Redactor, corpus: Corpus, number: int) -> Redaction:
    clean, leaky = _normalized(corpus, number), _normalized(with_secret(corpus), number)
    assert not any("redacted" in message.attrs for message in redact(redactor, clean))
    assert all("redacted" in message.attrs for message in redact(redactor, leaky))
    some = [leaky[at] if at % 100 == 0 else message for at, message in enumerate(clean)]
    nothing = cpu_us(number, lambda: redact(redactor, clean))
    return Redaction(
        nothing_us=nothing,
        kilobyte_us=nothing * 1000 * number / sum(message.size for message in clean),
        some_us=cpu_us(number, lambda: redact(redactor, some)),
        found_us=cpu_us(number, lambda: redact(redactor, leaky)),
    )


def _normalized(corpus: Corpus, number: int) -> list[Message]:
    published = map(corpus, range(number))
    rows = [normalize(delivered(each.subject, each.payload, at), LIMIT) for at, each in enumerate(published)]
    return [row for row in rows if isinstance(row, Message)]

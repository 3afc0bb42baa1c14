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
from tests.bench.stages import cpu_us


@dataclass(frozen=True)
class Redaction:
    """The redactor alone, on messages that are normalized already."""

    nothing_us: Annotated[float, Figure("a message in which nothing is found", "µs CPU")]
    found_us: Annotated[float, Figure("the same message with one token in it", "µs CPU")]
    kilobyte_us: Annotated[float, Figure("nothing found, by kB of payload", "µs CPU")]


def measure(bench: Bench) -> Results:
    """Redact messages of 400 bytes, and realistic ones."""
    number = bench.messages(20_000)
    redactor = redactor_of(Settings())
    return {
        load: _redaction(redactor, corpus, number) for load, corpus in (("400 bytes", plain), ("realistic", realistic))
    }


def _redaction(redactor: Redactor, corpus: Corpus, number: int) -> Redaction:
    clean, leaky = _normalized(corpus, number), _normalized(with_secret(corpus), number)
    assert not any("redacted" in redactor.message(message).attrs for message in clean)
    assert all("redacted" in redactor.message(message).attrs for message in leaky)
    nothing = cpu_us(number, lambda: [redactor.message(message) for message in clean])
    found = cpu_us(number, lambda: [redactor.message(message) for message in leaky])
    return Redaction(nothing, found, nothing * 1000 * number / sum(message.size for message in clean))


def _normalized(corpus: Corpus, number: int) -> list[Message]:
    published = map(corpus, range(number))
    rows = [normalize(delivered(each.subject, each.payload, at), LIMIT) for at, each in enumerate(published)]
    return [row for row in rows if isinstance(row, Message)]

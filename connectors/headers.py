"""The headers of a message of NATS, as they come."""


def parse_headers(block: bytes) -> dict[str, str]:
    """Read a header block (`NATS/1.0 …`); of an inline status, the number and the words get names.

    What is no header is left out; of a name that comes twice the last value is kept.
    """
    first, *lines = block.split(b"\r\n")
    headers = {}
    status = first.removeprefix(b"NATS/1.0").strip()
    if status:
        number, _, words = status.partition(b" ")
        headers = {"Status": _text(number), "Description": _text(words.strip())}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            headers[_text(name.strip())] = _text(value.strip())
    return headers


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")

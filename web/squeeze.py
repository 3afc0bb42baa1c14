"""Pages and what belongs to them, compressed on their way: a page of a run is a fifth of its size."""

import gzip

from flask import Flask, Response, request

_KINDS = ("text/html", "text/css", "text/javascript", "application/javascript", "image/svg+xml")
# Less gains nothing; of more, the time is felt.
_LEAST = 1_024
_MOST = 8 * 1024 * 1024
_LEVEL = 5


def install(app: Flask) -> None:
    """Have an app compress its pages, never its streams or its API."""
    app.after_request(_squeeze)


def _squeeze(response: Response) -> Response:
    if response.mimetype not in _KINDS or "Content-Encoding" in response.headers or response.status_code != 200:
        return response
    response.vary.add("Accept-Encoding")
    # What a person signs in with must not be guessed from the length of an answer.
    if not request.accept_encodings["gzip"] or request.path.startswith("/sign-in"):
        return response
    if response.direct_passthrough:
        response.direct_passthrough = False
    body = response.get_data()
    if not _LEAST <= len(body) <= _MOST:
        return response
    response.set_data(gzip.compress(body, _LEVEL, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    etag, weak = response.get_etag()
    if etag and not weak:
        response.set_etag(etag, weak=True)
    return response

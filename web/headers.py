"""The headers that every answer carries."""

from flask import Flask, Response, request

from flows.settings import Settings

_PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        # Where browsers know Trusted Types, HTML enters a page through one function of static/html.js only.
        "require-trusted-types-for 'script'",
        "trusted-types agent-comms",
    )
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"


def install(app: Flask, settings: Settings) -> None:
    """Have an app add them to whatever it answers, errors included."""
    app.after_request(_add)
    if settings.agent_comms_auth != "none":
        app.after_request(_keep_private)


def _keep_private(response: Response) -> Response:
    # What one reader was shown is nobody else's, and not theirs once they have signed out.
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def _add(response: Response) -> Response:
    is_page = response.mimetype == "text/html"
    response.headers.setdefault("Content-Security-Policy", _PAGE_POLICY if is_page else _DATA_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("X-Frame-Options", "DENY")
    response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    return response

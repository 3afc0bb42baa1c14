"""The API's writing half: what people say, and what a workflow's controller says of a run's end."""

from http import HTTPStatus
from typing import cast

import msgspec
from flask import Blueprint, Response, current_app

from web import parameters
from web.audit import Audit
from web.completions import Completions
from web.door import person, source
from web.intake import read_body
from web.rights import needs
from web.speech import Speech

bp = Blueprint("writing", __name__, url_prefix="/api/agents")


@bp.post("/messages")
@needs("speak")
def say() -> Response:
    """Take what a person says in a run or in the general channel; it is shown once the flow has stored it."""
    parameters.only()
    speech = cast("Speech", current_app.extensions["speech"])
    return _accepted({"message_id": speech.say(read_body(), person(), source())})


@bp.post("/runs/<path:run>/complete")
@needs("operate")
def complete(run: str) -> Response:
    """Take a run-complete payload, bare or as a CloudEvent, and queue the run's reconciliation."""
    completions = cast("Completions", current_app.extensions["completions"])
    queued = completions.add(run, parameters.text("workflowNamespace"), read_body())
    audit = cast("Audit", current_app.extensions["audit"])
    audit.note("completed", person(), source(), queued.workflow_namespace, queued.workflow_uid, state=queued.state)
    return _accepted(queued)


def _accepted(body: object) -> Response:
    answer = msgspec.json.encode(body)
    return Response(answer, HTTPStatus.ACCEPTED, mimetype="application/json", headers={"Cache-Control": "no-store"})

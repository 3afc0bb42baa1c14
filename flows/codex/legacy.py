"""`codex exec --json` until September 2025: a line of configuration, the prompt, then `{"id", "msg"}`."""

import shlex
from typing import Any

from flows.codex import unknown
from flows.codex.current import completed_turn, failure
from flows.codex.said import IN_PROGRESS, Said, compact, dictionary, error, first_text, status, tasks, tool, words
from flows.codex.state import State

# Parts of what comes whole as well, and what only the terminal needs.
_PARTS = frozenset(
    {
        "agent_message_delta",
        "agent_reasoning_delta",
        "agent_reasoning_raw_content_delta",
        "agent_reasoning_section_break",
        "exec_command_output_delta",
        "turn_diff",
        "shutdown_complete",
    }
)


def read_header(fields: dict[str, Any], state: State) -> list[Said]:
    """Return what one of the first two lines says: the prompt says something, the configuration doesn't."""
    prompt = fields.get("prompt")
    state.prompt = prompt if isinstance(prompt, str) else None
    return words(prompt, "user_message", "user")


def is_header(fields: dict[str, Any]) -> bool:
    """Say whether a line without a type is one of the first two."""
    if "prompt" in fields and len(fields) == 1:
        return True
    return "model" in fields and "sandbox" in fields and "workdir" in fields


def read(msg: dict[str, Any], state: State) -> list[Said]:
    """Return what a message says."""
    kind = msg.get("type")
    if not isinstance(kind, str):
        return unknown.event(msg)
    if kind in _PARTS:
        return []
    if kind.endswith("_approval_request"):
        asked = first_text(msg.get("reason")) or compact(msg.get("command") or msg.get("changes"))
        return [status(f"Approval requested: {asked}")]
    reader = _READERS.get(kind)
    return reader(msg, state) if reader else unknown.event(msg)


def _begun(_msg: dict[str, Any], state: State) -> list[Said]:
    return [status(f"Turn {state.begin_turn()} started")]


def _complete(_msg: dict[str, Any], state: State) -> list[Said]:
    return [completed_turn(state, state.usage)]


def _configured(msg: dict[str, Any], state: State) -> list[Said]:
    state.begin_thread(first_text(msg.get("session_id")) or None)
    return [status("Thread started")]


def _user(msg: dict[str, Any], state: State) -> list[Said]:
    message = msg.get("message")
    if message == state.prompt:
        return []
    return words(message, "user_message", "user")


def _tokens(msg: dict[str, Any], state: State) -> list[Said]:
    usage = dictionary(msg.get("info")).get("total_token_usage") or {
        key: value for key, value in msg.items() if key.endswith("_tokens")
    }
    state.usage = usage if isinstance(usage, dict) and usage else state.usage
    return []


def _plan(msg: dict[str, Any], state: State) -> list[Said]:
    content = tasks(msg.get("plan"), "step", lambda step: step.get("status") == "completed")
    if content == state.todo:
        return []
    state.todo = content
    return [Said("status", "assistant", content, item_type="todo_list")]


def _exec_begin(msg: dict[str, Any], _state: State) -> list[Said]:
    command = joined(msg.get("command"))
    about = tool(name="shell", input=tool(command=command, cwd=msg.get("cwd")), status=IN_PROGRESS)
    return [_call(msg, f"$ {command}", about, "command_execution")]


def _exec_end(msg: dict[str, Any], state: State) -> list[Said]:
    streams = [text for text in (msg.get("stdout"), msg.get("stderr")) if isinstance(text, str)]
    output = first_text(msg.get("aggregated_output"), "".join(streams))
    code = msg.get("exit_code")
    about = state.tool_of(_key(msg)) | tool(
        name="shell",
        output=output or None,
        status="completed" if code == 0 else "failed",
        exit_code=code,
        duration_ms=_milliseconds(msg.get("duration")),
    )
    return [_result(msg, output or "(no output)", about, "command_execution")]


def _patch_begin(msg: dict[str, Any], _state: State) -> list[Said]:
    changes = [_change(path, how) for path, how in dictionary(msg.get("changes")).items()]
    content = "\n".join(f"{change['kind']} {change['path']}" for change in changes) or "(no files)"
    about = tool(name="apply_patch", input={"changes": changes}, status=IN_PROGRESS)
    return [_call(msg, content, about, "file_change")]


def _change(path: str, how: Any) -> dict[str, Any]:
    kind, what = next(iter(dictionary(how).items()), ("update", None))
    what = dictionary(what)
    return tool(path=path, kind=kind, diff=first_text(what.get("unified_diff"), what.get("content")) or None)


def _patch_end(msg: dict[str, Any], state: State) -> list[Said]:
    worked = msg.get("success") is not False
    said = first_text(msg.get("stdout"), msg.get("stderr")) or ("(no output)" if worked else "the patch failed")
    about = state.tool_of(_key(msg)) | tool(name="apply_patch", status="completed" if worked else "failed")
    return [_result(msg, said, about, "file_change")]


def _mcp_begin(msg: dict[str, Any], _state: State) -> list[Said]:
    about = _invoked(msg) | {"status": IN_PROGRESS}
    arguments = about.get("input")
    asked = about["name"] if arguments in (None, {}, "") else f"{about['name']} {compact(arguments)}"
    return [_call(msg, asked, about, "mcp_tool_call")]


def _mcp_end(msg: dict[str, Any], state: State) -> list[Said]:
    result = dictionary(msg.get("result"))
    good, bad = result.get("Ok"), result.get("Err")
    blocks = dictionary(good).get("content")
    texts = [dictionary(block).get("text") for block in blocks] if isinstance(blocks, list) else []
    said = first_text(bad, "\n".join(text for text in texts if isinstance(text, str)))
    failed = bad is not None or bool(dictionary(good).get("is_error") or dictionary(good).get("isError"))
    about = {**state.tool_of(_key(msg)), **_invoked(msg)} | tool(
        output=good if bad is None else bad,
        status="failed" if failed else "completed",
        duration_ms=_milliseconds(msg.get("duration")),
    )
    return [_result(msg, said or (compact(good) if good else "(no content)"), about, "mcp_tool_call")]


def _invoked(msg: dict[str, Any]) -> dict[str, Any]:
    invocation = dictionary(msg.get("invocation"))
    name = f"{invocation.get('server', '')}.{invocation.get('tool', '')}"
    return tool(name=name, input=invocation.get("arguments"))


def _search_begin(msg: dict[str, Any], _state: State) -> list[Said]:
    return [_call(msg, "web search", tool(name="web_search", status=IN_PROGRESS), "web_search")]


def _search_end(msg: dict[str, Any], _state: State) -> list[Said]:
    query = first_text(msg.get("query"))
    about = tool(name="web_search", input={"query": query}, status="completed")
    return [_result(msg, query or "web search", about, "web_search")]


def _key(msg: dict[str, Any]) -> str:
    return first_text(msg.get("call_id"))


def _call(msg: dict[str, Any], content: str, about: dict[str, Any], item_type: str) -> Said:
    return Said("tool_call", "tool", content, about, _key(msg), item_type)


def _result(msg: dict[str, Any], content: str, about: dict[str, Any], item_type: str) -> Said:
    return Said("tool_result", "tool", content, about, _key(msg), item_type)


def joined(command: Any) -> str:
    """Return a command as one would type it."""
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        return shlex.join(command)
    return command if isinstance(command, str) else compact(command)


def _milliseconds(duration: Any) -> int | None:
    if not isinstance(duration, dict):
        return None
    try:
        return round(float(duration.get("secs", 0)) * 1000 + float(duration.get("nanos", 0)) / 1e6)
    except (TypeError, ValueError):
        return None


def _failed(msg: dict[str, Any], _state: State) -> list[Said]:
    return [failure(msg.get("message"))]


def _transient(msg: dict[str, Any], _state: State) -> list[Said]:
    return [status(first_text(msg.get("message")) or "stream error", transient=True)]


def _background(msg: dict[str, Any], _state: State) -> list[Said]:
    return [status(first_text(msg.get("message")) or "background event")]


def _aborted(msg: dict[str, Any], state: State) -> list[Said]:
    state.outcome = "failed"
    return [error(f"Turn aborted: {first_text(msg.get('reason')) or 'interrupted'}")]


def _message(msg: dict[str, Any], _state: State) -> list[Said]:
    return words(msg.get("message"), "agent_message")


def _reasoning(msg: dict[str, Any], _state: State) -> list[Said]:
    return words(msg.get("text"), "reasoning")


_READERS = {
    "session_configured": _configured,
    "task_started": _begun,
    "task_complete": _complete,
    "turn_aborted": _aborted,
    "agent_message": _message,
    "agent_reasoning": _reasoning,
    "agent_reasoning_raw_content": _reasoning,
    "user_message": _user,
    "exec_command_begin": _exec_begin,
    "exec_command_end": _exec_end,
    "patch_apply_begin": _patch_begin,
    "patch_apply_end": _patch_end,
    "mcp_tool_call_begin": _mcp_begin,
    "mcp_tool_call_end": _mcp_end,
    "web_search_begin": _search_begin,
    "web_search_end": _search_end,
    "plan_update": _plan,
    "token_count": _tokens,
    "error": _failed,
    "stream_error": _transient,
    "background_event": _background,
}

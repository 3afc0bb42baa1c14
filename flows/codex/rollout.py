"""The rollout files under `$CODEX_HOME/sessions`: what Codex keeps of a session, each line with its time.

Most is written twice there, as the model saw it (`response_item`) and as the terminal
did (`event_msg`). What agents and tools say is read off the first, what people say and
what goes wrong off the second. Very old files hold the first alone, without an envelope.
"""

from typing import Any

import msgspec

from flows.codex import legacy, unknown
from flows.codex.said import IN_PROGRESS, Said, compact, dictionary, first_text, status, tool, word, words
from flows.codex.state import State

_ITEMS = frozenset(
    {
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "local_shell_call",
        "web_search_call",
    }
)
# What response items say as well.
_TOLD_TWICE = frozenset({"agent_message", "agent_reasoning", "agent_reasoning_raw_content"}) | frozenset(
    f"{what}_{end}"
    for what in ("exec_command", "patch_apply", "mcp_tool_call", "web_search")
    for end in ("begin", "end")
)
# Settings and counts.
_SILENT = frozenset({"turn_context", "token_usage_record", "world_state", "ghost_snapshot"})
# Lines of a flat file that tell of its state.
_STATE_KEY = "record_type"


def is_line(fields: dict[str, Any]) -> bool:
    """Say whether a line is of a rollout file, of either age."""
    if isinstance(fields.get("payload"), dict):
        return True
    if _STATE_KEY in fields or ("id" in fields and "timestamp" in fields and "type" not in fields):
        return True
    return word(fields.get("type")) in _ITEMS


def read(fields: dict[str, Any], state: State) -> list[Said]:
    """Return what a line says."""
    payload = fields.get("payload")
    if not isinstance(payload, dict):
        return _flat(fields, state)
    said = _enveloped(word(fields.get("type")), payload, state)
    timestamp = fields.get("timestamp")
    if isinstance(timestamp, str):
        for each in said:
            each.timestamp = timestamp
    return said


def _enveloped(kind: str, payload: dict[str, Any], state: State) -> list[Said]:
    if kind == "session_meta":
        state.begin_thread(first_text(payload.get("id")) or None)
        return [status("Thread started")]
    if kind == "response_item":
        return [] if _is_users(payload) else _item(payload, state)
    if kind == "event_msg":
        return [] if word(payload.get("type")) in _TOLD_TWICE else legacy.read(payload, state)
    if kind == "compacted":
        return [status("Context compacted")]
    return [] if kind in _SILENT else unknown.event({"type": kind, "payload": payload})


def _flat(fields: dict[str, Any], state: State) -> list[Said]:
    if _STATE_KEY in fields:
        return []
    if "type" not in fields:
        state.begin_thread(first_text(fields.get("id")) or None)
        said = [status("Thread started")]
        said[0].timestamp = first_text(fields.get("timestamp")) or None
        return said
    return _item(fields, state)


def _is_users(item: dict[str, Any]) -> bool:
    return item.get("type") == "message" and item.get("role") != "assistant"


def _item(item: dict[str, Any], state: State) -> list[Said]:
    match item.get("type"):
        case "message":
            return _message(item)
        case "reasoning":
            return words(_texts(item.get("summary")) or _texts(item.get("content")), "reasoning")
        case "function_call":
            return [_called(item, _decoded(item.get("arguments")))]
        case "custom_tool_call":
            return [_called(item, item.get("input"))]
        case "function_call_output" | "custom_tool_call_output":
            return [_answered(item, state)]
        case "local_shell_call":
            command = legacy.joined(dictionary(item.get("action")).get("command"))
            about = tool(name="shell", input={"command": command}, status=IN_PROGRESS)
            return [Said("tool_call", "tool", f"$ {command}", about, _key(item), "command_execution")]
        case "web_search_call":
            query = first_text(dictionary(item.get("action")).get("query"))
            about = tool(name="web_search", input=item.get("action"), status="completed")
            return [Said("tool_call", "tool", query or "web search", about, "", "web_search")]
    return unknown.event(item)


def _message(item: dict[str, Any]) -> list[Said]:
    role = item.get("role")
    text = _texts(item.get("content"))
    if role == "assistant":
        return words(text, "agent_message")
    # Instructions and the environment are told in the user's name, each as one element.
    return words(text, "user_message", "user") if role == "user" and not text.lstrip().startswith("<") else []


def _texts(blocks: Any) -> str:
    texts = [dictionary(block).get("text") for block in blocks] if isinstance(blocks, list) else []
    return "\n".join(text for text in texts if isinstance(text, str))


def _key(item: dict[str, Any]) -> str:
    return first_text(item.get("call_id"), item.get("id"))


def _decoded(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments


def _called(item: dict[str, Any], asked: Any) -> Said:
    name = first_text(item.get("name")) or "tool"
    command = dictionary(asked).get("command") or dictionary(asked).get("cmd")
    if command:
        content = f"$ {legacy.joined(command)}"
    else:
        content = name if asked in (None, {}, "") else f"{name} {asked if isinstance(asked, str) else compact(asked)}"
    about = tool(name=name, input=asked, status=IN_PROGRESS)
    return Said("tool_call", "tool", content, about, _key(item), "command_execution" if command else "function_call")


def _answered(item: dict[str, Any], state: State) -> Said:
    output = item.get("output")
    code = None
    if isinstance(told := _decoded(output), dict) and "output" in told:
        output, code = told["output"], dictionary(told.get("metadata")).get("exit_code")
    if isinstance(output, dict):
        output = output.get("content", output)
    if isinstance(output, list):
        output = _texts(output)
    content = first_text(output) or (compact(output) if output else "(no output)")
    about = (
        {"name": "tool"}
        | state.tool_of(_key(item))
        | tool(output=output or None, status="failed" if code else "completed", exit_code=code)
    )
    call = state.calls.get(_key(item))
    item_type = call.attrs.get("item_type") if call else None
    return Said("tool_result", "tool", content, about, _key(item), item_type or "function_call")

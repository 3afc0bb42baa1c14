"""`codex exec --json` since October 2025: events of a thread, its turns and their items."""

import re
from typing import Any

from flows.codex import unknown
from flows.codex.said import (
    IN_PROGRESS,
    Said,
    compact,
    dictionary,
    error,
    first_text,
    status,
    tasks,
    tool,
    untold,
    word,
    words,
)
from flows.codex.state import State

_RECONNECTING = re.compile(r"Re-?connecting\.\.\. (\d+)/(\d+)")
_PHASES = {"item.started": "started", "item.updated": "updated", "item.completed": "completed"}
EVENTS = frozenset({"thread.started", "turn.started", "turn.completed", "turn.failed", "error", *_PHASES})


def read(event: dict[str, Any], state: State) -> list[Said]:
    """Return what an event says."""
    match word(event.get("type")):
        case "thread.started":
            return [status("Thread started")]
        case "turn.started":
            return [status(f"Turn {state.begin_turn()} started")]
        case "turn.completed":
            return [completed_turn(state, event.get("usage"))]
        case "turn.failed":
            return [_failed_turn(state, dictionary(event.get("error")))]
        case "error":
            return [failure(event.get("message"))]
        case "request_user_input":
            return _questions(event)
        case "item.plan.delta":
            return []
        case kind if kind in _PHASES:
            return _item(_PHASES[kind], dictionary(event.get("item")), state)
    return unknown.event(event)


def completed_turn(state: State, usage: Any) -> Said:
    """Return the end of a turn; its tokens are the thread's until then."""
    state.outcome = "completed"
    attrs: dict[str, Any] = {"status": "completed"}
    tokens = ""
    if isinstance(usage, dict):
        attrs["usage"] = usage
        counts = (("in", "input_tokens"), ("cached", "cached_input_tokens"), ("out", "output_tokens"))
        tokens = f" ({', '.join(f'{word} {usage.get(key, 0)}' for word, key in counts)})"
    return status(f"Turn {state.turn or 1} completed{tokens}", **attrs)


def _failed_turn(state: State, said: dict[str, Any]) -> Said:
    state.outcome = "failed"
    message = first_text(said.get("message")) or f"Turn {state.turn or 1} failed"
    attrs: dict[str, Any] = {"status": "failed", "fatal": True}
    if state.failure == message:
        attrs["duplicate_of"] = state.failure_line
    return error(message, **attrs)


def failure(message: Any) -> Said:
    """Return an error of the stream; one that is being mended is no more than a status."""
    message = first_text(message) or "error"
    if again := _RECONNECTING.match(message):
        return status(message, transient=True, attempt=int(again[1]), max=int(again[2]))
    return error(message)


def _questions(event: dict[str, Any]) -> list[Said]:
    questions = event.get("questions")
    asked = [first_text(q, dictionary(q).get("question"), dictionary(q).get("text")) for q in questions or []]
    content = "\n".join(filter(None, asked)) or compact(questions)
    return [Said("status", "assistant", content, item_type="request_user_input")]


def _item(phase: str, item: dict[str, Any], state: State) -> list[Said]:
    kind = item.get("type")
    if kind in ("agent_message", "plan", "reasoning"):
        return words(item.get("text"), kind) if phase == "completed" else []
    if kind == "error":
        message = first_text(item.get("message")) or compact(item)
        return [_typed(error(message, fatal=False, severity="warning"), kind)]
    if kind == "todo_list":
        return _todo(item, state)
    if phase == "updated":
        return []
    reader = _TOOLS.get(kind) if isinstance(kind, str) else None
    said = [reader(phase, item)] if reader else unknown.item(phase, item)
    for each in said:
        each.call = str(item.get("id") or "") if each.tool else ""
    if reader and phase == "completed" and said[0].call not in state.calls:
        # Older versions tell of the end alone.
        return [untold(said[0], reader("started", item).content), *said]
    return said


def _typed(said: Said, item_type: str) -> Said:
    said.item_type = item_type
    return said


def _todo(item: dict[str, Any], state: State) -> list[Said]:
    content = tasks(item.get("items"), "text", lambda task: task.get("completed"))
    if content == state.todo:
        # The end of a turn repeats the last list.
        return []
    state.todo = content
    return [Said("status", "assistant", content, item_type="todo_list")]


def _word(phase: str, item: dict[str, Any], default: str = "completed") -> str:
    return IN_PROGRESS if phase == "started" else first_text(item.get("status")) or default


def _said(phase: str, item_type: str, asked: str, answered: str, about: dict[str, Any], **attrs: Any) -> Said:
    if phase == "started":
        about = {name: value for name, value in about.items() if name not in ("output", "exit_code")}
        return Said("tool_call", "tool", asked, about, item_type=item_type, attrs=attrs)
    return Said("tool_result", "tool", answered, about, item_type=item_type, attrs=attrs)


def _command(phase: str, item: dict[str, Any]) -> Said:
    command, output = item.get("command"), item.get("aggregated_output")
    command = command if isinstance(command, str) else compact(command)
    about = tool(
        name="shell",
        input={"command": command},
        output=output if isinstance(output, str) else None,
        status=_word(phase, item),
        exit_code=item.get("exit_code"),
    )
    return _said(phase, "command_execution", f"$ {command}", first_text(output) or "(no output)", about)


def _file_change(phase: str, item: dict[str, Any]) -> Said:
    changes = item.get("changes")
    listed = [dictionary(change) for change in changes] if isinstance(changes, list) else []
    content = "\n".join(f"{change.get('kind', 'update')} {change.get('path', '')}" for change in listed)
    word = _word(phase, item)
    about = tool(name="apply_patch", input={"changes": changes}, status=word)
    content = content or "(no files)"
    failed = " [failed]" if word == "failed" else ""
    return _said(phase, "file_change", content, f"{content}{failed}", about)


def _mcp(phase: str, item: dict[str, Any]) -> Said:
    name = f"{item.get('server', '')}.{item.get('tool', '')}"
    arguments, result, problem = item.get("arguments"), item.get("result"), item.get("error")
    about = tool(name=name, input=arguments, output=result or problem, status=_word(phase, item))
    asked = name if arguments in (None, {}, "") else f"{name} {compact(arguments)}"
    return _said(phase, "mcp_tool_call", asked, _mcp_answer(result, problem), about, server=item.get("server"))


def _mcp_answer(result: Any, problem: Any) -> str:
    if said := first_text(problem, dictionary(problem).get("message")):
        return said
    result = dictionary(result)
    blocks = result.get("content")
    texts = [dictionary(block).get("text") for block in blocks] if isinstance(blocks, list) else []
    said = "\n".join(text for text in texts if isinstance(text, str))
    if said.strip():
        return said
    structured = result.get("structured_content")
    return compact(structured) if structured else "(no content)"


def _web_search(phase: str, item: dict[str, Any]) -> Said:
    action = dictionary(item.get("action"))
    sought = first_text(
        item.get("query"), action.get("query"), action.get("pattern"), action.get("url"), *_texts(action.get("queries"))
    )
    asked = sought or "web search"
    about = tool(
        name="web_search",
        input=tool(query=item.get("query"), action=item.get("action")),
        output=item.get("results"),
        status=_word(phase, item),
    )
    said = _said(phase, "web_search", asked, asked, about)
    if provider := item.get("provider_id"):
        said.attrs["provider_id"] = provider
    return said


def _texts(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _collab(phase: str, item: dict[str, Any]) -> Said:
    name, prompt, states = item.get("tool", ""), item.get("prompt"), dictionary(item.get("agents_states"))
    word = _word(phase, item)
    about = tool(
        name=f"collab.{name}",
        input=tool(prompt=prompt, receiver_thread_ids=item.get("receiver_thread_ids")),
        output=states or None,
        status=word,
    )
    asked = f"{name}: {prompt}" if first_text(prompt) else str(name)
    answers = [first_text(dictionary(state).get("message")) for state in states.values()]
    answered = "\n".join(filter(None, answers)) or f"{name} {word}"
    return _said(phase, "collab_tool_call", asked, answered, about, sender=item.get("sender_thread_id"))


_TOOLS = {
    "command_execution": _command,
    "file_change": _file_change,
    "mcp_tool_call": _mcp,
    "web_search": _web_search,
    "collab_tool_call": _collab,
}

"""Reads HTML strictly enough to say what is in it."""

from html.parser import HTMLParser
from typing import Any, NamedTuple

_VOID = {"br", "hr", "img", "input", "link", "meta", "use", "path", "circle"}


class Tag(NamedTuple):
    """An element: its name, its attributes, and the text in it."""

    name: str
    attributes: dict[str, str]
    text: list[str]

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


class Markup(HTMLParser):
    """A piece of HTML, taken apart; an element that isn't closed in its place is an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[Tag] = []
        self._open: list[Tag] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {[tag.name for tag in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"twice on <{tag}>: {names}"
        element = Tag(tag, {name: value or "" for name, value in attrs}, [])
        self.tags.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open, f"</{tag}> closes nothing"
            assert self._open.pop().name == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text.append(data)

    @property
    def names(self) -> set[str]:
        return {tag.name for tag in self.tags}

    def all(self, name: str, **attributes: Any) -> list[Tag]:
        return [
            tag
            for tag in self.tags
            if tag.name == name and all(tag.attributes.get(key) == value for key, value in attributes.items())
        ]

    def having(self, class_name: str) -> list[Tag]:
        """Return the elements of a class."""
        return [tag for tag in self.tags if class_name in tag.attributes.get("class", "").split()]

    @property
    def text(self) -> str:
        return self.tags[0].words if self.tags else ""

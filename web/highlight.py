"""Code with its syntax marked by classes."""

from functools import lru_cache
from html import escape

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name

# Lexers are regular expressions of many authors, and what they are given is anybody's:
# known languages only, and not much text.
_MOST = 8_000
_ALIASES = {
    "py": "python", "python3": "python", "js": "javascript", "mjs": "javascript", "jsx": "javascript",
    "ts": "typescript", "tsx": "typescript", "sh": "bash", "shell": "bash", "zsh": "bash", "console": "bash",
    "yml": "yaml", "rs": "rust", "golang": "go", "postgres": "sql", "postgresql": "sql", "psql": "sql", "c++": "cpp",
    "docker": "dockerfile", "jsonc": "json", "jsonl": "json", "rb": "ruby", "kt": "kotlin", "patch": "diff",
    "tf": "hcl", "makefile": "make",
}  # fmt: skip
_LANGUAGES = frozenset({
    "python", "javascript", "typescript", "json", "yaml", "toml", "ini", "bash", "sql", "go", "rust", "java", "c",
    "cpp", "csharp", "ruby", "php", "kotlin", "swift", "html", "css", "xml", "dockerfile", "make", "hcl", "lua",
    "elixir", "nginx", "graphql",
})  # fmt: skip
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True, classprefix="s-")


def language(name: str) -> str:
    """Return the known language that a name stands for, else nothing."""
    name = name.strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in _LANGUAGES or name == "diff" else ""


def code(text: str, name: str) -> str:
    """Return code as HTML, highlighted where its language is known and its size is human."""
    known = language(name)
    if not known or known == "diff" or len(text) > _MOST:
        return escape(text)
    return highlight(text, _lexer(known), _FORMATTER).removesuffix("\n")


@lru_cache(maxsize=64)
def _lexer(name: str) -> Lexer:
    return get_lexer_by_name(name, stripnl=False, ensurenl=False)

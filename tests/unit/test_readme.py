import re
from pathlib import Path

from flows.settings import table
from web import measures

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_settings_table_is_the_one_that_the_code_makes() -> None:
    shown = re.search(r"<!-- settings:.*?-->\n(.*?)\n<!-- /settings -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1] == table()


def test_the_metrics_table_is_the_one_that_the_code_makes() -> None:
    shown = re.search(r"<!-- metrics:.*?-->\n(.*?)\n<!-- /metrics -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1] == measures.table()


def test_every_test_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_every_file_that_the_readme_links_to_is_there() -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert linked
    assert [target for target in linked if not (ROOT / target).exists()] == []

"""Libraries that are named and read only where something of them is used."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from connectors import _Postponed


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_publisher_reads_no_library_that_it_does_not_use() -> None:
    code = "import sys, connectors.publisher, connectors.objects, flows.storage\n"
    unused = "('aiohttp.client', 'fsspec.spec', 'bytewax.operators', 'flask')"
    code += f"print([name for name in {unused} if name in sys.modules])"
    assert run(code) == "[]"


@pytest.mark.parametrize(("name", "of_it"), [("aiohttp", "ClientSession"), ("fsspec", "url_to_fs")])
def test_whoever_uses_one_has_all_of_it(name: str, of_it: str) -> None:
    code = (
        f"import connectors, {name}\nfrom {name} import {of_it}\nprint({name}.{of_it}.__name__, type({name}).__name__)"
    )
    assert run(code) == f"{of_it} module"


def test_nats_over_websockets_finds_its_library() -> None:
    code = "import connectors\nfrom nats.aio.transport import aiohttp\nprint(aiohttp.ClientSession.__name__)"
    assert run(code) == "ClientSession"


def postponed(folder: Path, text: str) -> ModuleType:
    file = folder / "slow.py"
    file.write_text(text)
    spec = spec_from_file_location("slow", file)
    assert isinstance(spec, ModuleSpec)
    assert isinstance(spec.loader, SourceFileLoader)
    module = module_from_spec(spec)
    module.__class__ = _Postponed
    return module


def test_threads_that_use_it_at_once_wait_until_it_is_read(tmp_path: Path) -> None:
    module = postponed(tmp_path, "import time\nread = globals().get('read', 0) + 1\ntime.sleep(0.05)\nlast = 1\n")
    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(lambda name: getattr(module, name), ["last", "read"] * 8)] == [1, 1] * 8


def test_one_that_cannot_be_read_says_so_each_time(tmp_path: Path) -> None:
    module = postponed(tmp_path, "import no_such_library\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_library"):
            _ = module.anything


def test_what_it_does_not_have_is_an_attribute_error(tmp_path: Path) -> None:
    module = postponed(tmp_path, "there = 1\n")
    assert module.there == 1
    with pytest.raises(AttributeError, match="gone"):
        _ = module.gone

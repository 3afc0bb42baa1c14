"""Which ports of this machine can be had, and why not."""

import errno
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.loopback import HOST, is_free, refusal

FIRST_FOR_EVERYBODY = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
# As somebody who is not root; what is imported is read before.
ASK = "import os; from connectors.loopback import refusal; os.geteuid() or os.setuid(65534); print(refusal({}).errno)"


def test_a_taken_port_says_so() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        refused = refusal(port)
        assert refused is not None
        assert (refused.errno, is_free(port)) == (errno.EADDRINUSE, False)


def test_a_port_that_only_root_may_have_is_not_called_taken() -> None:
    port = int(FIRST_FOR_EVERYBODY.read_text()) - 1
    if port < 1:
        pytest.skip("here everybody may have every port")
    answer = subprocess.run(
        [sys.executable, "-c", ASK.format(port)], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert (answer.stdout, answer.stderr) == (f"{errno.EACCES}\n", "")

# SPDX-License-Identifier: MIT
"""One little internet for a test run; nothing that a run starts outlives it."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import postern as runner  # noqa: E402
from daemon import Daemon  # noqa: E402
from internet import Internet  # noqa: E402
from resolver import Resolvers  # noqa: E402
from web import Web  # noqa: E402


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests make network namespaces: run them as root", 2)
    for program in (runner.POSTERN, str(runner.TOOLS / "flow")):
        if not os.access(program, os.X_OK):
            pytest.exit(f"{program} is missing: `make e2e` builds it", 2)


@pytest.fixture(scope="session")
def net():
    internet = Internet()
    try:
        yield internet
        runner.kill_marked()
        internet.check_forbidden()
    finally:
        runner.kill_marked()
        internet.close()


@pytest.fixture(scope="session")
def web(net):
    server = Web(net)
    yield server
    server.close()


@pytest.fixture(scope="session")
def resolvers(net):
    """Real ones; see lib/resolver.py."""
    running = Resolvers(net)
    yield running
    running.close()


@pytest.fixture
def daemon(net):
    """A posternd of the test's own."""
    with Daemon(net) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_goes_on(request):
    """What a failed test leaves running must not disturb the next one."""
    yield
    if "net" in request.fixturenames:
        runner.kill_marked()

# SPDX-License-Identifier: MIT
"""One little internet for a test run; nothing that a run starts outlives it."""

import os
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import kinds  # noqa: E402
import kindtable  # noqa: E402
import postern as runner  # noqa: E402
from daemon import Daemon  # noqa: E402
from internet import Internet  # noqa: E402
from record import pytest_configure, pytest_runtest_makereport, pytest_runtest_setup  # noqa: E402,F401
from relaybox import KINDS, Relays  # noqa: E402
from relaypeers import Peers  # noqa: E402
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
    internet.kinds = kinds.of(internet)
    try:
        yield internet
        runner.kill_marked()
        internet.check_forbidden()
    finally:
        runner.kill_marked()
        for kind in internet.kinds.values():
            kind.close()
        internet.close()


_NONE = types.SimpleNamespace(params={})


def pytest_generate_tests(metafunc):
    if "net" in metafunc.fixturenames:
        names = kindtable.kinds_of(metafunc.definition.nodeid)
        if len(names) > 1:
            metafunc.parametrize("sandbox_kind", names, indirect=True)


def pytest_collection_modifyitems(config, items):
    out = [item for item in items if "sandbox_kind" in getattr(item, "callspec", _NONE).params
           and item.callspec.params["sandbox_kind"] != "cgroup" and kindtable.reason_against(item.nodeid)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]


@pytest.fixture(autouse=True)
def sandbox_kind(request):
    """The kind of sandbox that this test runs for: one and the same test, see lib/kindtable.py."""
    if "net" not in request.fixturenames:
        yield None
        return
    net = request.getfixturevalue("net")
    net.kind = net.kinds[kindtable.way_of(request.node.nodeid, getattr(request, "param", "cgroup"))]
    yield net.kind
    net.kind.rest()
    net.kind = None


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


@pytest.fixture(scope="session")
def peers(net):
    """Whom relayed connections are for; see lib/relaypeers.py."""
    running = Peers(net)
    yield running
    running.close()


@pytest.fixture(name="kind", params=KINDS)
def kind_fixture(request):
    """Of a sandbox of `relays`."""
    return request.param


@pytest.fixture(scope="module")
def relays(net, peers):
    """A posternd for a file, with sandboxes that need its relay; see lib/relaybox.py."""
    running = Relays(net, peers)
    yield running
    running.close()


@pytest.fixture(scope="module")
def trust(relays, tmp_path_factory):
    """A file with the CA of their signer."""
    return relays.ca(tmp_path_factory.mktemp("trust") / "ca.pem")


@pytest.fixture
def daemon(net):
    """A posternd of the test's own."""
    with Daemon(net) as running:
        yield running


@pytest.fixture
def relayless(net):
    """The same where no relay can run: there is no such user."""
    with Daemon(net, relay={"user": "pst-no-such-user"}) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_goes_on(request):
    """What a failed test leaves running must not disturb the next one."""
    yield
    if "net" in request.fixturenames:
        runner.kill_marked()

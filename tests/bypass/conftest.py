# SPDX-License-Identifier: MIT
"""The bypass set: every known way out, one file a row. Shared: a sandbox with nothing but the packet hooks."""

import pytest

from captive import Captive, PacketCaptive
from cell import Bridge, Cell, Watcher
from crafted import RESOLVER4, RESOLVER6, Crafted
from daemon import Daemon
from dnsrows import NAMED
from postern import PacketOnly
from rows import CELL_POLICY, POLICY


@pytest.fixture
def packet_only(net):
    """Privileged, without the socket hooks: the packet hook is all that stands between it and the internet."""
    with PacketOnly(net, POLICY) as box:
        yield box


@pytest.fixture
def packet_only_open(net):
    """The same under the policy that denies nothing."""
    with PacketOnly(net, []) as box:
        yield box


@pytest.fixture(scope="session")
def dns(net):
    """The resolver whose answers the tests write."""
    crafted = Crafted(net)
    yield crafted
    crafted.close()


@pytest.fixture(autouse=True)
def _silent_resolver(request):
    yield
    if "dns" in request.fixturenames:
        dns = request.getfixturevalue("dns")
        failed, dns.failed, dns.answer = dns.failed, None, lambda asked: ()
        assert failed is None, failed


@pytest.fixture
def free(net):
    """Somebody beside the sandbox: the control."""
    with Captive(net, None) as captive:
        yield captive


@pytest.fixture
def named(net):
    """Somebody in a sandbox under a policy by names."""
    with Captive(net, NAMED) as captive:
        yield captive


@pytest.fixture
def named_packets(net):
    """The same with privileges, without the socket hooks."""
    with PacketCaptive(net, NAMED) as captive:
        yield captive


@pytest.fixture(params=["hooks", "packets-alone"])
def box(request):
    """Both in turn."""
    return request.getfixturevalue("named" if request.param == "hooks" else "named_packets")


# The netdev kind: those inside have a network of their own, and every privilege there.

@pytest.fixture(scope="session")
def warden(net):
    """A posternd for the whole session: its environment is not that of what ends with a test."""
    with Daemon(net, start=False, resolvers=[RESOLVER4, RESOLVER6]) as running:
        yield running.start(env={"PST_TEST": "warden"})


@pytest.fixture(scope="session")
def routed(net, warden):
    """(who is not enforced, who is), each behind a veth of its own."""
    with Cell(net) as free, Cell(net) as held:
        held.attach(warden, CELL_POLICY)
        yield free, held


@pytest.fixture(scope="session")
def segment(net):
    bridge = Bridge(net)
    yield bridge
    bridge.close()


@pytest.fixture(scope="session")
def bridged(net, warden, segment):
    """(who is not enforced, who is, a bystander who listens), all on one bridge."""
    with Cell(net, segment) as free, Cell(net, segment) as held, Watcher(net, segment) as watcher:
        held.attach(warden, CELL_POLICY)
        yield free, held, watcher


@pytest.fixture(scope="session")
def other(net, warden, segment):
    """Another sandbox on that bridge, which nobody may call; it listens at its own end."""
    with Cell(net, segment) as cell:
        cell.attach(warden, {**CELL_POLICY, "inbound": "deny"})
        yield cell


@pytest.fixture(scope="session")
def lax(net, warden, segment):
    """One on that bridge whose policy denies nothing: only what no policy opens is closed to it."""
    with Cell(net, segment) as cell:
        cell.attach(warden, {})
        yield cell

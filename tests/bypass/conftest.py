# SPDX-License-Identifier: MIT
"""The bypass set: every known way out, one file a row. Shared: a sandbox with nothing but the packet hooks."""

import pytest

from captive import Captive, PacketCaptive
from crafted import Crafted
from dnsrows import NAMED
from postern import PacketOnly
from rows import POLICY


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

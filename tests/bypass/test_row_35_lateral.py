# SPDX-License-Identifier: MIT
"""Row 35: from one sandbox to another on the same host, over loopback and over the host's own addresses."""

import pytest

from internet import HOST4, HOST6
from postern import Server, exchange, flow, sandboxed
from wait import until

POLICIES = {"open": [], "everything": ["--allow", "0.0.0.0/0", "--allow", "::/0"],
            "lifted": ["--allow-private", "127.0.0.0/8", "--allow", "127.0.0.0/8"]}


def at_rest(count):
    """The control by UDP is said again where it was not answered at once: all of that has come before the attack begins."""
    seen = []
    until(lambda: seen.append(count()) or (len(seen) > 10 and len(set(seen[-10:])) == 1), "nothing more of the control comes")
    return seen[-1]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", HOST4, HOST6, "0.0.0.0"])
@pytest.mark.parametrize("way,op", [("tcp", "connect"), ("udp", "sendto")])
def test_another_sandboxes_listener(net, way, op, address, policy):
    with Server(net, way, "::", 0, policy=POLICIES[policy]) as victim:
        if net.kind.name != "cgroup":  # who has addresses of its own
            address = victim.address(address)
        control = address if net.kind.name != "cgroup" else "127.0.0.1"
        assert exchange(net.host, control, victim.port, b"x", kind=way) == b"x", "the control is answered"
        victim.await_op("reply", "ok")
        before = at_rest(lambda: len(victim.ops()))
        done = sandboxed(net, POLICIES[policy], flow(way, address, victim.port, "x"))
        assert done.op(op).result == "EPERM", done
        assert len(victim.ops()) == before, victim.text()

# SPDX-License-Identifier: MIT
"""
Row 31, for the cgroup kind: which policy holds follows from the socket's cgroup, so that no source address, borrowed or
forged, changes the verdict.
"""

import pytest

from internet import ALLOWED4, DENIED4, HOST4_SECOND, PORT
from postern import Shell, assert_denied, flow, sandboxed
from rows import POLICY

PRIVILEGED = ["--keep-privs", *POLICY]


@pytest.mark.parametrize("source", [HOST4_SECOND, "8.8.8.8", ALLOWED4])
def test_a_forged_source(net, source):
    argv = flow("-n", "-t", "-s", source, "udp", DENIED4, PORT, "CANARY")
    assert_denied(net, argv, DENIED4, PORT, policy=PRIVILEGED, op="sendto")
    # Nobody answers to a forged source, so that the control's SYN is all there is.
    argv = ["timeout", "0.5", *flow("-t", "-s", source, "tcp", DENIED4, PORT, "CANARY")]
    assert_denied(net, argv, DENIED4, PORT, policy=PRIVILEGED, op="connect", carries=False)


@pytest.mark.parametrize("port", [53, 123, 5353])
def test_the_source_port_of_a_service(net, packet_only, port):
    argv = flow("-n", "-t", "-s", "8.8.8.8", "-p", port, "udp", DENIED4, PORT, "CANARY")
    assert_denied(net, argv, DENIED4, PORT, box=packet_only, op="sendto")


def test_the_source_of_another_sandbox_does_not_lend_its_policy(net):
    """A sandbox that may call DENIED is running; one that may not sends from the very same address and port."""
    with Shell(net, ["--allow", DENIED4]) as other:
        assert other.do(*flow("-s", HOST4_SECOND, "-p", 7777, "udp", DENIED4, PORT, "x")).op("sendto").result == "ok"
        argv = flow("-s", HOST4_SECOND, "-p", 7777, "udp", DENIED4, PORT, "CANARY")
        assert_denied(net, argv, DENIED4, PORT, policy=POLICY, op="sendto")


def test_a_destination_taken_for_oneself_is_the_hosts(net):
    """A privileged sandbox gives the host a denied address and calls itself by it: nothing leaves, nothing is learned."""
    with Shell(net, PRIVILEGED) as box:
        box.do(f"ip addr add {DENIED4}/32 dev lo")
        since = net.mark()
        box.do(*flow("tcp", DENIED4, PORT, "x"))
        box.do(f"ip addr del {DENIED4}/32 dev lo")
        assert box.do(*flow("tcp", DENIED4, PORT, "x")).op("connect").result == "EPERM", box.text()
        net.fence()
        assert not net.seen(dst=DENIED4, since=since)
    assert sandboxed(net, [], flow("tcp", DENIED4, PORT, "x")).op("connect").result == "ok"

# SPDX-License-Identifier: MIT
"""Row 10: UDP-Lite, MPTCP, SCTP and DCCP: the socket is refused, and so is the packet."""

import socket

import pytest

from internet import ALLOWED4, DENIED4, PORT
from postern import assert_denied, execute, flow, sandboxed, tool
from rows import POLICY


@pytest.mark.parametrize("address", [ALLOWED4, DENIED4])
@pytest.mark.parametrize("policy", [POLICY, []], ids=["closed", "open"])
@pytest.mark.parametrize("way", ["udplite", "mptcp"])
def test_the_socket_is_refused(net, way, policy, address):
    """MPTCP too: its further subflows go to addresses that the peer announces."""
    done = assert_denied(net, flow(way, address, PORT, "CANARY"), address, PORT, policy=policy, op="socket")
    assert "protocol" in done.err, done


@pytest.mark.parametrize("address", [ALLOWED4, DENIED4])
def test_udplite_by_packets_alone(net, packet_only, address):
    assert_denied(net, flow("udplite", address, PORT, "CANARY"), address, PORT, box=packet_only, op="sendto")


@pytest.mark.parametrize("protocol", [132, 33, 136])
def test_raw_forms_by_packets_alone(net, packet_only, protocol):
    for address in (ALLOWED4, DENIED4):
        argv = tool("raw", "ip", address, protocol, "CANARYCANARYCANARY")
        assert_denied(net, argv, address, box=packet_only, op="sendto")


@pytest.mark.parametrize("kind,protocol", [(socket.SOCK_STREAM, 132), (socket.SOCK_SEQPACKET, 132), (6, 33)])
def test_sockets_that_this_kernel_may_not_have(net, kind, protocol):
    """Where the kernel has the protocol the sandbox gets EPERM; where it does not, what the kernel says."""
    argv = tool("raw", "socket", socket.AF_INET, kind, protocol)
    plain = execute(net, argv).op("socket").result
    inside = sandboxed(net, [], argv).op("socket").result
    assert inside == ("EPERM" if plain == "ok" else plain)

# SPDX-License-Identifier: MIT
"""
Row 9: ping sockets. sendto() on one passes no socket hook: the packet hook alone decides. The kernel tells the caller of
an IPv4 ping what came of it; that of an IPv6 ping is told "ok" whatever happened (icmpv6_push_pending_frames).
"""

import pytest

from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PRIVATE4
from postern import assert_allowed, assert_denied, tool
from rows import POLICY


def told(address):
    return "ok" if ":" in address else "EPERM"


def ping(address):
    return tool("raw", "ping", address, "CANARY")


@pytest.mark.parametrize("address", [DENIED4, DENIED6, PRIVATE4])
@pytest.mark.parametrize("policy", [POLICY, ["--deny", "93.184.217.0/24", "--deny", "2606:4700::/32"]],
                         ids=["allow-list", "deny-list"])
def test_echo_to_a_denied_address(net, address, policy):
    assert_denied(net, ping(address), address, policy=policy, op="sendto", errno=told(address))


@pytest.mark.parametrize("address", [DENIED4, DENIED6])
def test_by_packets_alone(net, packet_only, address):
    assert_denied(net, ping(address), address, box=packet_only, op="sendto", errno=told(address))


@pytest.mark.parametrize("address", [ALLOWED4, ALLOWED6])
def test_echo_to_an_allowed_address(net, address):
    assert_allowed(net, ping(address), policy=POLICY, op="sendto")


def test_a_rule_with_a_port_does_not_cover_echo(net):
    assert_denied(net, ping(ALLOWED4), ALLOWED4, policy=["--allow", f"{ALLOWED4}:7000"], op="sendto")


def test_types_other_than_echo_do_not_leave(net, packet_only_open):
    """An ICMP message that is no echo request, made by hand: type 13 (timestamp) towards an allowed address."""
    argv = tool("raw", "icmp", ALLOWED4, 13, "CANARY")
    assert_denied(net, argv, ALLOWED4, box=packet_only_open, op="sendto")
    for number in (0, 3, 5):
        argv = tool("raw", "icmp", DENIED4, number, "CANARY")
        assert_denied(net, argv, DENIED4, box=packet_only_open, op="sendto")

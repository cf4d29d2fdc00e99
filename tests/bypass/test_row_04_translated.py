# SPDX-License-Identifier: MIT
"""Row 4: IPv4 inside IPv6 that a translator takes out: NAT64 in both prefixes, 6to4, Teredo."""

import pytest

from internet import ALLOWED4, DENIED4_NET, PORT
from postern import assert_allowed, assert_denied, flow
from rows import POLICY

DENIED = ["64:ff9b::93.184.217.7", "64:ff9b:1::93.184.217.7", "64:ff9b:1:5db8:d9:700::"]
PRIVATE = ["64:ff9b::10.9.0.5", "64:ff9b:1::10.9.0.5", "64:ff9b:1:a09:0:500::", "64:ff9b::169.254.169.254",
           "64:ff9b::127.0.0.1"]
TUNNELS = ["2002:5db8:d907::1", "2001:0:5db8:d907::1"]
WAYS = [("tcp", "connect"), ("udp", "sendto")]


@pytest.mark.parametrize("address", DENIED)
@pytest.mark.parametrize("policy", [["--deny", DENIED4_NET], POLICY], ids=["deny-list", "allow-list"])
def test_nat64_of_a_denied_address(net, address, policy):
    for way, op in WAYS:
        assert_denied(net, flow(way, address, PORT, "CANARY"), address, PORT, policy=policy, op=op)


@pytest.mark.parametrize("address", PRIVATE + TUNNELS)
def test_always_denied_inside_a_translated_address(net, address):
    for policy in ([], ["--allow", "0.0.0.0/0", "--allow", "::/0"], ["--allow", address]):
        assert_denied(net, flow("udp", address, PORT, "CANARY"), address, PORT, policy=policy, op="sendto")


@pytest.mark.parametrize("address", [DENIED[0], DENIED[2], PRIVATE[0], PRIVATE[2], *TUNNELS])
def test_by_packets_alone(net, packet_only, address):
    assert_denied(net, flow("udp", address, PORT, "CANARY"), address, PORT, box=packet_only, op="sendto")


def test_the_well_known_prefix_of_an_allowed_address_is_allowed(net):
    assert_allowed(net, flow("udp", "64:ff9b::" + ALLOWED4, PORT, "CANARY"), policy=POLICY, op="sendto")


def test_a_doubtful_reading_never_allows(net):
    """64:ff9b:1::/48 has no one place for the IPv4 address: the sandbox must not choose the reading."""
    address = "64:ff9b:1::" + ALLOWED4
    assert_denied(net, flow("udp", address, PORT, "CANARY"), address, PORT, policy=POLICY, op="sendto")

# SPDX-License-Identifier: MIT
"""Row 3: IPv4 by IPv6 sockets (::ffff:a.b.c.d), through every hook; and the deprecated ::a.b.c.d."""

import pytest

from internet import ALLOWED4, DENIED4, DENIED4_NET, PORT
from postern import assert_allowed, assert_denied, flow
from rows import POLICY

MAPPED, MAPPED_ALLOWED = "::ffff:" + DENIED4, "::ffff:" + ALLOWED4
WAYS = [("tcp", "connect"), ("udp", "sendto"), ("udp-connected", "connect"), ("tfo", "sendto"),
        ("tfo-connect", "connect")]
POLICIES = {
    "allow-list": POLICY,
    "deny-list": ["--deny", DENIED4_NET],
    "deny-list-mapped": ["--deny", "::ffff:93.184.217.0/120"],
    "ipv6-only": ["--allow", "2606::/16"],
    "every-ipv6": ["--allow", "::/0"],
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("way,op", WAYS)
def test_mapped_is_judged_as_ipv4(net, way, op, policy):
    if way.startswith("tfo") and policy != "allow-list":
        way, op = "tcp", "connect"
    assert_denied(net, flow(way, MAPPED, PORT, "CANARY"), MAPPED, PORT, policy=POLICIES[policy], op=op)


@pytest.mark.parametrize("way,op", [("udp", "sendto"), ("udp-connected", "send")])
def test_mapped_by_packets_alone(net, packet_only, way, op):
    assert_denied(net, flow(way, MAPPED, PORT, "CANARY"), MAPPED, PORT, box=packet_only, op=op)


@pytest.mark.parametrize("way,op", WAYS[:3])
@pytest.mark.parametrize("allow", [ALLOWED4, "::ffff:" + ALLOWED4, "::ffff:93.184.216.0/120"])
def test_a_rule_holds_for_both_spellings(net, way, op, allow):
    for address in (ALLOWED4, MAPPED_ALLOWED):
        assert_allowed(net, flow(way, address, PORT, "CANARY"), policy=["--allow", allow], op=op)


@pytest.mark.parametrize("policy", [[], ["--allow", "0.0.0.0/0"], ["--allow", "::/0"]], ids=["open", "all", "all-6"])
def test_the_deprecated_compatible_form_is_refused(net, policy):
    address = "::" + DENIED4
    assert_denied(net, flow("udp", address, PORT, "CANARY"), address, PORT, policy=policy, op="sendto")

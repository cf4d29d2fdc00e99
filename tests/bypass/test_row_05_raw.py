# SPDX-License-Identifier: MIT
"""Row 5: raw sockets, IP_HDRINCL (the address in the header counts), raw connect()."""

import pytest

from internet import ALLOWED4, DENIED4, DENIED6, PORT
from postern import assert_denied, execute, sandboxed, tool
from rows import POLICY

FORMS = {
    "ipip": (tool("raw", "ip", DENIED4, 4, "CANARYCANARYCANARY"), DENIED4),
    "icmp": (tool("raw", "raw-ping", DENIED4, "CANARY"), DENIED4),
    "icmp6": (tool("raw", "raw-ping", DENIED6, "CANARY"), DENIED6),
    "connected": (tool("raw", "ip-connected", DENIED4, 47, "CANARYCANARYCANARY"), DENIED4),
    "ipv6": (tool("raw", "ip", DENIED6, 41, "CANARYCANARYCANARY"), DENIED6),
    "udp-by-hand": (tool("raw", "ip", DENIED4, 17, "CANARYCANARY"), DENIED4),
    "header-says-another": (tool("raw", "hdrincl", DENIED4, ALLOWED4, PORT, "CANARY"), DENIED4),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_plain_sandbox_makes_no_raw_socket(net, form):
    argv, dst = FORMS[form]
    assert_denied(net, argv, dst, policy=POLICY, op="socket")


@pytest.mark.parametrize("form", FORMS)
def test_not_even_with_privileges(net, form):
    argv, dst = FORMS[form]
    done = assert_denied(net, argv, dst, policy=["--keep-privs", *POLICY], op="socket")
    assert "raw-socket" in done.err, done


@pytest.mark.parametrize("form", FORMS)
def test_by_packets_alone(net, packet_only, form):
    argv, dst = FORMS[form]
    assert_denied(net, argv, dst, box=packet_only, op="sendto")


@pytest.mark.parametrize("protocol", [4, 41, 47, 50, 51, 132])
def test_other_protocols_leave_for_no_destination(net, packet_only_open, protocol):
    argv = tool("raw", "ip", ALLOWED4, protocol, "CANARYCANARYCANARY")
    assert_denied(net, argv, ALLOWED4, box=packet_only_open, op="sendto")


def test_an_open_policy_refuses_raw_sockets_too(net):
    argv = tool("raw", "ip", ALLOWED4, 47, "CANARYCANARY")
    assert_denied(net, argv, ALLOWED4, policy=["--keep-privs"], op="socket")


def test_packet_sockets_need_a_privilege_that_is_gone(net):
    argv = tool("raw", "socket", 17, 3, 768)
    assert execute(net, argv).op("socket").result == "ok"
    assert sandboxed(net, [], argv).op("socket").result == "EPERM"

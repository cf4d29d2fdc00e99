# SPDX-License-Identifier: MIT
"""Row 32: multicast and broadcast in every mode, and joining a group, which puts a packet on the wire by itself."""

import ipaddress
import secrets

import pytest

from internet import PORT
from postern import assert_denied, execute, sandboxed, tool
from rows import POLICY

OPEN = {"open": [], "all": ["--allow", "0.0.0.0/0", "--allow", "::/0"], "closed": POLICY}
GROUPS = ["224.0.0.1", "224.0.0.251", "239.255.255.250", "255.255.255.255", "ff02::1", "ff02::fb", "ff05::1:3"]


def cast(group):
    return tool("options", "cast", "up0", group, PORT, "CANARY")


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("policy", OPEN)
def test_sending_to_a_group(net, group, policy):
    assert_denied(net, cast(group), group, PORT, policy=OPEN[policy], op="sendto")


@pytest.mark.parametrize("group", GROUPS)
def test_sending_to_a_group_by_packets_alone(net, packet_only_open, group):
    assert_denied(net, cast(group), group, PORT, box=packet_only_open, op="sendto")


def test_the_subnets_broadcast_in_a_closed_sandbox(net):
    assert_denied(net, cast("192.0.2.255"), "192.0.2.255", PORT, policy=POLICY, op="sendto")


@pytest.mark.parametrize("policy", [POLICY, []], ids=["closed", "open"])
@pytest.mark.parametrize("mode", ["join", "group-join"])
@pytest.mark.parametrize("prefix", ["239.77.", "ff05::"])
def test_joining_a_group(net, mode, prefix, policy):
    """The kernel would send IGMP or MLD, which no packet hook sees: the option is refused."""
    # A report names its group. A fresh one each time: the control's is reported once more when it is left.
    def fresh():
        high, low = secrets.randbelow(255) + 1, secrets.randbelow(255) + 1
        group = f"{prefix}{high}.{low}" if "." in prefix else f"{prefix}{high:x}:{low:x}:77"
        return group, ipaddress.ip_address(group).packed

    group, named = fresh()
    assert execute(net, tool("options", mode, "up0", group)).op("join").result == "ok"
    net.await_seen(token=named)
    group, named = fresh()
    net.forbid(named)
    done = sandboxed(net, policy, tool("options", mode, "up0", group))
    assert done.op("join").result == "EPERM" and "multicast" in done.err, done
    net.fence()
    assert not net.seen(token=named)

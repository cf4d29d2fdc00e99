# SPDX-License-Identifier: MIT
"""Row 32: multicast and broadcast in every mode, and joining a group, which puts a packet on the wire by itself."""

import pytest

from conftest import POLICY
from internet import PORT
from postern import assert_denied, tool

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
@pytest.mark.parametrize("group", ["239.1.2.3", "ff05::1234"])
def test_joining_a_group(net, mode, group, policy):
    """The kernel would send IGMP or MLD, which no packet hook sees: the option is refused."""
    # MLD reports go to ff02::16 and name the group inside; IGMPv3's to 224.0.0.22.
    reports = "ff02::16" if ":" in group else "224.0.0.22"
    assert_denied(net, tool("options", mode, "up0", group), reports, policy=policy, op="join", carries=False)

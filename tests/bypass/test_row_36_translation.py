# SPDX-License-Identifier: MIT
"""
Row 36: the host translates addresses. In a cgroup the packet hook sees the translated one, so a rule of the host leads
nobody past the policy; the socket hooks see the one before. Behind a device the verdict comes first: what is allowed there
goes where the host's own rules send it, which is the host's to know (docs/THREAT-MODEL.md).
"""

import subprocess

import pytest

from internet import ALLOWED4, DENIED4, PORT, canary
from postern import PacketOnly, assert_arrives, flow, sandboxed
from rows import POLICY

TO_DENIED = f"ip daddr {ALLOWED4} udp dport {PORT} dnat to {DENIED4}:{PORT}"
TO_ALLOWED = f"ip daddr {DENIED4} udp dport {PORT} dnat to {ALLOWED4}:{PORT}"


@pytest.fixture(name="translate")
def translate_fixture(net):
    def add(rule):
        lines = ["table ip pst36 {"]
        for chain, hook in (("output", "output"), ("before", "prerouting")):
            lines += [f"chain {chain} {{ type nat hook {hook} priority -100;", rule, "}"]
        done = subprocess.run(net.host.command(["nft", "-f", "-"]), input="\n".join([*lines, "}"]), text=True,
                              capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    yield add
    subprocess.run(net.host.command(["nft", "delete", "table", "ip", "pst36"]), capture_output=True, check=False)


@pytest.mark.parametrize("alone", [False, True], ids=["hooks", "packets-alone"])
def test_an_allowed_address_that_the_host_sends_elsewhere(net, translate, alone):
    """The cgroup's packet hook judges where the packet goes."""
    translate(TO_DENIED)
    argv = flow("-n", "udp", ALLOWED4, PORT, "CANARY")
    assert_arrives(net, argv)
    token, since = canary(), net.mark()
    argv = [word.replace("CANARY", token) for word in argv]
    if alone:
        with PacketOnly(net, POLICY) as box:
            box.do(*argv)
    else:
        sandboxed(net, POLICY, argv)
    net.fence()
    assert not net.seen(token=token, since=since)


def test_a_denied_address_that_the_host_sends_to_an_allowed_one(net, translate):
    """What the caller named is denied, wherever it would have gone."""
    translate(TO_ALLOWED)
    argv = flow("-n", "udp", DENIED4, PORT, "CANARY")
    assert_arrives(net, argv)
    token, since = canary(), net.mark()
    sandboxed(net, POLICY, [word.replace("CANARY", token) for word in argv])
    net.fence()
    assert not net.seen(token=token, since=since)

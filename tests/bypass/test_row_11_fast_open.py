# SPDX-License-Identifier: MIT
"""Row 11: TCP Fast Open carries data in the SYN."""

import pytest

from internet import ALLOWED4, DENIED4, DENIED6, PORT, canary
from postern import assert_denied, fill, flow, plain, sandboxed
from rows import POLICY

WAYS = [("tfo", "sendto"), ("tfo-connect", "connect")]
SYN = 2


@pytest.mark.parametrize("way,_", WAYS)
def test_the_control_puts_data_into_the_syn(net, way, _):
    token, since = canary(), net.mark()
    for run in (lambda argv: plain(net, argv), lambda argv: sandboxed(net, POLICY, argv)):
        assert run(fill(flow(way, ALLOWED4, PORT, "CANARY"), token)).code == 0
        found = net.await_seen(token=token, since=since)
        assert found[0].flags & SYN, "the data came later: Fast Open is off, the row is not tested"
        since = net.mark()


@pytest.mark.parametrize("address", [DENIED4, DENIED6])
@pytest.mark.parametrize("way,op", WAYS)
def test_no_syn_leaves(net, way, op, address):
    assert_denied(net, flow(way, address, PORT, "CANARY"), address, PORT, policy=POLICY, op=op)


def test_by_packets_alone_no_syn_leaves(net, packet_only):
    """The caller waits in vain (there is no connect hook to tell it), but nothing leaves."""
    token, since = canary(), net.mark()
    net.forbid(token)
    packet_only.do(f"timeout 0.5 {' '.join(fill(flow('tfo', DENIED4, PORT, 'CANARY'), token))}")
    net.fence()
    assert not net.seen(token=token, dst=DENIED4, port=PORT, since=since)

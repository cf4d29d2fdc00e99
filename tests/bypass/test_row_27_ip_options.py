# SPDX-License-Identifier: MIT
"""Row 27: IPv4 options. A source route names another first hop; any option is refused, for any destination."""

import pytest

from internet import ALLOWED4, DENIED4, PORT
from postern import assert_denied, tool
from rows import POLICY


def options(*args):
    return tool("options", *args)


# Mode and arguments -> the address that the packet goes to.
SET = {
    "record-route": (("record-route", ALLOWED4), ALLOWED4),
    "padding": (("nop", ALLOWED4), ALLOWED4),
    "source-route-by-a-denied-hop": (("lsrr", DENIED4, ALLOWED4), DENIED4),
    "source-route-to-a-denied-address": (("lsrr", ALLOWED4, DENIED4), ALLOWED4),
}
BESIDE = {
    "record-route": (("beside-record-route", ALLOWED4), ALLOWED4),
    "source-route-by-a-denied-hop": (("beside-lsrr", DENIED4, ALLOWED4), DENIED4),
    "source-route-to-a-denied-address": (("beside-lsrr", ALLOWED4, DENIED4), ALLOWED4),
}


@pytest.mark.parametrize("form", SET)
def test_the_socket_option_is_refused(net, form):
    args, dst = SET[form]
    assert_denied(net, options(*args, PORT, "CANARY"), dst, policy=["--keep-privs", *POLICY], op="setsockopt")


@pytest.mark.parametrize("form", ["record-route", "padding"])
@pytest.mark.parametrize("policy", [POLICY, []], ids=["closed", "open"])
def test_without_privileges_too(net, form, policy):
    args, dst = SET[form]
    assert_denied(net, options(*args, PORT, "CANARY"), dst, policy=policy, op="setsockopt")


@pytest.mark.parametrize("form", SET)
def test_by_packets_alone(net, packet_only, form):
    args, dst = SET[form]
    assert_denied(net, options(*args, PORT, "CANARY"), dst, box=packet_only, op="sendto")


@pytest.mark.parametrize("form", BESIDE)
@pytest.mark.parametrize("policy", [POLICY, []], ids=["closed", "open"])
def test_as_ancillary_data(net, form, policy):
    """No socket option is set: the packet hook is what refuses it, in every mode."""
    args, dst = BESIDE[form]
    assert_denied(net, options(*args, PORT, "CANARY"), dst, policy=["--keep-privs", *policy], op="sendmsg")


def test_fragments_made_by_hand(net, packet_only, packet_only_open):
    for dst in (DENIED4, ALLOWED4):
        argv = tool("raw", "fragments", dst, PORT, "CANARYCANARYCANARY")
        for box in (packet_only, packet_only_open):
            done = assert_denied(net, argv, dst, box=box, op="sendto")
            assert [op.result for op in done.ops] == ["EPERM", "EPERM"] or not net.kind.has_errors, done

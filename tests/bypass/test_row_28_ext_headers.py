# SPDX-License-Identifier: MIT
"""Row 28: IPv6 extension headers, of which routing headers need no privilege: refused in every mode."""

import pytest

from internet import ALLOWED6, DENIED6, PORT, canary
from postern import assert_denied, fill, plain, tool
from rows import POLICY

NOBODY = {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}


def options(*args):
    return tool("options", *args)


SET = {
    "segments-by-a-denied-hop": (("segments", DENIED6, ALLOWED6), DENIED6),
    "segments-to-a-denied-address": (("segments", ALLOWED6, DENIED6), ALLOWED6),
    "hop-by-hop": (("hop-by-hop", ALLOWED6), ALLOWED6),
    "destination": (("destination", ALLOWED6), ALLOWED6),
    "chain": (("chain", ALLOWED6), ALLOWED6),
}
BESIDE = {
    "route-by-a-denied-hop": (("beside-route", DENIED6, ALLOWED6), DENIED6),
    "hop-by-hop": (("beside-hop-by-hop", ALLOWED6), ALLOWED6),
    "destination": (("beside-destination", ALLOWED6), ALLOWED6),
}


@pytest.mark.parametrize("form", SET)
@pytest.mark.parametrize("policy", [POLICY, []], ids=["closed", "open"])
def test_the_socket_option_is_refused(net, form, policy):
    args, dst = SET[form]
    assert_denied(net, options(*args, PORT, "CANARY"), dst, policy=["--keep-privs", *policy], op="setsockopt")


@pytest.mark.parametrize("form", SET)
def test_by_packets_alone(net, packet_only, form):
    args, dst = SET[form]
    assert_denied(net, options(*args, PORT, "CANARY"), dst, box=packet_only, op="sendto")


@pytest.mark.parametrize("form", SET)
def test_by_packets_alone_in_open_mode(net, packet_only_open, form):
    args, dst = SET[form]
    assert_denied(net, options(*args, PORT, "CANARY"), dst, box=packet_only_open, op="sendto")


@pytest.mark.parametrize("form", BESIDE)
def test_as_ancillary_data(net, form):
    args, dst = BESIDE[form]
    argv = options(*args, PORT, "CANARY")
    if form.startswith("route") and plain(net, fill(argv, canary())).op("sendmsg").result == "EINVAL":
        pytest.skip("this kernel has no mobile routing header (CONFIG_IPV6_MIP6)")
    assert_denied(net, argv, dst, policy=["--keep-privs"], op="sendmsg")


def test_segments_from_a_user_without_any_privilege(net):
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
            *options("segments", DENIED6, ALLOWED6, PORT, "CANARY")]
    assert_denied(net, argv, DENIED6, policy=POLICY, op="setsockopt")

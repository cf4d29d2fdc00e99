# SPDX-License-Identifier: MIT
"""A peer that `inbound` does not admit gets no further with IPv4 options or IPv6 extension headers in its packets."""

import json
import socket

import pytest

from internet import HOST4, HOST6, canary
from postern import Server

NOPS = bytes([1, 1, 1, 1])
PADDED = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # a destination options header with padding and nothing else
IPV6_DSTOPTS = 59


def call(net, kind, family, server, data, deadline_s):
    """Sends data with options; returns the answer, or None."""
    def talk():
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sock:
            if family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, NOPS)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, PADDED)
            sock.settimeout(deadline_s)
            try:
                sock.connect((server.address(HOST4 if family == socket.AF_INET else HOST6), server.port))
                sock.send(data)
                return sock.recv(2048)
            except OSError:
                return None
    return net.internet.call(talk)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("inbound", ["deny", ["93.184.216.34"]])
def test_options_do_not_get_a_peer_in(net, tmp_path, inbound, kind, family):
    """The default is allow: once the sandbox had the peer's packet, nothing else would hold back the answer."""
    token = canary().encode()
    with Server(net, kind, "::", 0) as plain:
        assert call(net, kind, family, plain, token, 3) == token
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"inbound": inbound}))
    with Server(net, kind, "::", 0, policy=["--policy", path]) as server:
        assert call(net, kind, family, server, token, 0.7) is None
        assert not [op for op in server.ops() if op.name in ("reply", "accept")], server.text()

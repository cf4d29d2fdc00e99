# SPDX-License-Identifier: MIT
"""
A forged source: what an allowed server answers would go to an address that the policy does not allow. IPv4's routes
refuse a source that is not the host's; IPv6's do not.
"""

import pytest

from captive import Captive
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, canary
from rows import POLICY

FREEBIND = {"ipv6": [41, 78, 1], "ip": [0, 15, 1]}
PING = """
try:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
    sock.setsockopt(*option)
    sock.bind((source, 0))
    out = tried(sock.sendto, b"\\x80\\0\\0\\0\\0\\1\\0\\1" + bytes.fromhex(data), (target, 0))
except OSError as error:
    out = errno.errorcode[error.errno]
"""


def send_udp(who, option, data):
    return who.open_socket(family=6, options=[option], bind=[DENIED6, 0]), who.send(data=data, to=[ALLOWED6, PORT])


def send_ping(who, option, data):
    return who.script(code=PING, option=option, source=DENIED6, target=ALLOWED6, data=data)


@pytest.mark.parametrize("send", [send_udp, send_ping])
@pytest.mark.parametrize("option", FREEBIND.values(), ids=FREEBIND)
def test_a_denied_address_as_the_source(net, free, send, option):
    token, since = canary(), net.mark()
    send(free, option, token.encode().hex())
    net.await_seen(token=token, since=since)
    with Captive(net, POLICY) as box:
        token, since = canary(), net.mark()
        result = send(box, option, token.encode().hex())
        net.fence()
        seen = [f for f in net.seen(token=token, since=since) if str(f.src) == DENIED6]
        assert not seen, (result, seen[0])


def test_ipv4_refuses_by_itself(net):
    with Captive(net, POLICY) as box:
        token, since = canary(), net.mark()
        box.open_socket(options=[FREEBIND["ip"]], bind=[DENIED4, 0])
        box.send(data=token.encode().hex(), to=[ALLOWED4, PORT])
        net.fence()
        assert not net.seen(token=token, since=since)

# SPDX-License-Identifier: MIT
"""Row 34: what the host serves on loopback, on the unspecified address and on its own addresses, also later ones."""

import pytest

from internet import HOST4, HOST4_SECOND, HOST6
from postern import PacketOnly, Server, Shell, flow, plain, sandboxed
from rows import POLICY
from wait import until

LATER4, LATER6 = "203.0.113.88", "2001:db8:77::1"
ADDRESSES = ["127.0.0.1", "127.255.255.254", "0.0.0.0", "::", "::1", HOST4, HOST4_SECOND, HOST6,
             "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:" + HOST4]
EVERYTHING = ["--allow", "0.0.0.0/0", "--allow", "::/0", "--allow-private", "0.0.0.0/0", "--allow-private", "::/0"]


@pytest.fixture
def services(net):
    """A TCP and a UDP service of the host, on one port."""
    with Server(net, "tcp", "::", 0) as tcp, Server(net, "udp", "::", tcp.port) as udp:
        yield tcp.port, {"tcp": tcp, "udp": udp}


def heard(services):
    return [len(server.ops()) for server in services[1].values()]


def control(net, services, kind, address):
    """Without Postern the service is reached."""
    assert plain(net, flow("-n", kind, address, services[0], "x")).code == 0
    services[1][kind].await_op("reply", "ok")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("way,op", [("tcp", "connect"), ("udp", "sendto")])
def test_a_service_of_the_host(net, services, way, op, address):
    port = services[0]
    control(net, services, way, address)
    # Behind a device the host is an address like others that are always denied: lifted, it is reached.
    for policy in ([], POLICY, EVERYTHING if net.kind.name == "cgroup" else EVERYTHING[:4]):
        before = heard(services)
        done = sandboxed(net, policy, flow(way, address, port, "x"))
        assert done.op(op).result == "EPERM", done
        assert heard(services) == before


@pytest.mark.parametrize("address", ADDRESSES)
def test_by_packets_alone(net, services, address):
    port = services[0]
    control(net, services, "tcp", address)
    control(net, services, "udp", address)
    with PacketOnly(net, []) as box:
        before = heard(services)
        done = box.do(*flow("udp", address, port, "x"))
        assert done.op("sendto").result == "EPERM", done
        # TCP has no hook left to tell the caller; the SYN never reaches the listener.
        box.do("timeout 0.3 " + " ".join(flow("tcp", address, port, "x")))
        assert heard(services) == before, services[1][0].text()


@pytest.mark.parametrize("address", [LATER4, LATER6])
def test_an_address_that_comes_later(net, services, address):
    port = services[0]
    length = 128 if ":" in address else 32
    with Shell(net, []) as box:
        net.host.ip("addr", "add", f"{address}/{length}", "dev", "up0", *(["nodad"] if length == 128 else []))
        try:
            control(net, services, "tcp", address)
            control(net, services, "udp", address)
            until(lambda: box.do(*flow("tcp", address, port, "x")).op("connect").result == "EPERM",
                  "the address is known to be the host's")
            before = heard(services)
            assert box.do(*flow("udp", address, port, "x")).op("sendto").result == "EPERM"
            assert heard(services) == before
        finally:
            net.host.ip("addr", "del", f"{address}/{length}", "dev", "up0")


TO_ALL = """
import socket
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
own.bind(("0.0.0.0", PORT))
own.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
try:
    own.sendto(b"x", ("127.255.255.255", PORT))
    print("sendto ok 0.0", flush=True)
except PermissionError:
    print("sendto EPERM 0.0", flush=True)
"""


def test_the_broadcast_address_of_loopback(net, tmp_path):
    """Everybody who shares that port hears it: the sandbox's own socket there is no reason to let it pass."""
    with Server(net, "udp", "0.0.0.0", 0) as first:
        script = tmp_path / "to_all.py"
        script.write_text(TO_ALL.replace("PORT", str(first.port)))
        argv = ["/usr/bin/python3", str(script)]
        plain(net, argv)
        first.await_op("reply", "ok")
        before = len(first.ops())
        assert sandboxed(net, [], argv).op("sendto").result == "EPERM"
        with PacketOnly(net, []) as box:
            assert box.do(*argv).op("sendto").result == "EPERM"
        assert len(first.ops()) == before, first.text()

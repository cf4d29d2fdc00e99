# SPDX-License-Identifier: MIT
"""
Row 6: families that no hook of a cgroup sees. Every family of 45 with every type is tried inside: of those that can be made
there, what is neither judged nor stays on this machine is told as the hole `other-families`. Behind a device packet sockets
are the sandbox's own to make, and the host's side judges their frames.
"""

import socket

import packets
import pytest

from daemon import Daemon
from evidence import NOW
from internet import DENIED4, PORT, canary
from matrix import POLICIES
from postern import execute, sandboxed
from wait import until
from wire import INSIDE, Wire

UNIX, INET, INET6, KEY, NETLINK, PACKET, ALG, VSOCK, XDP = 1, 2, 10, 15, 16, 17, 38, 40, 44
JUDGED, STAY_HERE = {INET, INET6}, {UNIX, NETLINK, KEY, ALG}
FAMILIES, TYPES = range(1, 46), (1, 2, 3, 5)
MAKE = f"""
import socket
for family in {list(FAMILIES)}:
    for kind in {TYPES}:
        try:
            socket.socket(family, kind, 0).close()
            print(family)
        except OSError:
            pass
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as s:
    s.bind((sys.argv[1], 0x0800))
    s.send(bytes.fromhex(sys.argv[2]))
"""


def made(done):
    assert done.code == 0, done
    return {int(line) for line in done.out.split()}


def python(code, *args):
    return ["/usr/bin/python3", "-c", code, *args]


@pytest.mark.parametrize("options", [[], ["--deny", "0.0.0.0/0"], ["--allow", "93.184.216.0/24"]],
                         ids=["open", "deny-all", "restricted"])
def test_what_a_command_can_make(net, options):
    """No packet and no XDP socket; the control makes them. VSOCK and its like: see the next test."""
    assert PACKET in made(execute(net, python(MAKE))), "the control"
    inside = made(sandboxed(net, options, python(MAKE)))
    NOW.tried(len(FAMILIES) * len(TYPES))
    assert not inside & {PACKET, XDP}, inside


def test_what_is_not_seen_is_told(net):
    """For a sandbox of posternd, with a member in it: the hole stands there exactly where such a socket can be made."""
    with Daemon(net) as daemon:
        box = daemon.attach("families", daemon.cgroup("families"), POLICIES["deny_all"])
        can = made(box.run(python(MAKE))) - JUDGED - STAY_HERE
        unseen = ({"other-families"} if can - {PACKET, XDP} else set()) | ({"capability"} if can & {PACKET, XDP} else set())

        def holes():
            return {hole["name"] for hole in box.show()["assurance"]["holes"]}
        with box.start(["sleep", "600"]):
            until(lambda: unseen <= holes(), f"{unseen} are told: {can}", 30)
        NOW.tried(len(FAMILIES) * len(TYPES))


@pytest.mark.parametrize("mode", POLICIES)
def test_packet_sockets_behind_a_device(net, mode):
    to = "169.254.169.254" if mode == "open" else DENIED4

    def send(wire):
        token, since = canary(), net.mark()
        packet = packets.udp(wire.addr4, to, 9000, PORT, token.encode())
        frame = packets.ether(wire.host_mac, wire.mac, packets.IPV4, packet)
        assert wire.run(python(SEND, INSIDE, frame.hex())).code == 0
        return {"token": token, "since": since}
    with Daemon(net, resolvers=[]) as daemon, Wire(net, known=True) as wire:
        net.await_seen(**send(wire))
        wire.attach(daemon, POLICIES[mode])
        sent = send(wire)
        net.fence()
        assert not net.seen(**sent)


def test_vsock():
    """The family that no kind of sandbox closes: it crosses no device and no hook. See docs/THREAT-MODEL.md."""
    try:
        socket.socket(VSOCK, socket.SOCK_STREAM).close()
    except OSError:
        pytest.skip("this kernel has no AF_VSOCK: there is nothing to get out by")
    pytest.skip("not closable by cgroup or device: LSM programs, seccomp, or a VMM without a vsock device")

# SPDX-License-Identifier: MIT
"""Row 33: the clouds' metadata services in every spelling, also under a policy that allows everything."""

import pytest

from internet import PORT
from postern import assert_denied, flow, sandboxed

EVERYTHING = ["--allow", "0.0.0.0/0", "--allow", "::/0", "--allow", "169.254.169.254", "--allow", "fd00:ec2::254"]
ADDRESSES = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192",
             "fd00:ec2::254", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::ffff:168.63.129.16",
             "64:ff9b::a9fe:a9fe", "64:ff9b::168.63.129.16"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("way,op", [("tcp", "connect"), ("udp", "sendto")])
def test_metadata(net, way, op, address):
    assert_denied(net, flow(way, address, PORT, "CANARY"), address, PORT, policy=EVERYTHING, op=op)


@pytest.mark.parametrize("address", ADDRESSES)
def test_metadata_by_packets_alone(net, packet_only_open, address):
    assert_denied(net, flow("udp", address, PORT, "CANARY"), address, PORT, box=packet_only_open, op="sendto")


@pytest.mark.parametrize("spelling", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"])
def test_what_a_libc_makes_an_address_of(net, spelling):
    """The spelling is gone by the time that the kernel sees the address; a policy does not accept it at all."""
    script = ("import socket; s=socket.socket(); s.settimeout(3)\n"
              f"try: s.connect((socket.inet_ntoa(socket.inet_aton('{spelling}')),{PORT}))\n"
              "except OSError as e: print(e.errno)")
    assert sandboxed(net, EVERYTHING, ["/usr/bin/python3", "-c", script]).out.strip() == "1"
    done = sandboxed(net, ["--allow", spelling], ["echo", "started"])
    assert done.code in (2, 3) and "started" not in done.out, done


def test_only_lifting_opens_it(net):
    policy = ["--allow-private", "169.254.169.254/32", *EVERYTHING]
    assert sandboxed(net, policy, flow("tcp", "169.254.169.254", PORT, "x")).op("connect").result == "ok"

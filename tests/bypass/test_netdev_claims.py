# SPDX-License-Identifier: MIT
"""
Row 31, before the attach: where nobody says which addresses a sandbox has, they are what the host knows; and what the host
knows of neighbours is what they say of themselves. Somebody who runs already may have claimed other people's.
"""

import contextlib
import threading

import packets
import pytest
from attack import assert_arrive, assert_silent
from cell import Cell, packet_socket
from crafted import RESOLVER4, RESOLVER6
from internet import ALLOWED4, ALLOWED6, DENIED4, PORT, canary
from packets import BROADCAST, arp, ether, lladdr
from wait import until


def claim(cell, address):
    """Asks for the gateway in the name of that address: whoever is asked notes who asked."""
    if ":" in address:
        body = packets.solicitation(address, packets.solicited(cell.gate6), cell.gate6, lladdr(1, cell.mac))
        cell.send(ether(packets.group_mac(packets.raw(packets.solicited(cell.gate6))), cell.mac, packets.IPV6, body))
    else:
        cell.send(ether(BROADCAST, cell.mac, packets.ARP, arp(1, cell.mac, address, "00:00:00:00:00:00", cell.gate4)))


def noted(cell, address):
    return address in cell.net.host.ip("neigh", "show", "dev", cell.device)


@pytest.mark.parametrize("claimed", [RESOLVER4, RESOLVER6, "93.184.99.9", "2606:4700::99"])
def test_what_it_claimed_before_it_was_attached(net, warden, claimed):
    allowed = ALLOWED6 if ":" in claimed else ALLOWED4
    form = {"claimed": lambda c, t: c.frame(packets.udp(claimed, allowed, 53, PORT, t))}
    with Cell(net) as cell:
        assert_arrive(cell, form)
        claim(cell, claimed)
        until(lambda: noted(cell, claimed), "the host has noted it")
        cell.attach(warden, {"allowOut": [ALLOWED4, ALLOWED6], "denyOut": ["0.0.0.0/0"]}, addresses=None, macs=None)
        assert_silent(cell, form)
        assert_arrive(cell, {"own": lambda c, t: c.udp(allowed, t)})


def test_the_hardware_address_that_it_claimed(net, warden):
    """An entry for an address of its own, with somebody else's hardware address."""
    with Cell(net) as cell:
        other = "02:00:66:66:66:66"
        frame = {"other": lambda c, t: ether(c.gate_mac, other, packets.IPV4, packets.udp(c.addr4, ALLOWED4, 9000, PORT, t))}
        assert_arrive(cell, frame)
        cell.attach(warden, {"allowOut": [ALLOWED4], "denyOut": ["0.0.0.0/0"]}, macs=None)
        assert_silent(cell, frame)


@pytest.mark.parametrize("ways", [1, 10])
def test_a_flood_while_it_is_attached(net, warden, ways):
    """
    Row 23: it runs and sends all the time, and is answered. From the reply on nothing of it leaves, at every change.
    """
    deny, allow = {"denyOut": ["0.0.0.0/0"], "allowOut": [ALLOWED4]}, {}
    with Cell(net) as cell, flooding(cell) as token:
        since = net.mark()
        net.await_seen(token=token, since=since)
        cell.attach(warden, deny)
        for turn in range(ways):
            net.fence()
            since = net.mark()
            cell.fence()
            assert not net.seen(token=token, since=since), turn
            if turn + 1 < ways:
                cell.box.put(allow)
                since = net.mark()
                net.await_seen(token=token, since=since)
                cell.box.put(deny)


@contextlib.contextmanager
def flooding(cell):
    """Datagrams to DENIED4, as many as one thread can."""
    token, over = canary(), threading.Event()
    frame = cell.udp(DENIED4, token.encode())
    sock = cell.call(packet_socket, "eth0")

    def flood():
        while not over.is_set():
            for _ in range(20):
                sock.send(frame)
            over.wait(0.002)
    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        yield token
    finally:
        over.set()
        thread.join(5)
        sock.close()

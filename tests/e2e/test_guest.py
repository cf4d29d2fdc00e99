# SPDX-License-Identifier: MIT
"""
A guest with a kernel of its own, whom posternd enforces from outside, on its tap: nothing in it knows of Postern, and its
root can do nothing about it. Its policy is changed by E2B's route while it runs.
"""

import struct
import tempfile

import pytest

from cell import ETHTOOL_STXCSUM, set_offload
from daemon import DENY_ALL, Daemon
from guest import Guest, missing
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, canary
from packets import ether, udp
from wait import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can run")

ONE = {**DENY_ALL, "allowOut": [ALLOWED4, ALLOWED6]}
BOTH = {**DENY_ALL, "allowOut": [ALLOWED4, ALLOWED6, DENIED4, DENIED6]}


@pytest.fixture(scope="module")
def warden(net):
    with Daemon(net, start=False) as running:
        yield running.start(env={"PST_TEST": "warden of a guest"})


@pytest.fixture(scope="module")
def guest(net, warden):
    """Attached before it runs: its first packet is judged."""
    with Guest(net, tempfile.mkdtemp(prefix="pst-guest-", dir="/dev/shm")) as guest:
        guest.box = guest.attach(warden, DENY_ALL, allowWeak=True)
        guest.sent_before = net.mark()
        yield guest.boot()


def change(guest, policy):
    reply = guest.box.network(policy)
    assert reply.status == 204, reply
    guest.net.fence()
    return guest.net.mark()


def assert_out(guest, *targets):
    for mode, address in targets:
        token, since = canary(), guest.net.mark()
        assert guest.flow(mode, address, PORT, token).result == "ok", (mode, address)
        guest.net.await_seen(token=token, since=since)


def assert_in(guest, *targets):
    """Refused at once, in the kernel's own words, and nothing arrives."""
    for mode, address in targets:
        token, since = canary(), guest.net.mark()
        guest.net.forbid(token)
        found = guest.flow(mode, address, PORT, token)
        assert (found.result, found.ms < 3000) == (guest.box.refusal(mode, address), True), (mode, address, found)
        guest.net.fence()
        assert not guest.net.seen(token=token, dst=address, since=since)


ALLOWED = (("tcp", ALLOWED4), ("udp-connected", ALLOWED4), ("tcp", ALLOWED6), ("udp-connected", ALLOWED6))
DENIED = (("tcp", DENIED4), ("udp-connected", DENIED4), ("tcp", DENIED6), ("udp-connected", DENIED6))


def test_nothing_leaves_before_it_may(net, guest):
    assert_in(guest, *ALLOWED, *DENIED)
    own = (guest.addr4, guest.addr6)
    assert not [f for f in net.sniffer.frames[guest.sent_before:] if str(f.src) in own]


def test_its_policy_is_changed_while_it_runs(guest):
    change(guest, ONE)
    assert_out(guest, *ALLOWED)
    assert_in(guest, *DENIED)
    change(guest, BOTH)
    assert_out(guest, *DENIED)


def test_live_connections_end_with_what_allowed_them(net, guest):
    change(guest, BOTH)
    token, after = canary(), canary()
    guest.do(f"mkfifo /tmp/in; nc {DENIED4} {PORT} </tmp/in >/tmp/out & exec 9>/tmp/in; nc=$!")
    guest.do(f"echo {token} >&9")
    net.await_seen(token=token)
    since = change(guest, ONE)
    net.forbid(after)
    guest.do(f"echo {after} >&9")
    until(lambda: guest.do("kill -0 $nc")[0], "its program is told: the connection is gone", 20)
    guest.do("exec 9>&-; rm /tmp/in")
    net.fence()
    assert not net.seen(token=after, since=since)
    assert_out(guest, ALLOWED[0])


def test_what_its_root_can_make_of_frames(net, guest):
    """Tags, other sources, fragments and headers, by a packet socket in the guest, through virtio."""
    change(guest, ONE)
    tokens = [canary() for _ in range(8)]
    for token in tokens:
        net.forbid(token)
    since = net.mark()
    inner = udp(guest.addr4, ALLOWED4, 9000, PORT, tokens[0].encode())
    frames = (ether(guest.host_mac, guest.mac, 0x8100, b"\0\5\x08\0" + inner),
              ether(guest.host_mac, guest.mac, 0x0800, udp("10.9.8.7", ALLOWED4, 9000, PORT, tokens[1].encode())),
              ether(guest.host_mac, "02:00:66:66:66:66", 0x0800, udp(guest.addr4, ALLOWED4, 9000, PORT, tokens[2].encode())),
              ether(guest.host_mac, guest.mac, 0x0800, udp(guest.addr4, DENIED4, 9000, PORT, tokens[3].encode())))
    for frame in frames:
        assert guest.do(f"ring eth0 1 {frame.hex()} {frame.hex()}")[0] == 0
    for words in (f"raw fragments {ALLOWED4} {PORT} {tokens[4]}", f"raw ip {ALLOWED4} 47 {tokens[5]}",
                  f"raw hdrincl {DENIED4} {ALLOWED4} {PORT} {tokens[6]}", f"options destination {ALLOWED6} {PORT} {tokens[7]}"):
        guest.do(words)
    assert_out(guest, ALLOWED[0])
    net.fence()
    assert not [token for token in tokens if net.seen(token=token, since=since)]
    # The control: a frame by the same means that is what it seems.
    token = canary()
    plain = ether(guest.host_mac, guest.mac, 0x0800, udp(guest.addr4, ALLOWED4, 9000, PORT, token.encode()))
    guest.do(f"ring eth0 1 {plain.hex()} {plain.hex()}")
    net.await_seen(token=token, since=since)


@pytest.fixture
def summing(net):
    """The way out finishes checksums itself, behind the verdict."""
    set_offload(net.host, "up0", ETHTOOL_STXCSUM, 0)
    yield
    set_offload(net.host, "up0", ETHTOOL_STXCSUM, 1)


def rewritten(guest):
    """The ports and addresses that checksums, put where the guest says, have made of a packet for ALLOWED4's port."""
    token, since = canary(), guest.net.mark()
    frame = ether(guest.host_mac, guest.mac, 0x0800, udp(guest.addr4, ALLOWED4, 9000, PORT, token.encode()))
    heads = [struct.pack("<BBHHHH", 1, 0, 0, 0, start, at) for start, at in ((34, 2), (34, 0), (20, 12), (30, 2), (24, 12))]
    guest.do("vnet eth0 " + " ".join((head + frame).hex() for head in heads))
    assert_out(guest, ALLOWED[0])
    guest.net.fence()
    return {(str(f.dst), f.dport) for f in guest.net.seen(token=token, since=since)} - {(ALLOWED4, PORT)}


def test_what_its_card_is_told_to_finish(guest, summing):
    """Its virtio card takes from the guest where a checksum is to be written, and hands that on to the tap."""
    change(guest, {**DENY_ALL, "allowOut": [ALLOWED4]})
    assert not rewritten(guest)


def test_the_daemons_death_changes_nothing(warden, guest):
    change(guest, ONE)
    warden.kill()
    assert_out(guest, ALLOWED[0])
    assert_in(guest, DENIED[0])
    warden.start(env={"PST_TEST": "warden of a guest"})
    assert guest.box.show()["state"] == "running"
    assert_in(guest, DENIED[0])
    change(guest, BOTH)
    assert_out(guest, DENIED[0])


def test_the_control_without_it_everything_arrives(guest, summing):
    """Last: the guest that was held goes on, and nobody holds it."""
    change(guest, DENY_ALL)
    assert_in(guest, DENIED[0])
    guest.box.delete()
    assert_out(guest, *ALLOWED, *DENIED)
    assert rewritten(guest)

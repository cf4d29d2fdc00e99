# SPDX-License-Identifier: MIT
"""
The name gate and the ways that sockets have to send something other than what was judged: in pieces, in segments, from
memory that changes, with an address that changes, on a socket that has asked properly before. PST_LONG=1: the slow ones behind a device, too.
"""

import pytest

import dnswire
from captive import Captive
from crafted import RESOLVER4
from dnsrows import (GOOD, NAMED, OFF, TO4, TO6, answers, assert_shut, await_question, control, learn, nothing_arrives,
                     questions_seen, to)
from dnswire import opt, query
from internet import HOST4, PORT, canary
from postern import plain, tool
from wait import until

ASKED = query(GOOD).hex()
BAD = query(OFF).hex()
TARGET = "93.184.47.1"
MAPPED = ["::ffff:" + RESOLVER4, 53]
SOL_UDP, UDP_CORK, UDP_SEGMENT = 17, 1, 103
MSG_MORE, MSG_CONFIRM, MSG_PROBE, MSG_ZEROCOPY, MSG_DONTROUTE = 0x8000, 0x800, 0x10, 0x4000000, 4
AF = {"4": (4, TO4), "6": (6, TO6), "mapped": (6, MAPPED)}

# The resolver says nothing unless a test tells it to.
pytestmark = pytest.mark.usefixtures("dns")


def only_asked_arrives(net, box, send):
    """send(box): what reaches a resolver are proper questions, byte for byte."""
    net.fence()
    since = net.mark()
    result = send(box)
    net.fence()
    strange = [payload for payload in questions_seen(net, since) if payload.hex() != ASKED]
    assert not strange, f"{result}: {strange[0]}"
    return result


# ---- pieces ----

def in_pieces(how, where, pieces):
    family, peer = AF[where]

    def send(who):
        assert who.open_socket(family=family) == "ok"
        if how == "cork":
            assert who.option(level=SOL_UDP, name=UDP_CORK, value=1) == "ok"
        results = [who.send(data=piece, to=peer, flags=MSG_MORE if how == "more" and n < len(pieces) - 1 else 0)
                   for n, piece in enumerate(pieces)]
        if how == "cork":
            results.append(who.option(level=SOL_UDP, name=UDP_CORK, value=0))
        return results
    return send


PIECES = ([BAD[:20], BAD[20:]], [ASKED, b"tunnel".hex()], [ASKED, BAD], [BAD[i:i + 2] for i in range(0, len(BAD), 2)],
          [ASKED[:24], BAD[24:]])


@pytest.mark.parametrize("how", ["cork", "more"])
def test_a_bad_message_in_pieces(net, free, box, how):
    for where in AF:
        for pieces in PIECES:
            send = in_pieces(how, where, pieces)
            control(net, free, send, "".join(pieces))
            results = nothing_arrives(net, box, send)
            # Turning UDP_CORK off sends, but the kernel does not tell what came of it.
            assert how == "cork" or results[-1] == "EPERM", (where, pieces, results)


@pytest.mark.parametrize("how", ["cork", "more"])
def test_a_good_question_in_pieces(net, box, how):
    """Whole, or not at all: the gate may refuse what lies in several pieces of memory, but never mistakes it."""
    only_asked_arrives(net, box, in_pieces(how, "4", [ASKED[:20], ASKED[20:]]))


@pytest.mark.parametrize("how", ["cork", "more"])
def test_pieces_for_two_peers(net, free, box, how):
    """The second address does not count, so a good beginning must not carry a bad end anywhere."""
    for second in (["93.184.47.9", 53], [RESOLVER4, 853], [RESOLVER4, 5353]):
        def send(who, second=second):
            who.open_socket()
            if how == "cork":
                who.option(level=SOL_UDP, name=UDP_CORK, value=1)
            result = [who.send(data=ASKED, to=TO4, flags=MSG_MORE), who.send(data=b"tunnel".hex(), to=second)]
            who.close()
            return result
        if how == "more":
            control(net, free, send, ASKED + b"tunnel".hex())
        nothing_arrives(net, box, send)


def test_pieces_begun_towards_the_second_resolver(net, dns, free):
    """
    Begun towards one trusted resolver, told to another: the packet goes to the first, the socket remembers the second. A
    reply from the second was not asked for there.
    """
    second = "185.53.0.54"
    with Captive(net, [*NAMED, "--resolver", second]) as box:
        box.open_socket(bind=["0.0.0.0", 0])
        assert box.send(data=ASKED[:24], to=TO4, flags=MSG_MORE) == "ok"
        box.send(data=ASKED[24:], to=to(second))
        asked = dnswire.Question(bytes.fromhex(ASKED))
        dns.send(dnswire.udp(second, 53, box.address(HOST4), box.port_of(),
                             asked.reply([dnswire.address(dnswire.QNAME, TARGET)])))
        until(lambda: sum(box.replies().values()), "the reply is counted")
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, TARGET)


# ---- segments ----

def segmented(data, size, by_option):
    def send(who):
        options = [[SOL_UDP, UDP_SEGMENT, size]] if by_option else []
        assert who.open_socket(options=options) == "ok"
        return who.send(data=data, to=TO4, control=[] if by_option else [[SOL_UDP, UDP_SEGMENT, size.to_bytes(2, "little").hex()]])
    return send


@pytest.mark.parametrize("by_option", [True, False])
def test_segments_behind_a_good_one(net, free, box, by_option):
    """One datagram for egress, several on the wire. (This wire carries it as one, for the far side to cut.)"""
    size = len(ASKED) // 2
    for second in (BAD, b"tunnel".hex(), ASKED):
        data = ASKED + second[:2 * size]
        control(net, free, segmented(data, size, by_option), data)
        assert nothing_arrives(net, box, segmented(data, size, by_option)) == "EPERM", second


def test_a_good_question_in_segments(net, free, box):
    """Good as a whole, garbage as it would arrive."""
    for size in (1, 12, len(ASKED) // 2 - 1):
        control(net, free, segmented(ASKED, size, True), ASKED)
        assert nothing_arrives(net, box, segmented(ASKED, size, True)) == "EPERM", size


def test_one_segment_is_a_plain_question(net, box):
    only_asked_arrives(net, box, segmented(ASKED, len(ASKED) // 2, True))


# ---- memory that changes ----

CHANGED = """
import mmap, os, threading
page = mmap.mmap(-1, 4096)
good, bad = bytes.fromhex(good), bytes.fromhex(bad)
pad = max(len(good), len(bad))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(tuple(peer))
results = {}
def note(result):
    results[result] = results.get(result, 0) + 1
"""

ZEROCOPY = CHANGED + """
sock.setsockopt(1, 60, 1)
view = memoryview(page)[:len(good)]
for n in range(times):
    page[:len(good)] = good
    note(tried(sock.send, view, 0x4000000))
    page[:len(good)] = bad[:len(good)]
view.release()
out = results
"""

RACED = CHANGED + """
stop = []
def flip():
    while not stop:
        page[:len(good)] = good
        page[:len(good)] = bad[:len(good)]
flipper = threading.Thread(target=flip)
flipper.start()
if flags & 0x4000000:
    sock.setsockopt(1, 60, 1)
view = memoryview(page)[:len(good)]
for n in range(times):
    note(tried(sock.send, view, flags))
stop.append(1)
flipper.join()
view.release()
out = results
"""

SPLICED = CHANGED + """
libc.vmsplice.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint]
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
def move():
    if how == "sendfile":
        fd = os.memfd_create("x")
        os.write(fd, good)
        try:
            os.sendfile(sock.fileno(), fd, 0, len(good))
            os.pwrite(fd, bad[:len(good)], 0)
        finally:
            os.close(fd)
        return
    r, w = os.pipe()
    try:
        if how == "splice":
            os.write(w, good)
        else:
            page[:len(good)] = good
            part = iovec(address, len(good))
            if libc.vmsplice(w, ctypes.byref(part), 1, 0) < 0:
                raise OSError(ctypes.get_errno(), "vmsplice")
            if how == "vmsplice-changed":
                page[:len(good)] = bad[:len(good)]
        os.splice(r, sock.fileno(), len(good))
        page[:len(good)] = bad[:len(good)]
    finally:
        os.close(r)
        os.close(w)
for n in range(times):
    note(tried(move))
out = results
"""


def changing(code, **arguments):
    return lambda who: who.script(code=code, good=arguments.pop("good", ASKED), bad=arguments.pop("bad", BAD + "00" * 40),
                                  peer=TO4, **{"times": 20, **arguments})


def test_zerocopy_and_the_buffer_changed_behind_it(net, free, box):
    """The pages of a MSG_ZEROCOPY send are the sender's for as long as the packet is on its way."""
    assert control(net, free, changing(ZEROCOPY), ASKED) == {"ok": 20}
    only_asked_arrives(net, box, changing(ZEROCOPY))


@pytest.mark.parametrize("flags", [0, MSG_ZEROCOPY])
def test_another_thread_changes_the_buffer(net, free, box, flags):
    bad = bytes.fromhex(BAD + "00" * 40)[:len(ASKED) // 2]
    since = net.mark()

    def one_more():
        changing(RACED, flags=flags, times=300)(free)
        return bad in questions_seen(net, since)

    until(one_more, "without Postern some arrive changed", 60)
    only_asked_arrives(net, box, changing(RACED, flags=flags, times=3000))


def test_spliced(net, free, box):
    """A file's pages or the sender's own; beside the sandbox they arrive as they were, or as they became on the way."""
    changed = (BAD + "00" * 40)[:len(ASKED)]
    for how in ("sendfile", "splice", "vmsplice", "vmsplice-changed"):
        since = net.mark()
        assert changing(SPLICED, how=how)(free) == {"ok": 20}
        until(lambda s=since: {ASKED, changed} & {one.hex() for one in questions_seen(net, s)}, f"{how}: the control arrives")
        only_asked_arrives(net, box, changing(SPLICED, how=how))


def test_a_bad_message_spliced(net, free, box):
    bad = BAD + "00" * 8
    for how in ("sendfile", "splice", "vmsplice"):
        since = net.mark()
        assert changing(SPLICED, how=how, good=bad)(free) == {"ok": 20}
        until(lambda s=since: questions_seen(net, s), f"{how}: the control arrives")
        nothing_arrives(net, box, changing(SPLICED, how=how, good=bad))


def uring(how, mode, first, second, peer=TO4):
    return tool("uringdns", how, mode, peer[0], peer[1], first, second)


@pytest.mark.parametrize("how", ["inline", "async", "sqpoll"])
@pytest.mark.parametrize("mode", ["send", "sendmsg", "send-zc", "sendmsg-zc", "send-zc-fixed"])
def test_io_uring(net, free, named, how, mode):
    """A good question in a buffer that becomes a bad one as soon as the call is back."""
    good = query(GOOD, extra=opt(data=bytes(200))).hex()
    bad = query(OFF, extra=opt(data=b"exfiltrate" * 18)).hex()[:len(good)].ljust(len(good), "0")
    since = net.mark()
    done = plain(net, uring(how, mode, bad, bad))
    assert done.op("send").result == "ok", done
    await_question(net, bytes.fromhex(bad), since)
    # A bad one does not leave.
    code = nothing_arrives(net, named, lambda who: who.run(argv=uring(how, mode, bad, bad)))[0]
    assert code == 1 or not net.kind.has_errors
    # Nor one that turns bad.
    net.fence()
    since = net.mark()
    named.run(argv=uring(how, mode, good, bad))
    net.fence()
    assert {payload.hex() for payload in questions_seen(net, since)} <= {good}


# ---- addresses that change ----

def test_sendmmsg_of_good_and_bad(net, free, box):
    """Each is judged: the call tells how many left before the first that was refused."""
    code = """
import struct
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
class msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]
class mmsghdr(ctypes.Structure):
    _fields_ = [("head", msghdr), ("size", ctypes.c_uint)]
peer = struct.pack("=H", 2) + struct.pack("!H", 53) + socket.inet_aton(resolver) + bytes(8)
where = ctypes.create_string_buffer(peer, 16)
messages, keep = (mmsghdr * len(data))(), []
for n, one in enumerate(data):
    text = ctypes.create_string_buffer(bytes.fromhex(one), len(one) // 2)
    part = iovec(ctypes.addressof(text), len(one) // 2)
    keep += [text, part]
    messages[n].head = msghdr(ctypes.addressof(where), 16, ctypes.addressof(part), 1, None, 0, 0)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out = []
at = 0
while at < len(data):
    sent = libc.sendmmsg(sock.fileno(), ctypes.byref(messages, at * ctypes.sizeof(mmsghdr)), len(data) - at, 0)
    out.append(sent if sent > 0 else errno.errorcode[ctypes.get_errno()])
    at += sent if sent > 0 else 1
"""
    data = [ASKED, BAD, ASKED, b"tunnel".hex(), BAD, ASKED]
    send = lambda who: who.script(code=code, data=data, resolver=RESOLVER4)  # noqa: E731
    assert control(net, free, send, ASKED, BAD, b"tunnel".hex()) == [6]
    result = only_asked_arrives(net, box, send)
    assert result == [1, "EPERM", 1, "EPERM", "EPERM", 1] or not net.kind.has_errors


WARM = """
sock, out = sockets["s"], 0
sock.settimeout(3)
for n in range(300):
    sock.send(bytes.fromhex(data))
    out += bool(sock.recv(2048))
sock.settimeout(None)
"""


@pytest.mark.parametrize("where", AF)
def test_a_socket_that_has_asked_before(net, dns, free, box, where):
    """Connected, so that its flow could be remembered: 300 good questions, answered, and then something else."""
    family, peer = AF[where]
    dns.answer = answers(TARGET) if family == 4 or where == "mapped" else answers("2606:2800:220:1::47")

    def warm(who):
        assert who.open_socket(family=family) == "ok"
        assert who.connect(to=peer) == "ok"
        assert who.script(code=WARM, data=ASKED) == 300

    def send(who):
        return [who.send(data=data) for data in (b"tunnel".hex(), BAD, query(GOOD).hex() + "00") for _ in range(10)]

    warm(free)
    control(net, free, send, BAD, b"tunnel".hex())
    warm(box)
    assert set(nothing_arrives(net, box, send)) == {"EPERM"}
    assert box.send(data=ASKED) == "ok"


@pytest.mark.parametrize("where", AF)
def test_an_unconnected_socket_that_has_asked_before(net, dns, free, box, where):
    family, peer = AF[where]
    dns.answer = answers(TARGET)

    def warm(who):
        assert who.open_socket(family=family) == "ok"
        for _ in range(100):
            assert who.send(data=ASKED, to=peer) == "ok"
            assert who.receive()

    def send(who):
        return [who.send(data=data, to=peer) for data in (b"tunnel".hex(), BAD) for _ in range(10)]

    warm(free)
    control(net, free, send, BAD, b"tunnel".hex())
    warm(box)
    assert set(nothing_arrives(net, box, send)) == {"EPERM"}


@pytest.mark.parametrize("reply", ["late", "second", "unasked", "not-dns"])
@pytest.mark.parametrize("again", ["same", "connected", "new-socket"])
def test_a_resolver_that_calls_is_no_admitted_peer(net, dns, free, named, reply, again):
    """
    A peer that calls the sandbox may be answered with anything. What comes from the resolver unasked, to a socket without
    connect(), must not make it such a peer.
    """
    for who in (free, named):
        who.open_socket(bind=["0.0.0.0", 0])
        port = who.port_of()
        asked = dnswire.Question(bytes.fromhex(ASKED))
        payload = b"hello" if reply == "not-dns" else asked.reply([dnswire.address(dnswire.QNAME, TARGET)])
        if reply in ("late", "second"):
            assert who.send(data=ASKED, to=TO4) == "ok"
            dns.await_asked(lambda a, p=port: a.port == p)
        if reply == "late":
            # Another socket on the port: the kernel knows nothing of the question any more.
            who.open_socket(bind=["0.0.0.0", port])
        for _ in range(2 if reply == "second" else 1):
            dns.send(dnswire.udp(RESOLVER4, 53, who.address(HOST4), port, payload))
            assert who.receive(), "it is delivered"

        def answer(who, port=port):
            if again == "new-socket":
                who.open_socket(bind=["0.0.0.0", port])
            if again == "connected":
                assert who.connect(to=TO4) == "ok"
                return [who.send(data=data) for data in (b"tunnel".hex(), BAD)]
            return [who.send(data=data, to=TO4) for data in (b"tunnel".hex(), BAD)]

        if who is free:
            control(net, free, answer, b"tunnel".hex(), BAD)
        else:
            assert nothing_arrives(net, named, answer) == ["EPERM", "EPERM"]


def test_another_peer_that_calls_is_answered(net, dns, named):
    """The control: what the resolver may not be, a stranger from another port is."""
    named.open_socket(bind=["0.0.0.0", 0])
    dns.send(dnswire.udp("93.184.47.200", 6353, named.address(HOST4), named.port_of(), b"hello"))
    assert named.receive()
    token, since = canary(), net.mark()
    assert named.send(data=token.encode().hex(), to=["93.184.47.200", 6353]) == "ok"
    net.await_seen(token=token, since=since)


@pytest.mark.parametrize("first", [["93.184.47.1", PORT], TO4])
def test_the_address_changed_between_connect_and_send(net, dns, free, box, first):
    """connect(), AF_UNSPEC, connect() elsewhere; and sendto() elsewhere on a connected socket."""
    learn(dns, box, TARGET)

    def send(who):
        who.open_socket()
        who.connect(to=first)
        for _ in range(40):
            who.send(data=ASKED, wait=False)
        who.connect()
        result = [who.connect(to=TO4)]
        result += [who.send(data=BAD), who.send(data=b"tunnel".hex(), to=TO4)]
        who.connect()
        return [*result, who.send(data=BAD, to=TO4)]

    dns.answer = lambda asked: ()
    control(net, free, send, BAD, b"tunnel".hex())
    assert only_asked_arrives(net, box, send) == ["ok", "EPERM", "EPERM", "EPERM"]


def test_flags(net, free, box):
    for flags in (MSG_CONFIRM, MSG_PROBE, MSG_DONTROUTE, MSG_CONFIRM | MSG_MORE):
        def send(who, flags=flags):
            who.open_socket()
            return [who.send(data=BAD, to=TO4, flags=flags), who.send(data=b"tunnel".hex(), to=TO4)]
        control(net, free, send, b"tunnel".hex() if not flags & MSG_MORE else BAD + b"tunnel".hex())
        assert nothing_arrives(net, box, send)[1] == "EPERM", flags


def test_from_port_53(net, free, box):
    """The client's port is 53 itself."""
    def send(who):
        who.open_socket(bind=["0.0.0.0", 53])
        return [who.send(data=BAD, to=TO4), who.send(data=b"tunnel".hex(), to=TO4)]
    control(net, free, send, BAD)
    assert nothing_arrives(net, box, send) == ["EPERM", "EPERM"]


def test_bound_to_a_device(net, free, box):
    def send(who):
        who.open_socket(options=[[1, 25, net.kind.device]])
        return [who.send(data=BAD, to=TO4), who.send(data=b"tunnel".hex(), to=TO4)]
    control(net, free, send, BAD)
    assert nothing_arrives(net, box, send) == ["EPERM", "EPERM"]

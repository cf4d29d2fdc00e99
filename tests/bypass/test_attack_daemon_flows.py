# SPDX-License-Identifier: MIT
"""
Bytes that were queued, connections that were half open, and sockets that are nobody's any more, when the policy
becomes tighter or the sandbox ends: nothing of them leaves behind the reply. The control: the same change, but it lets
them through.
"""

import contextlib
import socket

import pytest

from daemon import DENY_ALL
from insider import NOBODY, inside
from internet import ALLOWED4, DENIED4, HOST4, PORT, canary
from latepeer import LatePeer
from wait import until

OPEN = {"allowOut": [ALLOWED4, DENIED4], **DENY_ALL}
TIGHT = {"allowOut": [ALLOWED4], **DENY_ALL}
STILL_OPEN = {"allowOut": [DENIED4], **DENY_ALL}
DEAF_PORT = 7778
MANY = 66  # network namespaces: more than a change walks

CORK = """
s = sockets["s"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if connected:
    s.connect((to, port))
s.setsockopt(socket.IPPROTO_UDP, 1, 1)
out = tried(s.sendto, bytes.fromhex(data), (to, port))
"""
UNCORK = "out = tried(sockets['s'].setsockopt, socket.IPPROTO_UDP, 1, 0)"
MORE = """
s = sockets["s"] = socket.socket()
s.connect((to, port))
out = s.send(bytes.fromhex(data), socket.MSG_MORE)
"""
FLUSH = "out = tried(sockets['s'].setsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)"
SENT = "out = tried(sockets['s'].send, bytes.fromhex(data))"
CONNECTED = """
s = sockets["s"] = socket.socket(socket.AF_INET, kind)
s.connect((to, port))
s.send(b"first")
out = len(s.recv(99))
"""
QUEUE_AND_END = """
s = socket.socket()
s.connect((to, port))
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
s.setblocking(False)
out = 0
try:
    while out < 1 << 22:
        out += s.send(bytes.fromhex(data) * 2000)
except BlockingIOError:
    pass
s.close()
"""
HALF_OPEN = """
s = sockets["s"] = socket.socket()
s.setblocking(False)
out = tried(s.connect, (to, port))
"""
# Their output is not the test's: who waits for its end would wait for theirs.
MANY_NAMESPACES = """
others = [subprocess.Popen(['unshare', '-n', 'sleep', '100'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL) for _ in range(many)]
"""
HAND_ON = """
ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
s = socket.create_connection((to, port))
s.send(b"first")
s.recv(99)
out = os.fork()
if not out:
    childs.recv(1)
    childs.send(tried(s.send, bytes.fromhex(data)).encode())
    os._exit(0)
s.close()
sockets["ours"] = ours
"""
GO = "ours = sockets['ours']; ours.send(b'g'); ours.settimeout(5); out = ours.recv(99).decode()"


def change(box, policy):
    assert box.network(policy).status == 204
    box.daemon.net.fence()
    return box.daemon.net.mark()


QUEUED = {
    "corked": (CORK, {"connected": 0}, UNCORK),
    "corked-connected": (CORK, {"connected": 1}, UNCORK),
    "msg-more": (MORE, {}, FLUSH),
    "tcp": (CONNECTED, {"kind": socket.SOCK_STREAM}, SENT),
    "connected-udp": (CONNECTED, {"kind": socket.SOCK_DGRAM}, SENT),
}


@pytest.mark.parametrize("user", [[], NOBODY], ids=["root", "nobody"])
def test_what_is_queued_before_a_change_does_not_leave_behind_it(net, daemon, user):
    for policy, leaves in ((STILL_OPEN, True), (TIGHT, False)):
        for way, (before, arguments, after) in QUEUED.items():
            box, token = daemon.create(OPEN), canary()
            data = token.encode().hex()
            with inside(box, *user) as who:
                who.script(code=before, to=DENIED4, port=PORT, data=data, **arguments)
                since = change(box, policy)
                result = who.script(code=after, data=data)
                if leaves:
                    net.await_seen(token=token, since=since)
                net.fence()
                assert bool(net.seen(token=token, since=since)) == leaves, (way, result)


def deaf(net):
    return contextlib.closing(net.internet.call(lambda: socket.create_server(("0.0.0.0", DEAF_PORT))))


def drain(server):
    """Reads what comes, so that the window opens; until nothing does."""
    peer, _ = server.accept()
    with peer:
        peer.settimeout(1)
        with contextlib.suppress(OSError):
            while peer.recv(1 << 20):
                pass


@pytest.mark.parametrize("end", ["open", "tight", "delete"])
def test_what_a_dead_process_left_in_a_queue(net, daemon, end):
    box, token = daemon.create(OPEN), canary()
    with deaf(net) as server:
        with inside(box) as who:
            queued = who.script(code=QUEUE_AND_END, to=DENIED4, port=DEAF_PORT, data=token.encode().hex())
        assert queued > 1 << 20
        if end == "delete":
            box.delete()
            net.fence()
            since = net.mark()
        else:
            since = change(box, TIGHT if end == "tight" else STILL_OPEN)
        drain(server)
        net.fence()
        assert bool(net.seen(token=token, since=since)) == (end == "open"), end
    if end == "delete":
        until(lambda: not box.pins().exists(), "its links are gone with its last socket", 15)


@contextlib.contextmanager
def full_backlog(net):
    """A listener that answers no further SYN."""
    def listen():
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", DEAF_PORT))
        server.listen(0)
        fill = [socket.socket() for _ in range(3)]
        for one in fill:
            one.setblocking(False)
            one.connect_ex((DENIED4, DEAF_PORT))
        return [server, *fill]
    sockets = net.internet.call(listen)
    yield
    for one in sockets:
        one.close()


@pytest.mark.parametrize("policy", [STILL_OPEN, TIGHT], ids=["open", "tight"])
def test_a_connection_in_the_making(net, daemon, policy):
    """Its SYN is not answered; after the change the next ones do not leave, and its maker is told."""
    box = daemon.create(OPEN)
    with full_backlog(net), inside(box) as who:
        since = net.mark()
        assert who.script(code=HALF_OPEN, to=DENIED4, port=DEAF_PORT) == "EINPROGRESS"
        net.await_seen(dst=DENIED4, port=DEAF_PORT, since=since)
        since = change(box, policy)
        if policy is STILL_OPEN:
            net.await_seen(dst=DENIED4, port=DEAF_PORT, since=since)
            return
        assert who.script(code="out = sockets['s'].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)")
        assert who.script(code="import select; out = bool(select.select([], [sockets['s']], [], 3)[1])")
        net.fence()
        assert not net.seen(dst=DENIED4, port=DEAF_PORT, since=since)


def test_a_flow_beside_more_namespaces_than_a_change_walks(net, daemon):
    box, token = daemon.create(OPEN), canary()
    with inside(box) as who:
        who.script(code=MANY_NAMESPACES, many=MANY)
        for policy, leaves in ((STILL_OPEN, True), (TIGHT, False)):
            who.script(code=CONNECTED, to=DENIED4, port=PORT, kind=socket.SOCK_STREAM) if leaves else None
            since = change(box, policy)
            result = who.script(code=SENT, data=token.encode().hex())
            if leaves:
                net.await_seen(token=token, since=since)
            net.fence()
            assert bool(net.seen(token=token, since=since)) == leaves, result


def test_a_socket_carried_into_another_sandbox_stays_its_makers(net, daemon):
    for policy, leaves in ((STILL_OPEN, True), (TIGHT, False)):
        box, other, token = daemon.create(OPEN), daemon.create(OPEN), canary()
        with inside(box) as who:
            pid = who.script(code=HAND_ON, to=DENIED4, port=PORT, data=token.encode().hex())
            (other.cgroup / "cgroup.procs").write_text(str(pid))
            assert "earlier-sockets" in [hole["name"] for hole in other.show()["assurance"]["holes"]]
            since = change(box, policy)
            result = who.script(code=GO)
            if leaves:
                net.await_seen(token=token, since=since)
            net.fence()
            assert bool(net.seen(token=token, since=since)) == leaves, result


LISTEN = "sockets['l'] = socket.create_server(('0.0.0.0', port))"
ACCEPT = """
sockets["l"].settimeout(5)
out = []
for _ in range(count):
    try:
        s, _ = sockets["l"].accept()
        out.append(tried(s.send, bytes.fromhex(data)))
    except OSError as error:
        out.append(str(error))
"""


def test_callers_in_the_backlog_when_nobody_may_call_any_more(net, daemon):
    """They were admitted and wait to be accepted."""
    callers = 3
    for after, leaves in (({**DENY_ALL, "inbound": "allow"}, True), ({**DENY_ALL, "inbound": "deny"}, False)):
        box, token = daemon.attach(f"in{leaves:d}", daemon.cgroup(f"in{leaves:d}"), {}), canary()
        with inside(box) as who, contextlib.ExitStack() as stack:
            who.script(code=LISTEN, port=DEAF_PORT)
            for _ in range(callers):
                stack.enter_context(net.internet.call(lambda: socket.create_connection((HOST4, DEAF_PORT), timeout=5)))
            box.put(after)
            since = net.mark()
            result = who.script(code=ACCEPT, count=callers, data=token.encode().hex())
            net.fence()
            assert (len(net.seen(token=token, since=since)) >= callers) == leaves, result
            assert leaves or not net.seen(token=token, since=since), result


# Asks by a socket that is connected; then the answer is read by one that is not: the same one, disconnected, or another
# one on its port.
ASKS_AND_DISCONNECTS = """
import ctypes
s = sockets["s"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 24681))  # one that was asked for is not lost with the connection
s.connect((to, port))
s.send(b"asked")
out = ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)
"""
ASKS_BY_ANOTHER = """
s = sockets["s"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 0))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other.bind(s.getsockname())
    other.connect((to, port))
    other.send(b"asked")
out = 0
"""
HEARD = "s = sockets['s']; s.settimeout(30); out = s.recv(99).decode()"
SENT_TO = "out = tried(sockets['s'].sendto, bytes.fromhex(data), (to, port))"


@pytest.mark.parametrize("asks", [ASKS_AND_DISCONNECTS, ASKS_BY_ANOTHER], ids=["disconnected", "another"])
def test_an_answer_that_a_socket_hears_which_did_not_ask_is_no_call(net, daemon, asks):
    """A call may be answered although the policy denies the caller: whom the sandbox called must not pass for a caller."""
    for policy, leaves in ((STILL_OPEN, True), (TIGHT, False)):
        box, token = daemon.create(OPEN), canary()
        with inside(box) as who, LatePeer(net, DENIED4, 6354) as peer:
            assert who.script(code=asks, to=DENIED4, port=peer.port) == 0
            peer.await_question()
            peer.say("answer")
            assert who.script(code=HEARD) == "answer"
            since = change(box, policy)
            peer.say("more")
            assert who.script(code=HEARD) == "more"
            result = who.script(code=SENT_TO, to=DENIED4, port=peer.port, data=token.encode().hex())
            if leaves:
                net.await_seen(token=token, since=since)
            net.fence()
            assert bool(net.seen(token=token, since=since)) == leaves, result

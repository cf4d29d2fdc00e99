# SPDX-License-Identifier: MIT
"""Row 17: a connection opened from outside is answered; it is no way to send to anybody else, and it can be refused."""

import json

import pytest

from internet import ALLOWED4, DENIED4, HOST4, PORT, canary
from postern import PacketOnly, Server, Shell, exchange, flow, tool
from wait import until

CLOSED = {"denyOut": ["0.0.0.0/0"]}
LISTED = {"allowOut": ["192.0.2.0/24"], **CLOSED}  # some addresses, the peer is none of them
CALLER = 6353  # a port of the peer where no server of the internet is


@pytest.fixture
def write(tmp_path):
    def write_policy(document):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps(document))
        return ["--policy", path]
    return write_policy


@pytest.mark.parametrize("policy", [CLOSED, LISTED], ids=["all", "listed"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_denied_peer_that_calls_is_answered_by_default(net, write, kind, policy):
    with Server(net, kind, "0.0.0.0", 0, policy=write(policy)) as server:
        token = canary().encode()
        assert exchange(net.internet, server.address(HOST4), server.port, token, kind=kind, source=(DENIED4, 0)) == token


@pytest.mark.parametrize("policy", [CLOSED, LISTED], ids=["all", "listed"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_inbound_deny_is_no_exfiltration_by_reply(net, write, kind, policy):
    with Server(net, kind, "0.0.0.0", 0, policy=write({**policy, "inbound": "deny"})) as server:
        net.fence()
        token, since = canary(), net.mark()
        net.forbid(token)
        assert exchange(net.internet, server.address(HOST4), server.port, token.encode(), kind=kind, source=(DENIED4, 0),
                        deadline_s=0.7) is None
        net.fence()
        # Not one frame towards the peer: no SYN-ACK, no data.
        assert not net.seen(token=token, dst=DENIED4, since=since)


def test_the_peers_other_ports_stay_closed(net, write):
    """TCP and UDP from the listener's own port towards another port of the peer that has just been served."""
    with Shell(net, write(CLOSED)) as box:
        box.process.stdin.write(" ".join(tool("serve", "udp", "0.0.0.0", 0)) + " &\n")
        box.process.stdin.flush()
        port = int(box.await_line(lambda line: line.startswith("listening"), "it listens").split()[1])
        token, since = canary(), net.mark()
        assert exchange(net.internet, box.address(HOST4), port, token.encode(), kind="udp", source=(DENIED4, CALLER)) == token.encode()
        for way, op in (("udp", "sendto"), ("tcp", "connect")):
            assert box.do(*flow(way, DENIED4, PORT, token)).op(op).result == "EPERM"
        # From another port of ours to the very port that called.
        assert box.do(*flow("udp", DENIED4, CALLER, token)).op("sendto").result == "EPERM"
        net.fence()
        assert not [f for f in net.seen(dst=DENIED4, since=since) if f.sport != port]


def test_a_peer_made_up_inside_is_no_peer(net, write):
    """
    A privileged sandbox takes the peer's address for itself, calls its own server from it over loopback, and gives the
    address back: what came from `lo` was not sent by anybody outside.
    """
    with PacketOnly(net, write(CLOSED)) as box:
        box.process.stdin.write(" ".join(tool("serve", "udp-elsewhere", "0.0.0.0", 0, DENIED4, 5353)) + " &\n")
        box.process.stdin.flush()
        port = int(box.await_line(lambda line: line.startswith("listening"), "it listens").split()[1])
        box.do(f"ip addr add {DENIED4}/32 dev lo")
        box.do("timeout 1 " + " ".join(flow("-s", DENIED4, "-p", 5353, "udp", box.address(HOST4), port, "x")))
        box.do(f"ip addr del {DENIED4}/32 dev lo")
        token, since = canary(), net.mark()
        # An admitted caller now makes the server send to the made-up peer.
        assert exchange(net.internet, box.address(HOST4), port, token.encode(), kind="udp", source=(ALLOWED4, 0)) is not None
        net.fence()
        assert not net.seen(dst=DENIED4, since=since), box.text()


def test_a_listener_does_not_turn_into_a_caller(net, write):
    """A socket that listened, and was marked by an admitted peer, is closed and connects: judged as outbound."""
    script = ("import socket,sys\n"
              "s=socket.socket(); s.bind(('0.0.0.0',0)); s.listen()\n"
              "print('listening', s.getsockname()[1], flush=True)\n"
              "c,_=s.accept(); c.send(c.recv(64))\n"
              "import ctypes; libc=ctypes.CDLL(None,use_errno=True)\n"
              "for fd in (s.fileno(), c.fileno()):\n"
              "    libc.shutdown(fd,2); libc.connect(fd, b'\\0'*16, 16)\n"
              "    a=socket.inet_aton('%s'); sa=b'\\2\\0'+(%d).to_bytes(2,'big')+a+b'\\0'*8\n"
              "    r=libc.connect(fd, sa, 16); print('connect', r, ctypes.get_errno(), flush=True)\n" % (DENIED4, PORT))
    policy = write(CLOSED)
    with Server(net, argv=["/usr/bin/python3", "-c", script], policy=policy) as server:
        since = net.mark()
        assert exchange(net.internet, server.address(HOST4), server.port, b"x", source=(DENIED4, 0)) == b"x"
        server.wait()
        results = [line.split()[1:] for line in server.lines if line.startswith("connect ")]
        assert len(results) == 2 and all(result[0] == "-1" for result in results), server.text()
        net.fence()
        assert not net.seen(dst=DENIED4, port=PORT, since=since)
    with Server(net, argv=["/usr/bin/python3", "-c", script]) as control:
        since = net.mark()
        assert exchange(net.internet, control.address(HOST4), control.port, b"x", source=(DENIED4, 0)) == b"x"
        net.await_seen(dst=DENIED4, port=PORT, since=since)


SELF_CALL = """
import os, socket, time
server = socket.create_server(("0.0.0.0", 0))
client = socket.create_connection(("HOST", server.getsockname()[1]), 10, ("BORROWED", 0))
accepted, peer = server.accept()
assert peer[0] == "BORROWED"
print("connected", flush=True)
while not os.path.exists("GO"): time.sleep(0.005)
accepted.send(b"CANARY")
print("sent", flush=True)
time.sleep(60)
"""


def call_oneself(net, box, go, token):
    """A TCP connection to oneself from a borrowed address, which is then given back; and the accepted end sends."""
    box.do(f"ip addr add {DENIED4}/32 dev lo")
    script = SELF_CALL
    for word, value in (("HOST", box.address(HOST4)), ("BORROWED", DENIED4), ("GO", str(go)), ("CANARY", token)):
        script = script.replace(word, value)
    go.with_suffix(".py").write_text(script)
    box.process.stdin.write(f"/usr/bin/python3 {go.with_suffix('.py')} &\n")
    box.process.stdin.flush()
    box.await_line(lambda line: line == "connected", "the connection stands")
    box.do(f"ip addr del {DENIED4}/32 dev lo")


def test_a_syn_made_up_inside_marks_no_listener(net, write, tmp_path):
    """Its SYN came by `lo`: the connection is nobody's from outside, and its accepted end answers nobody outside."""
    with PacketOnly(net, write(CLOSED), keep=()) as control:  # not enforced
        token = canary()
        call_oneself(net, control, tmp_path / "control", token)
        (tmp_path / "control").touch()
        net.await_seen(token=token)
    with PacketOnly(net, write(CLOSED)) as box:
        token = canary()
        net.forbid(token)
        call_oneself(net, box, tmp_path / "go", token)
        if net.kind.has_errors:
            until(lambda: box.do(*flow("-n", "udp", DENIED4, PORT, "x")).op("sendto").result == "EPERM",
                  "the address is no longer the host's")
        (tmp_path / "go").touch()
        box.await_line(lambda line: line == "sent", "the accepted end sends")
        net.fence()
        assert not net.seen(token=token), box.text()

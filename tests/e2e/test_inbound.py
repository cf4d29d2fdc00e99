# SPDX-License-Identifier: MIT
"""Connections opened towards the sandbox work in every mode, and open nothing else."""

import json

import pytest

from internet import ALLOWED4, DENIED4, GATE4, GATE6, HOST4, HOST6, PORT, canary
from postern import Server, exchange

DENY_ALL = {"mode": "deny_all"}


@pytest.fixture
def write(tmp_path):
    def write_policy(document):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps(document))
        return ["--policy", path]
    return write_policy


@pytest.mark.parametrize("host,gate", [(HOST4, GATE4), (HOST6, GATE6)])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_server_in_a_closed_sandbox_answers_its_clients(net, write, kind, host, gate):
    with Server(net, kind, "::", 0, policy=write(DENY_ALL)) as server:
        for _ in range(3):
            token = canary().encode()
            assert exchange(net.internet, server.address(host), server.port, token, kind=kind) == token, server.text()
        server.await_op("reply", "ok", 3)


def test_a_long_conversation_goes_on(net, write):
    with Server(net, "tcp", "::", 0, policy=write(DENY_ALL)) as server:
        def talk():
            import socket
            with socket.create_connection((server.address(HOST4), server.port), 5) as sock:
                for n in range(200):
                    sock.sendall(b"%06d" % n)
                    assert sock.recv(64) == b"%06d" % n
        net.internet.call(talk)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_inbound_deny_keeps_clients_out(net, write, kind):
    token, since = canary().encode(), net.mark()
    with Server(net, kind, "::", 0) as open_server:
        assert exchange(net.internet, HOST4, open_server.port, token, kind=kind) == token
    with Server(net, kind, "::", 0, policy=write({"mode": "open"})) as server:
        assert exchange(net.internet, server.address(HOST4), server.port, token, kind=kind) == token
    with Server(net, kind, "::", 0, policy=write({"inbound": "deny", "denyOut": ["0.0.0.0/0"]})) as server:
        net.fence()
        since = net.mark()
        secret = canary()
        assert exchange(net.internet, server.address(HOST4), server.port, secret.encode(), kind=kind, deadline_s=0.7) is None
        net.fence()
        assert not net.seen(token=secret, since=since), "a refused peer was answered"
        assert not [op for op in server.ops() if op.name in ("reply", "accept")], server.text()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_an_inbound_list_admits_who_is_on_it(net, write, kind):
    policy = write({"inbound": ["93.184.216.0/24"], "denyOut": ["0.0.0.0/0"]})
    with Server(net, kind, "::", 0, policy=policy) as server:
        token = canary().encode()
        assert exchange(net.internet, server.address(HOST4), server.port, token, kind=kind, source=(ALLOWED4, 0)) == token
        assert exchange(net.internet, server.address(HOST4), server.port, token, kind=kind, source=(DENIED4, 0),
                        deadline_s=0.7) is None
        assert exchange(net.internet, server.address(HOST4), server.port, token, kind=kind, source=(ALLOWED4, 0)) == token


def test_a_udp_server_answers_the_exact_peer_only(net, write):
    """The datagram came from one port of the peer: another port, and another address, stay closed."""
    for to, port in ((GATE4, PORT), (DENIED4, PORT)):
        with Server(net, "udp-elsewhere", "0.0.0.0", 0, to, port) as plain:
            token, since = canary().encode(), net.mark()
            assert exchange(net.internet, HOST4, plain.port, token, kind="udp") == token
            net.await_seen(dst=to, port=port, since=since)
            net.fence()
        with Server(net, "udp-elsewhere", "0.0.0.0", 0, to, port, policy=write(DENY_ALL)) as server:
            token, since = canary().encode(), net.mark()
            assert exchange(net.internet, server.address(HOST4), server.port, token, kind="udp") == token, server.text()
            if net.kind.has_errors:
                server.await_op("elsewhere", "EPERM")
            net.fence()
            assert not net.seen(dst=to, port=port, since=since)


def test_a_client_does_not_open_connections_towards_itself(net, write):
    """While a client is being served, the sandbox still cannot call that client."""
    with Server(net, "tcp-client", "0.0.0.0", 0, GATE4, PORT, policy=write(DENY_ALL)) as server:
        token, since = canary().encode(), net.mark()
        assert exchange(net.internet, server.address(HOST4), server.port, token) == token, server.text()
        server.await_op("connect", "EPERM")
        net.fence()
        assert not net.seen(dst=GATE4, port=PORT, since=since)

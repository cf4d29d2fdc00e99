# SPDX-License-Identifier: MIT
"""Loopback and the host's own addresses: own listeners, the host's, nobody's; and from the host inwards."""

import json

import pytest

from internet import HOST4, HOST6, canary
from postern import Server, exchange, execute, flow, postern_run, sandboxed, tool

LOCAL4, LOCAL6 = ["127.0.0.1", "127.9.9.9", "0.0.0.0", HOST4, "::ffff:127.0.0.1"], ["::1", "::", HOST6]
WAYS = [("tcp", "connect"), ("udp", "sendto"), ("udp-connected", "connect")]


@pytest.fixture
def write(tmp_path):
    def write_policy(document):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps(document))
        return ["--policy", path]
    return write_policy


def inside_with_server(kind, argv, address="::"):
    """A command line that starts a server in the sandbox, runs argv with its port in place of PORT, and stops it."""
    script = ('exec 3< <(exec "$1" "$2" "$3" 0); server=$!; shift 3; read -r _ port <&3\n'
              '"${@/#PORT/$port}"; code=$?; kill $server; exit $code')
    return ["bash", "-c", script, "bash", tool("serve")[0], kind, address, *argv]


@pytest.mark.parametrize("address", LOCAL4 + LOCAL6)
@pytest.mark.parametrize("way,op", WAYS)
def test_a_listener_of_the_host_is_refused(net, way, op, address):
    kind = way.split("-")[0]
    # A datagram server on a wildcard answers from 127.0.0.1, whatever it was called.
    with Server(net, kind, address if kind == "udp" else "::", 0) as server:
        argv = flow(way, address, server.port, "x")
        assert execute(net, argv).op("recv").result == "ok", "the control must be answered"
        server.await_op("reply", "ok")
        before = len(server.ops())
        for policy in ([], ["--allow", "1.1.1.1"]):
            done = sandboxed(net, policy, argv)
            assert done.op(op).result == "EPERM", done
            assert len(server.ops()) == before, server.text()


@pytest.mark.parametrize("address", LOCAL4 + LOCAL6)
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_an_own_listener_works(net, kind, address):
    argv = inside_with_server(kind, flow(kind, address, "PORT", "x"), address if kind == "udp" else "::")
    for policy in ([], ["--allow", "1.1.1.1"]):
        done = sandboxed(net, policy, argv)
        assert done.code == 0 and done.op("recv").result == "ok", done


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", HOST4])
def test_where_nobody_listens_the_answer_is_the_kernels(net, address):
    with Server(net, "tcp", "::", 0) as server:
        port = server.port
    done = sandboxed(net, [], flow("tcp", address, port, "x"))
    assert done.op("connect").result == "ECONNREFUSED", done


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", HOST4])
def test_a_host_process_may_call_the_sandbox_and_is_answered(net, write, kind, address):
    with Server(net, kind, "::", 0, policy=write({"mode": "deny_all"})) as server:
        token = canary().encode()
        assert exchange(net.host, address, server.port, token, kind=kind) == token, server.text()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_loopback_host_opens_the_hosts_listeners(net, write, kind):
    policy = write({"loopback": "host", "denyOut": ["0.0.0.0/0"]})
    with Server(net, kind, "::", 0) as server:
        for address in ("127.0.0.1", "::1"):
            done = sandboxed(net, policy, flow(kind, address, server.port, "x"))
            assert done.code == 0, done


def test_loopback_deny_closes_own_listeners_too(net, write):
    policy = write({"loopback": "deny"})
    for kind, op in (("tcp", "connect"), ("udp", "sendto")):
        for address in ("127.0.0.1", "::1", HOST4):
            argv = inside_with_server(kind, flow(kind, address, "PORT", "x"))
            assert execute(net, argv).op("recv").result == "ok"
            done = sandboxed(net, policy, argv)
            assert done.op(op).result == "EPERM", done


def test_two_sandboxes_do_not_share_listeners(net):
    with Server(net, "tcp", "::", 0, policy=[]) as server:
        assert exchange(net.host, "127.0.0.1", server.port, b"x") == b"x"
        done = execute(net, postern_run([], flow("tcp", "127.0.0.1", server.port, "x")))
        assert done.op("connect").result == "EPERM", done

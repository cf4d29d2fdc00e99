# SPDX-License-Identifier: MIT
"""
Row 1, as far as it applies without a daemon: the policy of a run does not change, but the host does. An address that
the host gets while the sandbox runs is always denied from then on, for flows that live too.
"""

import socket

import pytest

from internet import PORT, SO_RCVBUFFORCE, canary
from postern import flow, sandboxed, started
from wait import until

LATER4 = "203.0.113.77"
WAYS = ["udp-stream", "connected-stream"]


@pytest.fixture
def service(net):
    """A service of the host on every address, present and future."""
    def listen():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        sock.bind(("0.0.0.0", PORT))
        sock.setblocking(False)
        return sock
    with net.host.call(listen) as sock:
        yield sock
    net.host.call(remove, net)


def remove(net):
    if LATER4 in net.host.ip("-4", "addr", "show", "dev", "up0"):
        net.host.ip("addr", "del", f"{LATER4}/32", "dev", "up0")


def received(sock):
    """How many datagrams the service has got since it was last asked."""
    count = 0
    while True:
        try:
            sock.recv(2048)
            count += 1
        except BlockingIOError:
            return count


@pytest.mark.parametrize("way", WAYS)
def test_without_postern_a_live_flow_reaches_the_new_address(net, service, way):
    token = canary()
    with started(net, None, flow(way, LATER4, PORT, token)):
        net.await_seen(token=token)
        net.host.ip("addr", "add", f"{LATER4}/32", "dev", "up0")
        until(lambda: received(service), "the host's service is reached")


@pytest.mark.parametrize("way", WAYS)
def test_a_live_flow_to_an_address_that_becomes_the_hosts_ends(net, service, way):
    token = canary()
    with started(net, [], flow(way, LATER4, PORT, token)) as run:
        net.await_seen(token=token)
        net.host.ip("addr", "add", f"{LATER4}/32", "dev", "up0")
        run.await_op("stream", "EPERM")
        received(service)
        net.fence()
        since = net.mark()
        other = sandboxed(net, [], flow("udp", LATER4, PORT, "x"))
        assert other.op("sendto").result == "EPERM", other
        assert received(service) == 0, "the host's service still hears the flow"
        net.fence()
        assert not net.seen(token=token, since=since)
        oks = len([op for op in run.ops() if op.result == "ok"])
        remove(net)
        until(lambda: len([op for op in run.ops() if op.result == "ok"]) > oks, "the flow lives again")


def test_a_tcp_connection_to_the_new_address_is_refused(net, service):
    with started(net, [], ["sh", "-c", "echo up; read x; " + " ".join(flow("tcp", LATER4, PORT, "x"))], stdin=-1) as run:
        run.await_line(lambda line: line == "up", "it runs")
        net.host.ip("addr", "add", f"{LATER4}/32", "dev", "up0")
        with net.host.call(lambda: socket.create_server(("0.0.0.0", PORT))):
            until(lambda: sandboxed(net, [], flow("tcp", LATER4, PORT, "x")).op("connect").result == "EPERM",
                  "a new run denies it")
            run.process.stdin.write("\n")
            run.process.stdin.close()
            run.wait()
        assert [op.result for op in run.ops() if op.name == "connect"] == ["EPERM"], run.text()

# SPDX-License-Identifier: MIT
"""
Sockets that outlive the command: what TCP still has to send is judged until the last of it is gone, and only then do
the programs go.
"""

import json
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from internet import ALLOWED4, ALLOWED4_NET, tcp_listener
from postern import Running, postern_run, sandboxed
from wait import until

PINS = Path("/sys/fs/bpf/postern-run")
POLICY = ["--allow", ALLOWED4_NET]
TCP_PORT = 7300
# Fills the peer's window and its own buffer, and ends without waiting for either.
SEND_AND_EXIT = f"""
import os, socket
s = socket.create_connection(("{ALLOWED4}", {TCP_PORT}))
s.setblocking(False)
try:
    while True:
        s.send(bytes(65536))
except BlockingIOError:
    os._exit(0)
"""
PYTHON = ["/usr/bin/python3", "-c", SEND_AND_EXIT]


@pytest.fixture(name="listener")
def _listener(net):
    def listen():
        server = tcp_listener(TCP_PORT, ALLOWED4)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.settimeout(10)
        return server
    server = net.internet.call(listen)
    yield server
    server.close()


def pins_of(pid):
    return list(PINS.glob(f"run-{pid}-*")) if PINS.exists() else []


def linked_cgroup(pins):
    shown = subprocess.run(["bpftool", "-j", "link", "show", "pinned", str(pins / "links/pst_egress")],
                           capture_output=True, text=True, check=True).stdout
    return json.loads(shown)["cgroup_id"]


def run_to_the_end(net):
    with Running(net, postern_run(POLICY, PYTHON)) as runner:
        assert runner.wait() == 0, runner.text()
        return runner.pid


def test_a_socket_with_data_to_send_stays_judged(net, listener):
    pid = run_to_the_end(net)
    peer, _ = listener.accept()
    try:
        left = pins_of(pid)
        assert len(left) == 1, "the programs went before the socket"
        assert linked_cgroup(left[0]) != 0
        # A run that comes now sweeps what is dead, and this is not.
        assert sandboxed(net, POLICY, ["true"]).code == 0
        assert pins_of(pid) == left
        assert linked_cgroup(left[0]) != 0
    finally:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()  # a reset ends the socket
    until(lambda: linked_cgroup(left[0]) == 0, "the last socket is gone")
    assert sandboxed(net, POLICY, ["true"]).code == 0
    assert not pins_of(pid), "the next run sweeps"


def test_a_command_without_open_sockets_leaves_nothing(net):
    with Running(net, postern_run(POLICY, ["true"])) as runner:
        assert runner.wait() == 0
        assert not pins_of(runner.pid)

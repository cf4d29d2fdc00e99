# SPDX-License-Identifier: MIT
"""
A process of the sandbox in a network namespace of its own reaches the host's addresses by a real device: who
listens on such a port over there says nothing about who listens on it here.
"""

import contextlib
import subprocess

import pytest

from rows import POLICY
from internet import HOST4, canary
from postern import Server, Shell, cgroup2_mount, flow, operations, tool


def elsewhere(net, argv, box=None):
    """argv in the peer's namespace, and in the cgroup of the box if there is one."""
    join = f"echo $$ > {cgroup2_mount()}{box.cgroup}/cgroup.procs && " if box else ""
    return ["nsenter", f"--net={net.internet.path}", "sh", "-c", f'{join} exec "$@"', "sh", *argv]


def send(net, port, token, box=None):
    done = subprocess.run(elsewhere(net, flow("udp", HOST4, port, token), box), capture_output=True, text=True,
                          check=False, timeout=20)
    return [op for op in operations(done.stdout) if op.name == "sendto"][-1].result


@contextlib.contextmanager
def own_listener(net, box, port):
    argv = elsewhere(net, tool("serve", "udp", "0.0.0.0", port), box)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout.readline().startswith("listening")
            yield
        finally:
            server.kill()


@pytest.mark.parametrize("listens", [False, True], ids=["nobody listens there", "an own listener is there"])
def test_the_hosts_services_stay_closed(net, listens):
    with Server(net, "udp", HOST4, 0) as server, Shell(net, POLICY) as box:
        assert send(net, server.port, canary()) == "ok"
        server.await_op("reply", "ok")
        with own_listener(net, box, server.port) if listens else contextlib.nullcontext():
            assert send(net, server.port, canary(), box) == "EPERM"
        # In order: what had got through would have been answered before this one.
        assert send(net, server.port, canary()) == "ok"
        server.await_op("reply", "ok", 2)
        assert len(server.ops()) == 2, server.text()

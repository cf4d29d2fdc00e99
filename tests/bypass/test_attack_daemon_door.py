# SPDX-License-Identifier: MIT
"""posternd's own doors, from inside: its unix socket answers nobody there, whoever it looks like; nor its port."""

import ctypes
import errno
import json
import os
import signal
import socket

import pytest

from captive import Captive
from insider import inside
from postern import execute, postern_run

ASK = b"GET /v1/sandboxes HTTP/1.1\r\nHost: x\r\n\r\n"
SO_PEERPIDFD = 77
SYS_CLONE3 = 435

CONNECT = """
s = sockets["s"] = socket.socket(socket.AF_UNIX)
s.connect(path)
"""
BELOW = """
os.mkdir(cgroup + "/below")
with open(cgroup + "/below/cgroup.procs", "w") as file:
    file.write("0")
"""
BY_A_CHILD = """
s = sockets["s"] = socket.socket(socket.AF_UNIX)
out = os.fork()
if not out:
    s.connect(path)
    os._exit(0)
os.waitpid(out, 0)
"""
ANSWER = """
s = sockets["s"]
s.settimeout(10)
try:
    s.sendall(ask)
    out = s.recv(4096).decode()[:15]
except OSError as error:
    out = str(error)
"""


def ask(who):
    return who.script(code=ANSWER.replace("ask)", repr(ASK) + ")"))


def refused(answer):
    return answer == "HTTP/1.1 403 Fo"


def test_the_control(daemon, free):
    free.script(code=CONNECT, path=str(daemon.socket))
    assert ask(free) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("way", [CONNECT, BELOW + CONNECT, BY_A_CHILD, BELOW + BY_A_CHILD],
                         ids=["own", "below", "child-that-ended", "child-below"])
def test_a_caller_inside(daemon, way):
    box = daemon.create({})
    with inside(box) as who:
        who.script(code=way, path=str(daemon.socket), cgroup=str(box.cgroup))
        assert refused(ask(who))


def knows_peers():
    ours, _ = socket.socketpair(socket.AF_UNIX)
    with ours:
        try:
            os.close(ours.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
            return True
        except OSError:
            return False


class CloneArgs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls", "set_tid",
        "set_tid_size", "cgroup")]


def fork_as(pid):
    """A child of ours with that number, outside of every sandbox, that does nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = (ctypes.c_int * 1)(pid)
    args = CloneArgs(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(number), set_tid_size=1)
    child = libc.syscall(SYS_CLONE3, ctypes.byref(args), ctypes.sizeof(args))
    if child == 0:
        while True:
            signal.pause()
    assert child == pid, os.strerror(ctypes.get_errno())
    return child


@pytest.mark.skipif(not knows_peers(), reason="needs SO_PEERPIDFD (Linux 6.5)")
def test_a_number_that_is_somebody_elses_now(daemon):
    """The one that connected is gone before the daemon looks; its number is an operator's process by then."""
    box = daemon.create({})
    with inside(box) as who:
        daemon.process.process.send_signal(signal.SIGSTOP)
        other = None
        try:
            pid = who.script(code=BY_A_CHILD, path=str(daemon.socket))
            other = fork_as(pid)
            daemon.process.process.send_signal(signal.SIGCONT)
            answer = ask(who)
        finally:
            daemon.process.process.send_signal(signal.SIGCONT)
            if other:
                os.kill(other, signal.SIGKILL)
                os.waitpid(other, 0)
        assert refused(answer)


REQUEST = """
s = socket.socket()
s.settimeout(5)
out = tried(s.connect, (to, port))
if out == "ok":
    s.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    out = s.recv(15).decode()
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "127.0.0.2"])
def test_its_port_is_shut_even_with_loopback_host(net, daemon, address):
    box = daemon.attach("hostly", daemon.cgroup("hostly"), {"loopback": "host"})
    with net.host.call(lambda: socket.create_server(("0.0.0.0", 0))) as beside, inside(box) as who:
        port = beside.getsockname()[1]
        assert who.script(code="out = tried(socket.create_connection, (to, port))", to=address, port=port) == "ok"
        assert who.script(code=REQUEST, to=address, port=daemon.port) in ("EPERM", "EACCES")
    with Captive(net, None) as who:
        assert who.script(code=REQUEST, to="127.0.0.1", port=daemon.port) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "control"])
def test_its_port_is_shut_to_a_run_as_well(net, daemon, tmp_path, is_known):
    """`postern run` reads the port from posternd's configuration; without one there is nothing that it could shut."""
    config = daemon.directory / "posternd.json" if is_known else tmp_path / "none.json"
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"loopback": "host"}))
    code = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {daemon.port})))"
    done = execute(net, postern_run(["--policy", policy], ["/usr/bin/python3", "-c", code]),
                   env={"POSTERN_CONFIG": str(config)})
    assert done.out.split() == [str(errno.EPERM if is_known else 0)], done

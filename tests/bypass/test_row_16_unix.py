# SPDX-License-Identifier: MIT
"""Row 16: the host's unix sockets, by abstract name (which a network namespace shares) and by path."""

import os
import socket

import pytest

from internet import canary
from postern import execute, sandboxed, tool

KINDS = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET, "datagram": socket.SOCK_DGRAM,
         "sendto": socket.SOCK_DGRAM}
OPS = {"stream": "connect", "seqpacket": "connect", "datagram": "connect", "sendto": "sendto"}


class Service:
    """A service of the host behind one name; what it hears is the oracle."""

    def __init__(self, net, way, name):
        self.name = name
        self.listens = KINDS[way] != socket.SOCK_DGRAM
        self.socket = net.host.call(lambda: socket.socket(socket.AF_UNIX, KINDS[way]))
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        if self.listens:
            self.socket.listen(8)
        if not name.startswith("@"):
            os.chmod(name, 0o777)
        self.socket.setblocking(False)

    def heard(self):
        """What arrived since the last call; None: nobody came."""
        try:
            if not self.listens:
                return self.socket.recv(256).decode()
            peer, _ = self.socket.accept()
        except BlockingIOError:
            return None
        with peer:
            peer.setblocking(True)
            peer.settimeout(5)
            return peer.recv(256).decode()

    def close(self):
        self.socket.close()
        if not self.name.startswith("@"):
            os.unlink(self.name)


@pytest.fixture(params=KINDS)
def way(request):
    return request.param


@pytest.fixture(params=["abstract", "path"])
def service(request, net, way, tmp_path_factory):
    name = f"@pst-{os.getpid()}-{canary()}"
    if request.param == "path":
        directory = tmp_path_factory.mktemp("unix")
        for part in (directory, directory.parent, directory.parent.parent):
            os.chmod(part, 0o755)
        name = str(directory / "s")
    running = Service(net, way, name)
    yield running
    running.close()


@pytest.fixture
def document(tmp_path):
    def write(word):
        path = tmp_path / f"{word}.json"
        path.write_text(f'{{"unix": "{word}"}}')
        return ["--policy", str(path)]
    return write


def speak(way, service, text):
    return tool("unix", way, service.name, text)


def assert_heard(net, service, way, policy=None):
    token = canary()
    argv = speak(way, service, token)
    done = execute(net, argv) if policy is None else sandboxed(net, policy, argv)
    assert service.heard() == token, done


@pytest.mark.parametrize("word", ["deny", "pathname"])
def test_a_service_behind_a_name(net, service, way, document, word):
    assert_heard(net, service, way)
    if word == "pathname" and not service.name.startswith("@"):
        assert_heard(net, service, way, document(word))
        return
    done = sandboxed(net, document(word), speak(way, service, canary()))
    assert done.op(OPS[way]).result == "EPERM", done
    assert "unix-socket" in done.err, done
    assert service.heard() is None
    # Not the tool, nor the service: the policy.
    assert_heard(net, service, way, document("allow"))


def test_with_privileges_too(net, service, way, document):
    done = sandboxed(net, ["--keep-privs", *document("deny")], speak(way, service, canary()))
    assert done.op(OPS[way]).result == "EPERM", done
    assert service.heard() is None
    assert_heard(net, service, way, ["--keep-privs"])


def test_a_pair_has_no_name(net, document):
    done = sandboxed(net, document("deny"), tool("unix", "pair", "x"))
    assert done.op("send").result == "ok", done

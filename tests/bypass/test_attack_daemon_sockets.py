# SPDX-License-Identifier: MIT
"""
A socket that one sandbox hands to another is judged by the policy of where it was made (threat model, row 15). So it
is not to become nobody's when that cgroup goes, its sandbox is deleted, or somebody else gets its name and path.
The control: the same socket, while its own policy lets it through; and before the daemon was ever asked.
"""

import contextlib

import pytest

from daemon import DENY_ALL
from insider import inside
from internet import ALLOWED4, DENIED4, PORT, canary
from wait import until

OPEN = {"allowOut": [ALLOWED4, DENIED4], **DENY_ALL}
TIGHT = {"allowOut": [ALLOWED4], **DENY_ALL}

LISTEN = """
s = sockets["l"] = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen(1)
"""
HAND_OVER = """
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s = socket.socket(socket.AF_UNIX)
s.connect(path)
socket.send_fds(s, [b"x"], [u.fileno()])
"""
TAKE = """
s, _ = sockets["l"].accept()
sockets["u"] = socket.socket(fileno=socket.recv_fds(s, 1, 1)[1][0])
"""
SEND = "out = tried(sockets['u'].sendto, data.encode(), (to, port))"


class Pair:
    """Two sandboxes; a socket that was made in the first is with the second, and the first has ended."""

    def __init__(self, daemon, path, stack):
        self.daemon, self.net = daemon, daemon.net
        self.place = daemon.cgroup("first")
        self.first = daemon.attach("first", self.place, OPEN)
        second = daemon.attach("second", daemon.cgroup("second"), {**DENY_ALL})
        self.holder = stack.enter_context(inside(second))
        self.holder.script(code=LISTEN, path=path)
        with inside(self.first) as maker:
            maker.script(code=HAND_OVER, path=path)
            self.holder.script(code=TAKE)
        self.check(True)
        self.first.put(TIGHT)
        self.check(False)

    def check(self, reaches, to=DENIED4):
        """Asked of the wire, as nothing of what arrives is answered."""
        token, since = canary(), self.net.mark()
        told = self.holder.script(code=SEND, to=to, port=PORT, data=token)
        self.net.fence()
        arrived = bool(self.net.seen(token=token, since=since))
        assert (told == "ok", arrived) == (reaches, reaches), (told, arrived)

    def remove_place(self):
        until(lambda: "populated 0" in (self.place / "cgroup.events").read_text("utf-8"), "it is empty")
        self.place.rmdir()


@pytest.fixture(name="pair")
def _pair(daemon, tmp_path):
    tmp_path.chmod(0o755)
    with contextlib.ExitStack() as stack:
        yield Pair(daemon, str(tmp_path / "s"), stack)


def state_of(daemon, name):
    return next((box["state"] for box in daemon.boxes() if box["id"] == name), None)


def test_its_sandbox_is_deleted_when_its_cgroup_has_gone(pair):
    pair.remove_place()
    pair.first.delete()
    pair.check(False)
    pair.check(False, ALLOWED4)


@pytest.mark.parametrize("restarted", [False, True], ids=["alive", "restarted"])
def test_somebody_else_gets_its_name_and_path(pair, restarted):
    """As a service that is started again does; who held a socket of the first one keeps nobody waiting."""
    daemon = pair.daemon
    if restarted:
        daemon.kill()
    pair.remove_place()
    if restarted:
        daemon.start()
        assert state_of(daemon, "first") == "gone"
        pair.check(False)
    pair.first.delete()
    again = daemon.attach("first", daemon.cgroup("first"), OPEN)
    pair.check(False)
    with inside(again) as who:
        who.script(code="sockets['u'] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
        assert who.script(code=SEND, to=DENIED4, port=PORT, data="x") == "ok"
    daemon.restart()
    pair.check(False)
    left = [p.name for p in (daemon.pins / "sandboxes").iterdir() if p.name.startswith("_left-")]
    assert len(left) == 1
    body = {"id": left[0], "cgroup": str(daemon.cgroup("x")), "policy": {}, "allowWeak": True}
    reply = daemon.request("POST", "/v1/sandboxes", body)
    assert reply.status == 400 and "are ours" in reply.json["message"], reply
    # Closed: the next start finds nothing that it would keep.
    pair.holder.script(code="sockets['u'].close()")

    def is_swept():
        daemon.restart()
        return not [p for p in (daemon.pins / "sandboxes").iterdir() if p.name.startswith("_left-")]
    until(is_swept, "what was put aside is gone", 60)

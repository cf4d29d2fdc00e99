# SPDX-License-Identifier: MIT
"""Names need nobody in user space: `postern run` is stopped or killed, and what it started resolves and connects on."""

import os
import secrets
import signal

import pytest

from internet import PORT, canary
from names import place_of, steps
from postern import operations, sandboxed
from resolver import CHAIN, OFF_LIST, V4, WILD
from wait import until

ALLOW = ["--allow", "v4.example.com", "--allow", "*.wild.example.com", "--allow", f"chain0.example.com:{PORT}"]

AFTER = [("talk", "ok"), ("look", "ok"), ("connect", "ok"), ("send", "ok"), ("connect", "EPERM"), ("connect", "ok"),
         ("send", "ok")]

pytestmark = pytest.mark.usefixtures("web")


@pytest.fixture
def place(net, resolvers, tmp_path):
    return place_of(net, tmp_path)


class Afterwards:
    """A command that begins something before the blow and does the rest after it."""

    def __init__(self, place, tmp_path, policy, keep_alive=False):
        self.went, self.log = tmp_path / "went", tmp_path / "log"
        self.off, self.token = f"n{secrets.token_hex(6)}.example.net", canary()
        place.net.forbid(self.token)
        words = steps("look v4.example.com", "tcp v4.example.com 80 x", "look chain0.example.com",
                      f"keep chain0.example.com {PORT} before", f"await {self.went}", "again after",
                      "look new.wild.example.com", "tcp new.wild.example.com 80 x", f"tcp {WILD} 22 {self.token}",
                      f"tcp {V4} 443 x", f"look {self.off}", f"tcp {OFF_LIST} 80 {self.token}",
                      f"tcp {CHAIN} 80 {self.token}")
        script = f'trap "" TERM HUP INT; {"setsid " * keep_alive}"$@" >{self.log} 2>&1'
        self.running = place.start(policy, ["sh", "-c", script, "sh", *words])
        until(lambda: "talk ok" in self.text(), "it begins")

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def check(self, place, resolvers, since):
        self.went.touch()
        until(lambda: self.text().count("connect") == 7, "it does the rest")
        found = [(op.name, op.result) for op in operations(self.text())]
        assert found[6:] == [*AFTER, ("look", "EAI_AGAIN"), ("connect", "EPERM"), ("connect", "EPERM")], self.text()
        assert not resolvers.questions(self.off), self.text()
        place.net.fence()
        assert not place.net.seen(token=self.token, since=since)


def test_the_runner_is_stopped(net, resolvers, place, tmp_path):
    since = net.mark()
    after = Afterwards(place, tmp_path, ALLOW)
    with after.running as run:
        os.kill(run.pid, signal.SIGSTOP)
        try:
            after.check(place, resolvers, since)
        finally:
            os.kill(run.pid, signal.SIGCONT)
        assert run.wait() == 0, run.text()
        assert after.off in run.text(), run.text()


def test_the_runner_is_killed(net, resolvers, place, tmp_path):
    """And later runs sweep what is left over: not this."""
    since = net.mark()
    after = Afterwards(place, tmp_path, ["--keep-privs", *ALLOW], keep_alive=True)
    with after.running as run:
        run.process.send_signal(signal.SIGKILL)
        assert run.process.wait(10) == -signal.SIGKILL
        for _ in range(2):
            assert sandboxed(net, ALLOW, ["true"]).code == 0
        after.check(place, resolvers, since)

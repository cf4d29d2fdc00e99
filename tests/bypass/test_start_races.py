# SPDX-License-Identifier: MIT
"""
Row 23: who begins to send before the policy is there. A command's first instruction under `postern run`, and somebody who
knocks all the time while posternd attaches where he is: nothing arrives behind the reply.
"""

import contextlib
import os

import pytest

from captive import Captive
from daemon import Daemon
from evidence import NOW, OPEN
from internet import DENIED4, PORT, canary
from latepeer import LatePeer
from matrix import POLICIES, WHOLE
from postern import ROOT, Running, flow, sandboxed
from wait import until
from wire import Wire

STARTS = 100 if WHOLE or os.environ.get("PST_LONG") == "1" else 12
KNOCK = str(ROOT / "tests/lib/tools/knock.py")
OPTIONS = {"open": [], "deny_all": ["--deny", "0.0.0.0/0"], "restricted": ["--allow", "93.184.216.0/24"]}


def target(mode):
    return "169.254.169.254" if mode == OPEN else DENIED4


@pytest.mark.parametrize("mode", POLICIES)
def test_the_first_thing_that_a_command_does(net, mode):
    tokens, since = [canary() for _ in range(STARTS // 3)], net.mark()
    for token in tokens:
        net.forbid(token)
        assert sandboxed(net, OPTIONS[mode], flow("udp", target(mode), PORT, token)).op("sendto").result == "EPERM"
    net.fence()
    NOW.tried(len(tokens))
    assert not [token for token in tokens if net.seen(token=token, since=since)]


@pytest.mark.parametrize("mode", POLICIES)
@pytest.mark.parametrize("kind", ["cgroup", "netdev"])
def test_who_knocks_while_he_is_attached(net, kind, mode):
    """It is open to him before, and shut when the reply has come."""
    with Daemon(net, resolvers=[]) as daemon, Wire(net) as wire:
        for n in range(max(1, STARTS // 12)):
            token, name, since = canary(), f"k{n}", net.mark()
            argv = ["/usr/bin/python3", KNOCK, target(mode), str(PORT), token, "1"]
            if kind == "netdev":
                knocker = wire.start(argv)
            else:
                cgroup = daemon.cgroup(name)
                put = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(cgroup)]
                knocker = Running(net, [*put, *argv])
            with knocker:
                net.await_seen(token=token, since=since)
                box = wire.attach(daemon, POLICIES[mode], name) if kind == "netdev" else \
                    daemon.attach(name, cgroup, POLICIES[mode])
                net.fence()
                since = net.mark()
                until(lambda: knocker.process.poll() is None, "he knocks on")
                net.fence()
                net.fence()
                NOW.tried(1)
                assert not net.seen(token=token, since=since)
            box.delete()


ASKED = """
s = sockets["s"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 0))
s.sendto(b"asked", (to, port))
out = s.getsockname()[1]
"""
HEARD = "s = sockets['s']; s.settimeout(20); out = s.recv(99).decode()"
SENT = "out = tried(sockets['s'].sendto, bytes.fromhex(data), (to, port))"
ANYWHERE, SERVER = 6353, 500  # ports of a peer; the second a well-known one


@contextlib.contextmanager
def running(net, kind):
    """(somebody who runs, what attaches him where he is)"""
    with Daemon(net, resolvers=[]) as daemon, Wire(net) as wire:
        cgroup = daemon.cgroup("late")
        prefix = wire.argv([]) if kind == "netdev" else ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(cgroup)]
        with Captive(net, None, prefix=prefix) as who:
            yield who, lambda policy: wire.attach(daemon, policy, "late") if kind == "netdev" else \
                daemon.attach("late", cgroup, policy)


def is_answered(net, who, peer, word):
    """The peer says something, he hears it, and says something back: does that arrive?"""
    token, since = canary(), net.mark()
    peer.say(word)
    assert who.script(code=HEARD) == word, "it is kept from nobody"
    who.script(code=SENT, to=DENIED4, port=peer.port, data=token.encode().hex())
    net.fence()
    return bool(net.seen(token=token, since=since))


@pytest.mark.parametrize("port", [ANYWHERE, SERVER])
@pytest.mark.parametrize("kind", ["cgroup", "netdev"])
def test_an_answer_that_comes_behind_the_attach_is_no_call(net, kind, port):
    """
    What he asked before, and nothing since, is answered when he is held already. It is nothing that he may go on with. Soon
    any peer may call, and be answered; who speaks by a well-known port is believed later.
    """
    with running(net, kind) as (who, attach), LatePeer(net, DENIED4, port) as peer:
        who.script(code=ASKED, to=DENIED4, port=port)
        peer.await_question()
        assert is_answered(net, who, peer, "before"), "the control"
        attach({"denyOut": ["0.0.0.0/0"], "inbound": "allow"})
        assert not is_answered(net, who, peer, "late")
        if port == ANYWHERE:
            until(lambda: is_answered(net, who, peer, "called"), "it is a call", 30)
        else:
            assert not any(is_answered(net, who, peer, "late") for _ in range(12))

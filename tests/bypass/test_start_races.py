# SPDX-License-Identifier: MIT
"""
Row 23: who begins to send before the policy is there. A command's first instruction under `postern run`, and somebody who
knocks all the time while posternd attaches where he is: nothing arrives behind the reply.
"""

import os

import pytest

from daemon import Daemon
from evidence import NOW, OPEN
from internet import DENIED4, PORT, canary
from matrix import POLICIES, WHOLE
from postern import ROOT, Running, flow, sandboxed
from wait import until
from wire import Wire

DEAF = 7999  # nobody answers there: an answer to what was sent before the attach would be a call
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
            argv = ["/usr/bin/python3", KNOCK, target(mode), str(DEAF), token, "1"]
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

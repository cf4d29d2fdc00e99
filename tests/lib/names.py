# SPDX-License-Identifier: MIT
"""The host namespace as it is with a resolv.conf of the test's own, and what tests of names do there."""

from internet import canary
from postern import ROOT, Running, plain, postern_run, sandboxed
from resolver import ADDRESSES

STEPS = ["/usr/bin/python3", "-S", str(ROOT / "tests/lib/tools/names.py")]
MOUNT = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"'


def steps(*words):
    """A command line of tools/names.py."""
    return [*STEPS, *words]


class Place:
    """Where /etc/resolv.conf names these servers, and with it what `postern run` trusts and what programs ask."""

    def __init__(self, net, directory, *servers, options=None, search=None):
        self.net, self.conf, self.servers = net, directory / "resolv.conf", servers
        self.conf.write_text("".join(f"nameserver {server}\n" for server in servers) +
                             (f"options {options}\n" if options else "") + (f"search {search}\n" if search else ""))

    def here(self, argv):
        return ["unshare", "-m", "sh", "-c", MOUNT, str(self.conf), *argv]

    def plain(self, argv, **options):
        return plain(self.net, argv, wrap=self.here, **options)

    def run(self, policy, argv, **options):
        policy = [*policy, *self.net.kind.trusting(self.servers)]
        return sandboxed(self.net, policy, argv, wrap=self.here, **options)

    def start(self, policy, argv):
        return Running(self.net, self.here(postern_run(policy, argv)))

    def assert_arrives(self, argv, policy=None, dst=None):
        """argv with CANARY filled in succeeds and arrives, at dst if that is given; returns the result."""
        token, since = canary(), self.net.mark()
        argv = [word.replace("CANARY", token) for word in argv]
        done = self.plain(argv) if policy is None else self.run(policy, argv)
        assert done.code == 0, done
        frames = self.net.await_seen(token=token, since=since)
        assert dst is None or any(str(frame.dst) == dst for frame in frames), f"{frames[0]}\n{done}"
        return done


def place_of(net, directory, kind="unbound", where="public", **options):
    return Place(net, directory, ADDRESSES[kind][where], **options)

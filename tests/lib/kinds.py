# SPDX-License-Identifier: MIT
"""
The kinds of sandbox that one and the same test runs for: what starts a command inside, what stands beside it as its
control, and what a program inside is told of a denial. tests/lib/kindtable.py says which test runs for which.

    cgroup   `postern run`, in the host namespace: EPERM from the call itself. The control runs in the host namespace.
    netns    `postern run --netns`: a network namespace and a veth, masqueraded.
    wired    a device that posternd attached (wire.py): the command is root in a namespace of its own, and routed.

The last two are the netdev kind. There a denial is an answer to a packet: TCP is told ECONNREFUSED (an RST), UDP
EHOSTUNREACH or, over IPv6, EACCES (an ICMP error), a question NXDOMAIN with EDE 15; what has no answer is silence. Tests
say "EPERM", the word of the cgroup kind, for all of them: it is put in place of those here, and nowhere else. That
nothing arrives is asked of the sniffer in every kind.
"""

import contextlib
import ipaddress
import itertools
import json
import os
import signal
from pathlib import Path

from evidence import CGROUP, CLSACT, NOW, TCX
from internet import HOST4, HOST6
from netns import shell

DENIED = "EPERM"
TCP_REFUSED, UDP_REFUSED, UDP6_REFUSED, NO_NAME = "ECONNREFUSED", "EHOSTUNREACH", "EACCES", "NXDOMAIN"
REFUSALS = (TCP_REFUSED, UDP_REFUSED, UDP6_REFUSED, NO_NAME)
# The test programs set IP_RECVERR with this in their environment: a socket without connect() hears of ICMP errors, too.
TELL = ["env", "PST_TELL=1"]
TIME_WAIT, LISTEN = "06", "0A"  # in /proc/net/tcp
SENDING = ("connect", "send", "sendto")
# Ways of tools/flow.c and tools/uring.c that look at what came of what they sent.
TELLING = {"flow": {"tcp": "tcp", "tfo": "tcp", "tfo-connect": "tcp", "udp": "udp", "udp-connected": "udp"},
           "uring": {"tcp": "tcp"}}


def is_v4(address):
    """Whether packets to it are IPv4."""
    ip = ipaddress.ip_address(address)
    return ip.version == 4 or ip.ipv4_mapped is not None


class Inside:
    """Where commands run under one policy."""

    addr4, addr6 = HOST4, HOST6

    def argv(self, argv):
        raise NotImplementedError

    def maps(self, pid):
        """Where the maps are pinned; pid: of what argv() started."""
        raise NotImplementedError

    def record(self, maps):
        """struct pst_sandbox of this sandbox."""
        raise NotImplementedError

    def end(self, pid):
        """What a program that has ended has left running; pid: of what argv() started, in a session of its own."""

    def close(self):
        """Once nothing runs inside any more. Idempotent."""


class Kind:
    """One for each test run: `net` is the little internet."""

    name = None
    device = "up0"  # what a command sends by
    has_errors = True  # a call that sends what is denied fails, whatever the call is

    def __init__(self, net):
        self.net = net

    def enter(self, policy):
        """An Inside under `policy`, a list of options of `postern run`."""
        raise NotImplementedError

    def trusting(self, servers):  # pylint: disable=unused-argument
        """What a policy needs to say more, so that the resolvers of a program's resolv.conf are trusted."""
        return []

    def beside(self, argv):
        """The control: a command line that runs argv as inside, but for the enforcement."""
        return list(argv)

    def end(self, pid):
        """As that of Inside, for a control."""

    def beside_address(self, address):
        """What the control has in place of HOST4 or HOST6."""
        return address

    def set_mtu(self, mtu):
        """Of all that is between the host and those inside."""

    def told(self, ops):
        """The operations of a program inside with this kind's refusals in the tests' word."""
        return ops

    def word(self, result):
        return result

    def tells(self, argv, ops):  # pylint: disable=unused-argument
        """Whether the program that argv starts inside hears of a denial; then its operations, as it said them, must tell."""
        return True

    def rest(self):
        """After a test."""

    def close(self):
        pass


class RunInside(Inside):
    """`postern run`, with these options more."""

    def __init__(self, policy, options=(), tell=()):
        self._policy, self._tell = [*options, *policy], tell

    def argv(self, argv):
        from postern import postern_run  # pylint: disable=import-outside-toplevel
        return [*self._tell, *postern_run(self._policy, argv)]

    def maps(self, pid):
        from postern import cgroup_of, child_of  # pylint: disable=import-outside-toplevel
        return Path("/sys/fs/bpf/postern-run") / cgroup_of(child_of(pid)).rsplit("/", 1)[1] / "maps"

    def record(self, maps):
        return _bpftool("map", "dump", "pinned", maps / "pst_sandbox")[0]["formatted"]["value"]


class Cgroup(Kind):
    name = "cgroup"

    def enter(self, policy):
        NOW.sandbox(CGROUP, policy)
        return RunInside(policy)


class Netdev(Kind):
    """What is common to both ways to a device."""

    device = "eth0"
    has_errors = False

    def word(self, result):
        return DENIED if result in REFUSALS else result

    def told(self, ops):
        """
        A refusal is told by the operation after the one that it is for: the send behind a connect() of TCP Fast Open, the
        recv behind a datagram. The operations that it is for have the word, too.
        """
        found = [op._replace(result=self.word(op.result)) for op in ops]
        for n, op in enumerate(found):
            if op.result != DENIED or op.name not in ("recv", "send"):
                continue
            for before in reversed(range(n)):
                if found[before].name not in SENDING or found[before].result != "ok":
                    break
                found[before] = found[before]._replace(result=DENIED, ms=op.ms)
        return found

    def tells(self, argv, ops):
        word = expected(argv)
        assert word is None or word in [op.result for op in ops], f"{word} is not among {ops}"
        return word is not None


def expected(argv):
    """
    The result that a program inside a sandbox of the netdev kind ends with when argv is denied; None: it does not
    look, as what makes packets by hand, or has nothing to look at.
    """
    words = [str(word) for word in argv]
    at = next((n for n, word in enumerate(words) if word.rsplit("/")[-1] in TELLING), None)
    if at is None or "-n" in words or "-s" in words[at:] or "timeout" in words[:at]:
        return None
    ways = TELLING[words[at].rsplit("/")[-1]]
    mode = next((n for n, word in enumerate(words) if n > at and word in ways), None)
    if mode is None:
        return None
    if ways[words[mode]] == "tcp":
        return TCP_REFUSED
    return UDP_REFUSED if is_v4(words[mode + 1]) else UDP6_REFUSED


# ---- behind a device that posternd attached ----

def document(policy):
    """The policy that `postern run` makes of its options, as a document."""
    lists = {"--allow": "allowOut", "--deny": "denyOut", "--allow-private": "allowPrivate"}
    words = iter(policy)
    made, resolvers, is_file = {}, [], False
    for word in words:
        if word in lists:
            made.setdefault(lists[word], []).append(str(next(words)))
        elif word == "--resolver":
            resolvers.append(next(words))
        elif word == "--policy":
            made.update(json.loads(Path(next(words)).read_text()))
            is_file = True
        elif word == "--audit":
            made["audit"] = True
        else:
            assert word == "--keep-privs", f"{word}: no option for a sandbox of posternd"
    if made.get("allowOut") and not is_file:
        made.setdefault("denyOut", []).insert(0, "0.0.0.0/0")
    if resolvers:
        made.setdefault("dns", {}).setdefault("resolvers", []).extend(resolvers)
    return made


class WireInside(Inside):
    def __init__(self, kind, wire, box):
        self._kind, self.wire, self._box = kind, wire, box
        self.addr4, self.addr6 = wire.addr4, wire.addr6

    def argv(self, argv):
        return self.wire.argv([*TELL, *argv])

    def maps(self, pid):
        return self._box.daemon.pins / "maps"

    def record(self, maps):
        slot = _bpftool("map", "lookup", "pinned", maps / "pst_netdevs", "key", *_bytes4(self.wire.index))
        slot = slot["formatted"]["value"] & 0xFFFF  # PST_DEVICE_SLOT
        found = _bpftool("map", "lookup", "pinned", maps / "pst_devices", "key", *_bytes4(slot))
        return found["formatted"]["value"]["sandbox"]

    def end(self, pid):
        self._kind.end(pid)

    def close(self):
        if self._box:
            box, self._box = self._box, None
            self._end_sockets()
            box.delete()
            self._kind.leave(self)

    def _end_sockets(self):
        """What TCP has still to send would pass when nobody judges it any more."""
        captive = self.wire.captive
        if any(captive.call(_is_talking, table) for table in ("tcp", "tcp6")):
            shell("nsenter", f"--net={captive.path}", "ss", "-K", "-t", "state", "all")


class Wired(Netdev):
    """
    One posternd for the whole run, and as many wires as were ever wanted at a time: a sandbox is one request, not a program
    to load.
    """

    name = "netdev"

    def __init__(self, net):
        super().__init__(net)
        self._daemon, self._beside = None, None
        self._free, self._open = [], []
        self._numbers = itertools.count()

    def enter(self, policy):
        wire = self._free.pop() if self._free else self._wire()
        try:
            box = wire.attach(self.daemon(), document(policy), f"kind{next(self._numbers)}", allowWeak=True)
        except BaseException:
            self._free.append(wire)
            raise
        self._open.append(WireInside(self, wire, box))
        return self._open[-1]

    def trusting(self, servers):
        return [word for server in servers for word in ("--resolver", server)]

    def leave(self, inside):
        self._open.remove(inside)
        self._free.append(inside.wire)

    def beside(self, argv):
        return self._control().argv(argv)

    def end(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def beside_address(self, address):
        return self._control().addr6 if ":" in address else self._control().addr4

    def _control(self):
        self._beside = self._beside or self._wire()
        return self._beside

    def _wire(self):
        """The host passes on what a control needs: source routes."""
        from wire import INSIDE, Wire  # pylint: disable=import-outside-toplevel
        wire = Wire(self.net)
        wire.captive.sysctl(net__ipv4__tcp_fastopen=5)
        self.net.host.sysctl(net__ipv4__conf__all__accept_source_route=1)
        self.net.host.sysctl(**{f"net__ipv4__conf__{wire.device}__accept_source_route": 1})
        assert INSIDE == self.device
        return wire

    def set_mtu(self, mtu):
        for wire in [*self._free, *(inside.wire for inside in self._open), *([self._beside] if self._beside else [])]:
            self.net.host.ip("link", "set", wire.device, "mtu", str(mtu))
            wire.captive.ip("link", "set", self.device, "mtu", str(mtu))

    def daemon(self):
        from daemon import Daemon  # pylint: disable=import-outside-toplevel
        if not self._daemon:
            self._daemon = Daemon(self.net, start=False, resolvers=[])
            # It outlives the test that needs it first, and what ends with a test has another mark.
            self._daemon.start(env={"PST_TEST": "kinds"})
        return self._daemon

    def rest(self):
        for inside in list(self._open):
            inside.close()

    def close(self):
        with contextlib.suppress(AssertionError):
            self.rest()
        if self._daemon:
            self._daemon.close()
        for wire in [*self._free, *([self._beside] if self._beside else [])]:
            wire.close()


class Netns(Netdev):
    """`postern run --netns`."""

    name = "netdev"

    def enter(self, policy):
        NOW.sandbox(CLSACT if os.environ.get("PST_TC") == CLSACT else TCX, policy)
        return RunInside(policy, ["--netns"], TELL)


def of(net):
    """Name of the way -> its Kind."""
    return {"cgroup": Cgroup(net), "wired": Wired(net), "netns": Netns(net)}


def _is_talking(table):
    """Whether a TCP socket of the calling thread's namespace may still send by itself."""
    lines = Path(f"/proc/thread-self/net/{table}").read_text("ascii").splitlines()[1:]
    return any(line.split()[3] not in (TIME_WAIT, LISTEN) for line in lines)


def _bpftool(*argv):
    return json.loads(shell("bpftool", "-j", *map(str, argv)))


def _bytes4(number):
    return [str(byte) for byte in number.to_bytes(4, "little")]

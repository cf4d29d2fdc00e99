# SPDX-License-Identifier: MIT
"""
A network for floods: a host and, one veth away, everything else, with a sniffer in C that keeps up (tools/far.c). And
what floods: many flows of one sandbox at once (tools/streams.c).

    host namespace  up0 192.0.2.2  <->  192.0.2.1 in0  far namespace: owns every address
"""

import os
import signal
import subprocess
import threading
import time
from collections import namedtuple
from types import SimpleNamespace

from internet import canary, send_from_cpu
from netns import Namespace, shell, sweep
from postern import Running, tool
from wait import until

FAR_PORT = 7000
KEPT, TIGHT, NEVER = "93.184.216.10", "93.184.217.20", "93.184.218.30"  # allowed, changing, denied: what tests agree on
FENCE = "203.0.113.200"
LONG = os.environ.get("PST_LONG") == "1"

Seen = namedtuple("Seen", "protocol dst port sport frames payload last_ns payload_ns")
Change = namedtuple("Change", "flow result ns sport")


def now_ns():
    """On the clock of the sniffer and of the streams."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


class Far:
    """As Internet is for everything else: Daemon and Box take it as their net."""

    def __init__(self):
        sweep()
        self.host, self.far = Namespace("host"), Namespace("far")
        self._lock = threading.Lock()
        self.process = None
        try:
            self._join()
            self.process = Running(SimpleNamespace(host=self.far), tool("far", "in0", FAR_PORT), stdin=subprocess.PIPE)
            self.process.await_line(lambda line: line == "up", "the far side is up")
        except BaseException:
            self.close()
            raise

    def _join(self):
        self.host.ip("link", "add", "up0", "address", "02:00:00:00:00:02", "type", "veth", "peer", "in0", "address",
                     "02:00:00:00:00:01", "netns", self.far.name)
        for namespace, device, own, other, mac in ((self.host, "up0", "192.0.2.2", "192.0.2.1", "02:00:00:00:00:01"),
                                                   (self.far, "in0", "192.0.2.1", "192.0.2.2", "02:00:00:00:00:02")):
            namespace.sysctl(net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__default__rp_filter=0)
            namespace.ip("addr", "add", f"{own}/24", "dev", device)
            namespace.ip("link", "set", device, "up")
            namespace.ip("neigh", "replace", other, "lladdr", mac, "dev", device)
        self.host.ip("route", "add", "default", "via", "192.0.2.1", "dev", "up0")
        self.far.ip("route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "main")
        self.far.sysctl(net__ipv4__tcp_max_syn_backlog=4096, net__ipv4__tcp_syncookies=0)

    def dump(self, since=0):
        """What was seen since that time: a list of Seen."""
        with self._lock:
            start = len(self.process.lines)
            self.process.process.stdin.write(f"dump {since}\n")
            self.process.process.stdin.flush()
            size = until(lambda: next((n + 1 for n, line in enumerate(self.process.lines[start:])
                                       if line.startswith("end ")), None), "it tells", 60)
            lines = self.process.lines[start:start + size]
            del self.process.lines[:start + size]
        assert lines[-1] == "end 0", f"the sniffer lost frames: its silence proves nothing: {lines[-1]}"
        split = [line.split() for line in lines[:-1]]
        return [Seen(int(w[1]), w[2], *map(int, w[3:])) for w in split]

    def fence(self):
        """Returns when all that this host sent before was seen, on every CPU's queue."""
        for cpu in sorted(os.sched_getaffinity(0)):
            since = now_ns()
            self.host.call(send_from_cpu, cpu, b"up0", canary().encode(), FENCE)
            until(lambda at=since: any(seen.dst == FENCE and seen.last_ns >= at for seen in self.dump(at)),
                  "a fence arrives", 60)

    def frames_to(self, address):
        return sum(seen.frames for seen in self.dump() if seen.dst == address)

    def await_payload(self, ports, address, since):
        """Until each flow from these ports to the address has arrived since then."""
        missing = set(ports)

        def all_there():
            missing.difference_update({seen.sport for seen in self.dump(since)
                                       if seen.dst == address and seen.payload_ns > since})
            return not missing
        try:
            until(all_there, "the flows arrive", 60)
        except AssertionError:
            sockets = shell("ip", "netns", "exec", self.host.name, "ss", "-tuin", "dst", address)
            raise AssertionError(f"flows to {address} stopped: from ports {missing}\n{sockets}") from None

    def close(self):
        if self.process:
            self.process.stop(signal.SIGKILL)
        for namespace in (self.host, self.far):
            namespace.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# What a flow is told that is denied: by the system call, or by an RST and by ICMP.
REFUSALS = {"cgroup": ("EPERM",), "netdev": ("ECONNREFUSED", "EHOSTUNREACH")}


class Streams:
    """
    Flows of one sandbox, by their number: [("tcp", address), ("udp*20", address), ...]. Behind a device so many denials a
    second are answered and no more (200): few flows, and long ticks.
    """

    def __init__(self, box, flows, tick_us=1000):
        self.flows = list(flows)
        self.refusals = REFUSALS[box.kind]
        options = ["-l"] if box.kind == "netdev" else []
        self.running = box.start(tool("streams", *options, tick_us, *(f"{kind}:{to}:{FAR_PORT}" for kind, to in self.flows)),
                                 stdin=subprocess.PIPE)
        self.running.await_line(lambda line: line == "up", "the streams run", 60)

    def changes(self, since=0):
        """What was told from that line on."""
        split = [line.split() for line in self.running.lines[since:] if line.startswith("flow ")]
        return [Change(int(w[1]), w[2], int(w[3]), int(w[4])) for w in split]

    def mark(self):
        return len(self.running.lines)

    def numbers(self, address, kind=""):
        return [n for n, (of, to) in enumerate(self.flows) if to == address and of.startswith(kind)]

    def states(self):
        """The last result of each flow."""
        return {change.flow: change for change in self.changes()}

    def await_results(self, numbers, results, deadline_s=60):
        """Until each of these flows has one of these results last; returns the states."""
        def all_there():
            assert self.running.process.poll() is None, self.running.text()
            states = self.states()
            return states if all(n in states and states[n].result in results for n in numbers) else None
        try:
            return until(all_there, f"{results} of all", deadline_s)
        except AssertionError:
            states = self.states()
            raise AssertionError(f"not {results}: {[(n, self.flows[n], states.get(n)) for n in numbers]}") from None

    def await_denied(self, numbers):
        """Until each of these flows is refused, in its kind's way."""
        return self.await_results(numbers, self.refusals)

    def errors(self, numbers, since=0):
        """What went wrong with flows that were up."""
        return [change for change in self.changes(since) if change.flow in numbers and change.result != "ok"]

    def probe(self, addresses, deadline_s=60):
        """address -> "ok", "denied" or another errno, of a datagram and of a connection: {address: (udp, tcp)}."""
        start = self.mark()
        self.running.process.stdin.write("".join(f"probe {address} {FAR_PORT}\n" for address in addresses))
        self.running.process.stdin.flush()

        def answered():
            split = [line.split() for line in self.running.lines[start:] if line.startswith("probe ")]
            found = {words[1]: tuple("denied" if word in self.refusals else word for word in words[2:4])
                     for words in split}
            return found if set(addresses) <= set(found) else None
        return until(answered, f"all are probed: {addresses}", deadline_s)

    def stop(self):
        self.running.stop(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def percentiles(values, unit="ms"):
    """p50, p99 and the largest, as text."""
    if not values:
        return "none"
    ordered = sorted(values)
    pick = [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99)]
    return f"p50 {pick[0]:.2f} {unit}, p99 {pick[1]:.2f} {unit}, max {ordered[-1]:.2f} {unit} of {len(ordered)}"

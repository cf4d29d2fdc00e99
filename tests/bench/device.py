#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Sandboxes behind devices: what a packet costs on its way from a captive namespace through the host's to a far one, with
nothing, with an empty program, with Postern, and with nftables for the same policy. As root, in namespaces and pins of
its own. Samples to build/bench/device.samples, the table to device.txt there.

    tests/bench/device.py            SCENES=3 times everything anew, ROUNDS=11 rounds each
    tests/bench/device.py report     the table again, from the samples that are there
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("B", ROOT / "build")).resolve()
SCENES = int(os.environ.get("SCENES", "3"))
ROUNDS = int(os.environ.get("ROUNDS", "11"))
NAME = f"pst-bench-{os.getpid()}"
SAMPLES, RESULTS = BUILD / "bench" / "device.samples", BUILD / "bench" / "device.txt"
MODES = ("none", "empty", "postern", "few", "many", "nft", "ct", "again")
PREFIXES = 1000

# tests/bench/lib/device.h and wires.h know the first two and the device.
BOX_MAC, BOX, GATE = "02:00:00:00:77:02", "10.77.0.2", "10.77.0.1"
NEAR, FAR = "198.18.0.1", "198.18.0.2"
GATE_MAC, NEAR_MAC, FAR_MAC = "02:00:00:00:77:01", "02:00:00:00:78:01", "02:00:00:00:78:02"
DEVICE = "box"


def run(*argv, **options):
    return subprocess.run(argv, check=True, **options)


def mount_of(kind):
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        fields = line.split()
        if fields[2] == kind:
            return Path(fields[1])
    raise SystemExit(f"bench: no {kind} is mounted")


# ---- namespaces ----

class Place:
    """NAME-MODE-in, -host and -far, joined in this order."""

    def __init__(self, mode):
        self.name = f"{NAME}-{mode}"
        self.made = []

    def ip(self, side, *words):
        run("ip", "-n", f"{self.name}-{side}", *words)

    def _wire(self, side, device, mac, peer_side, peer, peer_mac):
        self.ip(side, "link", "add", device, "address", mac, "type", "veth", "peer", "name", peer, "address", peer_mac,
                "netns", f"{self.name}-{peer_side}")

    def _end(self, side, device, address, peer, peer_mac):
        self.ip(side, "addr", "add", f"{address}/30", "dev", device)
        self.ip(side, "link", "set", device, "up")
        self.ip(side, "neigh", "replace", peer, "lladdr", peer_mac, "dev", device, "nud", "permanent")

    def make(self):
        for side in ("in", "host", "far"):
            run("ip", "netns", "add", f"{self.name}-{side}")
            self.made.append(side)
            run("ip", "netns", "exec", f"{self.name}-{side}", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                "net.ipv6.conf.default.disable_ipv6=1", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.default.rp_filter=0")
            self.ip(side, "link", "set", "lo", "up")
        self._wire("host", DEVICE, GATE_MAC, "in", "eth0", BOX_MAC)
        self._wire("host", "uplink", NEAR_MAC, "far", "eth0", FAR_MAC)
        self._end("in", "eth0", BOX, GATE, GATE_MAC)
        self._end("host", DEVICE, GATE, BOX, BOX_MAC)
        self._end("host", "uplink", NEAR, FAR, FAR_MAC)
        self._end("far", "eth0", FAR, NEAR, NEAR_MAC)
        self.ip("in", "route", "add", "default", "via", GATE)
        self.ip("host", "route", "add", "default", "via", FAR)
        self.ip("far", "route", "add", f"{BOX}/32", "via", NEAR)
        # Everything else is its own; looked for behind what it is connected to.
        self.ip("far", "route", "add", "local", "default", "dev", "lo", "table", "main", "metric", "9")

    def rules(self, text):
        run("ip", "netns", "exec", f"{self.name}-host", "nft", "-f", "-", input=text.encode())

    def remove(self):
        for side in self.made:
            subprocess.run(["ip", "netns", "del", f"{self.name}-{side}"], check=False)


def ruleset(tracked):
    """The same policy on the forward path, with as few rules a packet as it takes; denials are answered as well."""
    policy = json.loads(run(BUILD / "bench" / "cidrs", str(PREFIXES), capture_output=True).stdout)
    first = "ct state established,related accept\n" if tracked else ""
    return "table ip pst {\nset allowed { type ipv4_addr; flags interval; elements = {" + ", ".join(policy["allowOut"]) + \
           "} }\nchain refuse {\nmeta l4proto tcp reject with tcp reset\nreject with icmp type admin-prohibited\n}\n" \
           "chain forward {\ntype filter hook forward priority 0; policy accept;\n" + first + \
           f"iifname {DEVICE} ip daddr != @allowed jump refuse\n}}\n}}\n"


def scene(samples):
    """Everything anew, so that no accident of where things lie in memory is in all the figures."""
    places = {mode: Place(mode) for mode in MODES}
    try:
        for mode, place in places.items():
            place.make()
            if mode in ("nft", "ct"):
                place.rules(ruleset(mode == "ct"))
        for i in range(3):
            places["none"].ip("far", "link", "add", f"wire{i}", "type", "veth", "peer", f"end{i}")
        run(BUILD / "bench" / "wires", NAME, NAME, str(ROUNDS), stdout=samples)
        run("nsenter", f"--net=/run/netns/{NAME}-none-far", BUILD / "bench" / "frames", f"{NAME}-frames", str(ROUNDS),
            stdout=samples)
    finally:
        for place in places.values():
            place.remove()
        for name in (NAME, f"{NAME}-frames"):
            shutil.rmtree(mount_of("bpf") / name, ignore_errors=True)


def measure():
    SAMPLES.parent.mkdir(parents=True, exist_ok=True)
    fresh = SAMPLES.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as samples:
        for i in range(SCENES):
            print(f"devices, scene {i + 1} of {SCENES}, {ROUNDS} rounds", file=sys.stderr)
            samples.write(f"load {os.getloadavg()[0]:.2f}\n")
            samples.flush()
            scene(samples)
        samples.write(f"load {os.getloadavg()[0]:.2f}\n")
    os.rename(fresh, SAMPLES)


# ---- the table ----

def between(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, max(0, round((len(values) - 1) * share)))]


class Table:
    """
    A result is the median of the rounds' own quotients or differences: a round's samples are neighbours in time. Beside
    it, what the middle half of the rounds had.
    """

    def __init__(self, path):
        self.samples = {}
        for line in path.read_text("utf-8").splitlines():
            name, value = line.split()
            self.samples.setdefault(name, []).append(float(value))
        self.lines = []

    def head(self):
        load = self.samples["load"]
        self.lines.append(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load average {min(load):.2f} to "
                          f"{max(load):.2f}")
        title = f"median of {len(self.samples['udp_send.none'])} rounds"
        self.lines.append(f"{title:<58} {'figure':>9} {'base':>9} {'result':>9} {'middle half':>19}   {'goal':>8}")

    def title(self, text):
        self.lines.append(text)

    def _row(self, what, figure, base, results, unit, goal=None):
        result = statistics.median(results)
        digits = 3 if unit == "x" else 1
        spread = f"{between(results, 0.25):.{digits}f} to {between(results, 0.75):.{digits}f}"
        beside = f"{base:.1f}" if base is not None else ""
        text = f"{what:<58} {figure:>9.1f} {beside:>9} {result:>9.{digits}f} {unit:<2} {spread:>17}"
        if goal is not None:
            sign, limit = goal
            met = result <= limit if sign == "<=" else result >= limit
            text += f"   {f'{sign} {limit}':>8}  {'met' if met else 'missed'}"
        self.lines.append(text.rstrip())

    def of(self, name):
        return self.samples[name]

    def ratio(self, what, name, over, goal=None, inverse=False):
        pairs = list(zip(self.of(name), self.of(over)))
        results = [b / a if inverse else a / b for a, b in pairs]
        self._row(what, statistics.median(self.of(name)), statistics.median(self.of(over)), results, "x", goal)

    def less(self, what, name, than, goal=None):
        results = [a - b for a, b in zip(self.of(name), self.of(than))]
        self._row(what, statistics.median(self.of(name)), statistics.median(self.of(than)), results, "ns", goal)

    def added(self, what, rival, goal, base="none"):
        """What Postern adds to a packet, over what the other one adds to it."""
        ours = [a - b for a, b in zip(self.of("udp_send.postern"), self.of(f"udp_send.{base}"))]
        theirs = [a - b for a, b in zip(self.of(f"udp_send.{rival}"), self.of(f"udp_send.{base}"))]
        self._row(what, statistics.median(ours), statistics.median(theirs), [a / b for a, b in zip(ours, theirs)], "x",
                  ("<=", goal))

    def alone(self, what, name, share=None, goal=None, unit="us"):
        values = self.of(name)
        if share is None:
            self._row(what, statistics.median(values), None, values, unit, goal)
        else:
            figure = between(values, share)
            self._row(what, figure, None, [figure], unit, goal)

    def rates(self, what, name, goal=None):
        for mode, who in (("postern", "Postern"), ("empty", "empty programs"), ("nft", "nftables"),
                          ("ct", "nftables, conntrack"), ("again", "nothing once more")):
            self.ratio(f"  {what}, {who}", f"{name}.{mode}", f"{name}.none", goal if mode == "postern" else None, True)

    def made(self):
        self.head()
        self.title("exchanges a second over those without enforcement (figure, base: ns an exchange)")
        self.rates("UDP, two processes", "udp_peer", (">=", 0.97))
        self.rates("TCP, two processes", "tcp_peer", (">=", 0.97))
        self.rates("UDP, nobody is woken up", "udp_rr")
        self.rates("TCP, nobody is woken up", "tcp_rr")
        self.title("a UDP packet one way, ns more than without enforcement")
        for mode, who in (("postern", "Postern"), ("empty", "empty programs"), ("nft", "nftables"),
                          ("ct", "nftables, conntrack"), ("again", "nothing once more")):
            self.less(f"  {who}", f"udp_send.{mode}", "udp_send.none")
        self.title("what Postern adds to it, over what others add (figure, base: ns)")
        self.added("  a set of 1,000 in nftables", "nft", 0.5)
        self.added("  the same with conntrack", "ct", 0.3)
        self.title("a packet of an established flow, by rules (figure, base: ns a packet; 10 rules are the base)")
        self.ratio("  1,000 rules", "udp_send.postern", "udp_send.few")
        self.ratio("  100,000 rules", "udp_send.many", "udp_send.few")
        self.less("  the program, 10 rules, over an empty one", "udp_send.from.few", "udp_send.from.empty")
        self.less("  the program, 1,000 rules", "udp_send.from.postern", "udp_send.from.empty")
        self.less("  the program, 100,000 rules", "udp_send.from.many", "udp_send.from.empty")
        self.title("TCP in bulk, 64 KB at a time, over the rate without enforcement")
        self.rates("TCP", "tcp_stream")
        self.title("from a denied SYN to ECONNREFUSED, us (nothing is subtracted)")
        for mode, who in (("postern", "Postern"), ("nft", "nftables, reject"), ("ct", "nftables, conntrack, reject")):
            self.alone(f"  {who}, median", f"refused.{mode}", goal=("<=", 100) if mode == "postern" else None)
            self.alone(f"  {who}, 99 of 100", f"refused.{mode}", 0.99)
        self.title("one run on real packets, ns over an empty program")
        for op, what in (("udp_rr", "UDP"), ("tcp_rr", "TCP")):
            self.less(f"  {what}, from the sandbox", f"{op}.from.postern", f"{op}.from.empty")
            self.less(f"  {what}, to the sandbox", f"{op}.to.postern", f"{op}.to.empty")
        self.title("one run in a loop (BPF_PROG_TEST_RUN), ns over an empty program")
        for name, what in (("hit_udp", "UDP of a known flow, from the sandbox"), ("hit_tcp", "TCP likewise"),
                           ("in_udp", "UDP of a known flow, to the sandbox"), ("in_tcp", "TCP likewise"),
                           ("spoofed", "a foreign hardware address")):
            self.less(f"  {what}", f"frame.{name}", "frame.empty")
        self.title("one run on a frame of its own, once, ns over an empty program")
        for name, what in (("hit_once", "UDP of a known flow"), ("first_udp", "UDP, first packet: judged, state made"),
                           ("first_tcp", "TCP, first SYN: the same"), ("reset", "denied TCP, told, answered with a RST"),
                           ("prohibited", "denied UDP, told, answered by ICMP"),
                           ("nxdomain", "denied question, told, answered NXDOMAIN"),
                           ("full_udp", "a full table: UDP, denied and answered"),
                           ("full_tcp", "a full table: TCP, passes"),
                           ("sweep_kept", "a full table of 1,024 swept, nothing idle"),
                           ("sweep_idle", "a full table of 1,024 swept, all idle"),
                           ("sweep_large_kept", "a full table of 16,384 swept, nothing idle"),
                           ("sweep_large_idle", "a full table of 16,384 swept, all idle")):
            self.less(f"  {what}", f"frame.{name}", "frame.empty_once")
        return "\n".join(self.lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["report"]:
        measure()
    RESULTS.write_text(Table(SAMPLES).made(), encoding="utf-8")
    print(RESULTS.read_text("utf-8"), end="")

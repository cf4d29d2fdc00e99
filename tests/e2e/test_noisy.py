# SPDX-License-Identifier: MIT
"""
One sandbox takes all that it can get: questions, names and addresses, flows, events, connections, all at a time. Another one
beside it loses no lease and gets its answers. Speed is told, with PST_LONG=1, and never asserted.
"""

import os
import statistics
import subprocess
from types import SimpleNamespace

import pytest

from daemon import Daemon
from far import Far
from netns import Namespace, sweep
from postern import Running, tool
from relaybox import KINDS, LONG
from wire import Wire

VICTIMS_DNS, ATTACKERS_DNS = "203.0.113.53", "203.0.113.54"
VICTIMS_FIRST, ATTACKERS_FIRST = "101.64.0.1", "102.64.0.1"  # addresses that they are answered with, one after the other
NEVER = "103.64.0.1"
PORT = 8443
LEASES, TIMES = 40, 20000 if LONG else 2500  # a sandbox has room for 2,048 addresses
ROUNDS = 7 if LONG else 1
POLICY = {"denyOut": ["0.0.0.0/0"], "allowOut": ["*.race.example:*", "104.64.0.0/16"]}
OPEN = "104.64.0.9"


def pinned(cpu, argv):
    """Each has a processor of its own with its resolver, where speed is told: that they share one is nobody's doing."""
    return ["taskset", "-c", str(cpu % os.cpu_count()), *argv] if LONG else argv


class Quiet(Far):
    """Far without its sniffer, which floods would keep busy."""

    def __init__(self):  # pylint: disable=super-init-not-called
        sweep()
        self.host, self.far, self.process = Namespace("host"), Namespace("far"), None
        self.servers = []
        try:
            self._join()
            for cpu, (resolver, first) in enumerate(((VICTIMS_DNS, VICTIMS_FIRST), (ATTACKERS_DNS, ATTACKERS_FIRST))):
                server = pinned(cpu, tool("fastdns", resolver, PORT + cpu, first))
                self.servers.append(Running(SimpleNamespace(host=self.far), server))
                self.servers[-1].await_line(lambda line: line == "listening", "the resolver is up", 60)
        except BaseException:
            self.close()
            raise

    def close(self):
        for server in self.servers:
            server.stop()
        super().close()


@pytest.fixture(name="place", scope="module")
def place_fixture():
    with Quiet() as place:
        yield place


@pytest.fixture(name="host")
def host_fixture(place):
    with Daemon(place, resolvers=[VICTIMS_DNS, ATTACKERS_DNS]) as daemon:
        yield daemon


def counts(line):
    words = line.split()
    return dict(zip(words[::2], map(int, words[1::2])))


def start_victim(start):
    victim = start(pinned(0, tool("noisy", "steady", VICTIMS_DNS, PORT, LEASES)), stdin=subprocess.PIPE)
    victim.await_line(lambda line: line == f"learned {LEASES}", "it has its leases", 60)
    return victim


def end_victim(victim):
    victim.process.stdin.close()
    return counts(victim.await_line(lambda line: line.startswith("connects "), "it is over", 120))


def attack_of(start):
    attacker = start(pinned(1, tool("noisy", "attack", ATTACKERS_DNS, PORT + 1, OPEN, NEVER, TIMES)))
    return counts(attacker.await_line(lambda line: line.startswith("asked "), "the attack is over", 240))


def outside(place):
    return lambda argv, **options: Running(place, argv, **options)


def boxes(place, daemon, kind, stack):
    if kind == "cgroup":
        return [daemon.attach(name, daemon.cgroup(name), POLICY) for name in ("victim", "noisy")]
    wires = [Wire(place) for _ in range(2)]
    stack += wires
    return [wire.attach(daemon, POLICY, name) for wire, name in zip(wires, ("victim", "noisy"))]


def beside(start, attack):
    """What became of a victim while somebody attacked, and the attack."""
    victim = start_victim(start)
    attacked = attack_of(attack)
    return end_victim(victim), attacked


@pytest.mark.parametrize("kind", KINDS)
def test_a_neighbour_that_takes_all(place, host, kind):
    wires, rounds = [], []
    try:
        victim_box, noisy_box = boxes(place, host, kind, wires)
        for _ in range(ROUNDS):
            quiet = end_victim(start_victim(victim_box.start)) if LONG else None
            found, attack = beside(victim_box.start, noisy_box.start)
            assert found["refused"] == found["silent"] == found["lost"] == 0, f"{found} beside {attack}"
            assert found["connects"] >= 3 * LEASES, found
            # It was an attack: more names than there is room for were answered, and it got through where it may.
            assert attack["leased"] >= TIMES * 9 // 10 and attack["flows"] and attack["connected"], attack
            if LONG:
                rounds.append((quiet, found, beside(outside(place), outside(place))[0]))
        tell(kind, rounds)
    finally:
        for wire in wires:
            wire.close()


def tell(kind, rounds):
    """The victim's time to connect: alone, beside the attack, and beside the same attack where nothing is enforced."""
    for what, key in (("p99 of connect()", "p99_us"), ("p99 of its thread's processor time", "cpu_p99_us")) if rounds else ():
        times = [[result[key] for result in one] for one in rounds]
        alone, attacked, bare = map(statistics.median, zip(*times))
        ratio = statistics.median(found / max(quiet, 1) for quiet, found, _ in times)
        print(f"\n{kind}, {what}: {alone:.0f} us alone, {attacked:.0f} us beside the attack ({ratio:.2f} x, aim <= 2), "
              f"{bare:.0f} us beside it without Postern; medians of {len(rounds)} rounds: {times}")


def test_a_lost_lease_is_told(place, host):
    """The control: when its leases go, the one that lives on says so."""
    box = host.attach("victim", host.cgroup("victim"), POLICY)
    victim = start_victim(box.start)
    box.put({"denyOut": ["0.0.0.0/0"], "allowOut": ["*.other.example:*"]})
    victim.process.stdin.close()
    found = counts(victim.await_line(lambda line: line.startswith("connects "), "it is over", 240))
    assert found["refused"] >= LEASES, found

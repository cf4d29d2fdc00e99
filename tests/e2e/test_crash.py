# SPDX-License-Identifier: MIT
"""
posternd dies by SIGKILL at random times, while sandboxes of both kinds flood and their policies change 50 times a
second: nothing that is denied arrives, no policy that was acknowledged is lost, no allowed flow breaks. PST_LONG=1: 300
times.
PST_SEED=N: the same random times and choices again.
"""

import contextlib
import http.client
import os
import random
import threading
import time

import pytest

from daemon import DENY_ALL, Box, Daemon
from far import KEPT, LONG, NEVER, Far, Streams, now_ns, percentiles
from wire import Wire

CRASHES = 300 if LONG else 30
BOXES, WIRES, CHANGES_PER_S = 5, 3, 50
MANY = 1000
READY_S = 60  # the aim is 0.5; what is measured is printed
KILL_AFTER_S = 0.5
BURST = 20 if LONG else 8


def flows(burst):
    """Burst of datagrams, and what comes between two: behind a device so many denials a second are answered."""
    return [("tcp", KEPT), ("udp", KEPT), ("connected", KEPT),
            ("tcp", NEVER), (f"udp*{burst}", NEVER), (f"connected*{burst}", NEVER)]


FLOODS = {"cgroup": (flows(BURST), 2000), "netdev": (flows(1), 20000)}


@pytest.fixture(scope="module", name="far")
def far_fixture():
    with Far() as far:
        yield far


@pytest.fixture
def seed():
    number = int(os.environ.get("PST_SEED", random.randrange(1 << 32)))
    print(f"PST_SEED={number}")
    return random.Random(number)


def mark_of(version):
    """The address that tells this version's policy from every other."""
    return f"45.{version >> 16 & 255}.{version >> 8 & 255}.{version & 255}"


def policy_of(version):
    """
    Odd ones deny their mark, NEVER, and nothing else; even ones allow their mark, KEPT, and nothing else. So the mark
    of an odd one is always denied wherever it is asked for.
    """
    if version % 2:
        return {"denyOut": [NEVER, mark_of(version)]}
    return {**DENY_ALL, "allowOut": [KEPT, mark_of(version)]}


def is_denied_mark(address):
    return address.startswith("45.") and int(address.rsplit(".", 1)[1]) % 2 == 1


def version_in(policy):
    marks = [entry for entry in policy.get("allowOut", []) + policy.get("denyOut", []) if entry.startswith("45.")]
    assert len(marks) == 1, policy
    _, a, b, c = map(int, marks[0].split("/")[0].split("."))
    return a << 16 | b << 8 | c


class Changer:
    """Changes policies in a thread of its own, and knows which may be in force: the one acknowledged, or newer."""

    def __init__(self, daemon, boxes, rng):
        self.daemon, self.boxes, self.rng = daemon, boxes, rng
        self.version = 0
        self.possible = {box.id: set() for box in boxes}
        self.acknowledged = self.unanswered = 0
        self.made, self.unsure, self.removed = {}, {}, set()  # other sandboxes: id -> version; unsure: being removed
        self.asked_for = set()  # versions that some creation was given
        self.lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure = None

    def _request(self, boxes, policy):
        way = self.rng.randrange(3)
        if len(boxes) > 1:
            ids = [box.id for box in boxes]
            return self.daemon.request("PUT", "/v1/policies", {"ids": ids, "policy": policy}, timeout=10)
        if way == 0:
            return self.daemon.request("PUT", f"/sandboxes/{boxes[0].id}/network", policy, timeout=10)
        return self.daemon.request("PUT", f"/v1/sandboxes/{boxes[0].id}/policy", policy, timeout=10)

    def change(self, boxes):
        """One change, which a crash may interrupt anywhere."""
        self.version += 1
        try:
            reply = self._request(boxes, policy_of(self.version))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # it was never asked
        except (OSError, http.client.HTTPException):
            self.unanswered += 1
            for box in boxes:
                self.possible[box.id].add(self.version)
            return
        assert reply.status in (200, 204), reply
        self.acknowledged += 1
        for box in boxes:
            self.possible[box.id] = {self.version}

    def churn(self):
        """One sandbox more, or one less."""
        self.version += 1
        made = min(self.made) if len(self.made) > 3 else None
        if made:
            self.unsure[made] = self.made.pop(made)
        else:
            self.asked_for.add(self.version)
        try:
            if made:
                reply = self.daemon.request("DELETE", f"/sandboxes/{made}", timeout=10)
            else:
                fields = {"templateID": "base", "network": policy_of(self.version)}
                reply = self.daemon.request("POST", "/sandboxes", fields, timeout=10)
        except (OSError, http.client.HTTPException):
            return
        # 404: an earlier request to remove it was not answered.
        assert reply.status in (201, 204, 404), reply
        if made:
            self.unsure.pop(made)
            self.removed.add(made)
        else:
            self.made[reply.json["sandboxID"]] = self.version

    def check_others(self):
        """Who was acknowledged is there with that policy, who was removed is not; the rest was asked for."""
        there = {box["id"]: box for box in self.daemon.boxes()}
        assert not self.removed & set(there), "removed, and back again"
        assert not {name for name in self.removed if (self.daemon.cgroups / name).exists()}
        for name, version in self.made.items():
            assert name in there and there[name]["state"] == "running", f"{name} was made, and it is {there.get(name)}"
            assert version_in(Box(self.daemon, name).show()["policy"]) == version
        for name in set(there) - set(self.made) - set(self.possible):
            assert version_in(Box(self.daemon, name).show()["policy"]) in self.asked_for, there[name]
        for path in self.daemon.cgroups.iterdir():
            assert not path.is_dir() or path.name in there, f"nobody knows the cgroup {path}"

    def _run(self):
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                with self.lock:
                    what = self.rng.random()
                    if what < 0.1:
                        self.churn()
                    else:
                        self.change(self.rng.sample(self.boxes, 3 if what < 0.2 else 1))
                due = max(due + 1 / CHANGES_PER_S, time.monotonic() - 1)
                self._stop.wait(max(0.0, due - time.monotonic()))
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def check(self):
        if self.failure:
            raise self.failure

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join(30)


def check_policy(box, stream, possible):
    """What is reported is what was acknowledged or asked for later, and what is reported is what is enforced."""
    shown = box.show()
    assert shown["state"] == "running", shown
    version = version_in(shown["policy"])
    assert version in possible, f"{box.id}: version {version} is in force, and it should be one of {sorted(possible)}"
    own, other = mark_of(version), mark_of(version - 1)
    want = {KEPT: "ok", NEVER: "denied", own: "denied" if version % 2 else "ok",
            other: "ok" if version % 2 else "denied"}
    found = stream.probe(list(want))
    assert found == {address: (result, result) for address, result in want.items()}, f"{box.id}, version {version}"
    return version


class Flood:
    """Sandboxes that flood, each with flows to NEVER from the time when it was allowed."""

    def __init__(self, far, daemon, stack):
        self.far, self.daemon = far, daemon
        self.boxes = [daemon.create({}) for _ in range(BOXES)]
        self.boxes += [stack.enter_context(Wire(far)).attach(daemon) for _ in range(WIRES)]
        self.streams = [stack.enter_context(Streams(box, *FLOODS[box.kind])) for box in self.boxes]
        for stream in self.streams:
            stream.await_results(range(len(stream.flows)), ("ok",))
        self.kept = self.streams[0].numbers(KEPT)

    def settle(self):
        """From here on NEVER is denied."""
        for stream in self.streams:
            stream.await_denied(stream.numbers(NEVER))
        self.far.fence()
        self.since = now_ns()

    def check(self):
        """Nothing denied arrived; no allowed flow had an error, and await_arrivals says that they arrive."""
        self.far.fence()
        seen = self.far.dump(self.since)
        leaks = [flow for flow in seen if flow.dst == NEVER or is_denied_mark(flow.dst)]
        assert not leaks, f"denied, and it arrived: {leaks[:5]}"
        for box, stream in zip(self.boxes, self.streams):
            assert not stream.errors(self.kept), f"{box.id}: an allowed flow broke: {stream.errors(self.kept)}"

    def await_arrivals(self, since):
        """Every allowed flow is seen again: it is not only its sender who thinks that all is well."""
        ports = {stream.states()[n].sport for stream in self.streams for n in self.kept}
        self.far.await_payload(ports, KEPT, since)


def crash_once(daemon, rng):
    """A kill at a random time, now and then of one that is just starting; returns how long the next took."""
    time.sleep(rng.uniform(0, KILL_AFTER_S))
    daemon.kill()
    while rng.random() < 0.3:
        daemon.start(wait=False)
        time.sleep(rng.uniform(0, 0.2))
        daemon.kill()
    start = time.monotonic()
    daemon.start()
    return (time.monotonic() - start) * 1000


def test_kills_at_random_times(far, seed, capsys):
    times = []
    with Daemon(far) as daemon, contextlib.ExitStack() as stack:
        flood = Flood(far, daemon, stack)
        changer = Changer(daemon, flood.boxes, random.Random(seed.random()))
        for box in flood.boxes:
            changer.change([box])
        flood.settle()
        with changer:
            for crash in range(CRASHES):
                times.append(crash_once(daemon, seed))
                back = now_ns()
                with changer.lock:
                    changer.check()
                    for box, stream in zip(flood.boxes, flood.streams):
                        try:
                            version = check_policy(box, stream, changer.possible[box.id])
                        except AssertionError as error:
                            raise AssertionError(f"after crash {crash}: {error}\n{daemon.log()[-4000:]}") from None
                        changer.possible[box.id] = {version}
                    changer.check_others()
                    flood.check()
                flood.await_arrivals(back)
        changer.check()
        flood.check()
        assert not [line for line in daemon.log_lines() if "damaged" in str(line)], daemon.log()
    with capsys.disabled():
        print(f"\n  {CRASHES} crashes, {changer.acknowledged} changes acknowledged, {changer.unanswered} interrupted, "
              f"{len(changer.removed)} sandboxes removed and {len(changer.made)} left; "
              f"ready after {percentiles(times)}")


def test_a_thousand_sandboxes_are_found_again(far, capsys):
    times = []
    with Daemon(far) as daemon:
        policies = ({**DENY_ALL, "allowOut": [KEPT]}, {"denyOut": [NEVER]})
        boxes = [daemon.create(policies[n % 2]) for n in range(MANY)]
        for _ in range(3):
            daemon.kill()
            start = time.monotonic()
            daemon.start(wait=False)
            daemon.await_ready(READY_S)
            times.append((time.monotonic() - start) * 1000)
        listed = daemon.boxes()
        assert {box["id"] for box in listed} == {box.id for box in boxes}
        assert {box["state"] for box in listed} == {"running"}
        for box in (boxes[0], boxes[1], boxes[-2], boxes[-1]):
            probe_both(box)
        daemon.kill()
        for box in (boxes[2], boxes[3]):
            probe_both(box)
    with capsys.disabled():
        print(f"\n  {MANY} sandboxes: ready after {percentiles(times)}")
    assert min(times) < READY_S * 1000


def probe_both(box: Box):
    with Streams(box, []) as stream:
        assert stream.probe([KEPT, NEVER]) == {KEPT: ("ok", "ok"), NEVER: ("denied", "denied")}, box.id

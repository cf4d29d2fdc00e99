# SPDX-License-Identifier: MIT
"""
Every system call of posternd fails once: at the start, while it adopts, attaches, changes, detaches, removes. And it
dies at each of them. What is enforced is the old policy, the new one, or the request is refused; nothing is ever open,
nothing crashes, nothing is left over. A sandbox that knocks at a denied address all the time, and the sniffer beyond,
are the witnesses. `make test` tries a sample, PST_LONG=1 all; PST_SEED repeats a run.
"""

import contextlib
import http.client
import os
import signal
import sys

import pytest

from daemon import Box, Daemon
from faults import Strace, attached_programs, calls, points, sample, seed
from internet import ALLOWED4, DENIED4, PORT, canary
from postern import ROOT
from reach import is_answered
from wait import until
from wire import Wire

OTHER4 = "93.184.216.77"
KNOCKED = "203.0.113.66"
OLD = {"allowOut": [ALLOWED4], "denyOut": ["0.0.0.0/0"]}
NEW = {"allowOut": [OTHER4], "denyOut": ["0.0.0.0/0"]}
KNOCK = ROOT / "tests/lib/tools/knock.py"
# Behind a device each knock has an answer, of which there are 200 a second (PST_ANSWER_INTERVAL_NS): were they all spent on
# knocks, the SYNs that this file looks at would be denied in silence, and time out.
KNOCK_MS = {"cgroup": 3, "netdev": 7}
LOST = (OSError, http.client.HTTPException)  # no reply: what was asked for has been done, or not


def policy_of(box):
    """"old", "new", "closed", by what arrives from inside."""
    reached = [is_answered(box, address) for address in (ALLOWED4, OTHER4)]
    names = {(True, False): "old", (False, True): "new", (False, False): "closed"}
    assert tuple(reached) in names, f"{box.id} is open: {reached}"
    return names[tuple(reached)]


class Knocker:
    """Inside a sandbox, all the time: nothing of it may ever arrive."""

    def __init__(self, box):
        self.net, self.id, self.token, self.since = box.daemon.net, box.id, canary(), box.daemon.net.mark()
        self.running = box.start([sys.executable, "-S", "-E", KNOCK, KNOCKED, PORT, self.token, KNOCK_MS[box.kind]])
        self.running.await_line(lambda line: line == "knocks", "it knocks")

    def is_silent(self):
        assert not self.net.seen(token=self.token, since=self.since), "what is denied arrived"

    def stop(self):
        self.running.stop(signal.SIGKILL)


class Scene:
    """A daemon with a sandbox of each kind that must be denied what it always was, whatever happens."""

    def __init__(self, net):
        self.net = net
        self.hits = self.tried = 0
        self.daemon = None
        self.wires = [Wire(net), Wire(net)]  # the neighbour's, and a free one
        self.renew()

    def renew(self):
        """What a failed try left must not fail the next."""
        if self.daemon:
            self.close()
        self.daemon = Daemon(self.net, limits={"sandboxes": 32})
        self.keeper = self.daemon.create(OLD)
        self.neighbour = self.wires[0].attach(self.daemon, OLD, name="neighbour")
        self.keepers = (self.keeper, self.neighbour)
        self.knockers = [Knocker(box) for box in self.keepers]
        self.own = self.daemon.cgroup("attached")

    def close(self):
        for knocker in self.knockers:
            knocker.stop()
        # Its links would stay on the wire for as long as something holds them.
        self.neighbour.wire.remove()
        self.daemon.close()
        self.neighbour.wire.make()

    def end(self):
        self.close()
        for wire in self.wires:
            wire.close()

    def are_silent(self):
        for knocker in self.knockers:
            knocker.is_silent()

    # ---- what is there ----

    def things(self):
        """Names of state files, pins and cgroups of sandboxes."""
        found = {f"state/{p.name}" for p in (self.daemon.state / "sandboxes").iterdir()}
        found |= {f"pins/{p.name}" for p in (self.daemon.pins / "sandboxes").iterdir()}
        return found | {f"cgroup/{p.name}" for p in self.daemon.cgroups.iterdir() if p.is_dir()}

    def of(self, name, cgroup=True):
        return {f"state/{name}.json", f"pins/{name}", *([f"cgroup/{name}"] if cgroup else [])}

    def base(self):
        return self.of(self.keeper.id) | self.of(self.neighbour.id, False) | {f"cgroup/{self.own.name}"}

    def listed(self):
        return {box["id"]: box["state"] for box in self.daemon.boxes()}

    def made(self):
        """The id of the one that a phase made, or None."""
        return next((name for name in self.listed() if name not in {box.id for box in self.keepers}), None)

    def check_ended_well(self):
        """It lives; or it has ended with a word, not by a signal."""
        code = self.daemon.process.process.poll()
        if code is None:
            return
        self.daemon.process.wait()
        assert code > 0, f"it crashed: {code}\n{self.daemon.log()}"
        errors = [line for line in self.daemon.log_lines() if line["level"] == "error"]
        # Before the configuration is read, the log is text.
        told = errors or "posternd: " in self.daemon.log()
        assert told, f"it ended with {code} and did not say why:\n{self.daemon.log()}"

    def recover(self):
        """A clean start finds all that was acknowledged; a further change works."""
        if self.daemon.process.process.poll() is None:
            self.daemon.process.process.send_signal(signal.SIGTERM)
            code = self.daemon.process.wait()
            assert code == 0, f"asked to end, it ended with {code}\n{self.daemon.log()}"
        self.daemon.wrapper = []
        self.daemon.logs.clear()
        self.daemon.start()
        self.are_silent()
        for box in self.keepers:
            assert self.listed()[box.id] == "running", f"{box.id}\n{self.daemon.log()}"

    def check_things(self, expected, where):
        """What is removed may still wait for its last socket."""
        until(lambda: self.things() == expected,
              f"{where}: {sorted(self.things() ^ expected)} left over or lost\n{self.daemon.log()}")

    # ---- phases ----

    @contextlib.contextmanager
    def failing(self, point):
        with Strace(point) as strace:
            with strace.attached(self.daemon.process.pid):
                yield strace
            self.tried += 1
            self.hits += strace.hit()
        self.are_silent()
        self.check_ended_well()

    def points_of(self, phase, rng, kill=False):
        """The calls that one undisturbed run makes."""
        with Strace() as strace:
            prepared = phase.prepare(self)
            with strace.attached(self.daemon.process.pid):
                reply = phase.ask(self, prepared)
            found = calls(strace.path)
        assert reply.status in (200, 201, 204), reply
        phase.tidy(self)
        assert len(found) > 10, "strace saw nothing"
        return points(found, rng, kill)

    def points_of_start(self, rng, kill=False):
        self.daemon.stop()
        with Strace() as strace:
            self.daemon.wrapper = strace.wrapper()
            self.daemon.start()
            self.daemon.stop()
            self.daemon.wrapper = []
            found = calls(strace.path, begin="posternd.json")
        assert len(found) > 100, "strace saw nothing"
        return points(found, rng, kill)


def ask(function):
    """The reply, or None when there was none."""
    try:
        return function()
    except LOST:
        return None


class Change:
    """OLD becomes NEW."""

    @staticmethod
    def box(scene):
        return scene.keeper

    @classmethod
    def prepare(cls, scene):
        if policy_of(cls.box(scene)) != "old":
            assert cls.box(scene).network(OLD).status == 204
            assert policy_of(cls.box(scene)) == "old"

    @classmethod
    def ask(cls, scene, _):
        return cls.box(scene).network(NEW)

    @classmethod
    def check(cls, scene, _, reply):
        """In force, or not: never anything else, and a reply means what it says."""
        now = policy_of(cls.box(scene))
        if reply:
            assert now == ("new" if reply.status == 204 else "old"), f"{reply}\n{scene.daemon.log()}"
        assert now in ("old", "new")
        scene.recover()
        assert policy_of(cls.box(scene)) == now, scene.daemon.log()
        scene.check_things(scene.base(), "after a change")

    @classmethod
    def tidy(cls, scene):
        assert cls.box(scene).network(OLD).status == 204


class WiredChange(Change):
    """The same behind a device."""

    @staticmethod
    def box(scene):
        return scene.neighbour


class Create:
    """A sandbox with a cgroup of its own."""

    own = True

    @staticmethod
    def prepare(scene):
        return None

    @staticmethod
    def ask(scene, _):
        return scene.daemon.request("POST", "/sandboxes", {"templateID": "base", "network": OLD})

    @classmethod
    def check(cls, scene, _, reply):
        """All of it or nothing; what was acknowledged is there after the next start."""
        if reply and scene.daemon.process.process.poll() is None:
            assert bool(scene.made()) == (reply.status == 201), f"{reply}\n{scene.daemon.log()}"
        scene.recover()
        made = scene.made()
        if reply:
            assert bool(made) == (reply.status == 201), f"{reply}\n{scene.daemon.log()}"
        if made:
            assert scene.listed()[made] == "running", f"{reply}\n{scene.daemon.log()}"
            scene.check_things(scene.base() | scene.of(made, cls.own), "after it was made")
            assert policy_of(cls.box(scene)) == "old"
        else:
            scene.check_things(scene.base(), f"after {reply}")
            cls.check_free(scene)

    @staticmethod
    def check_free(scene):
        assert not attached_programs(scene.own)

    @staticmethod
    def box(scene):
        return Box(scene.daemon, scene.made())

    @classmethod
    def tidy(cls, scene):
        if scene.made():
            cls.box(scene).delete()
        scene.check_things(scene.base(), "after DELETE")


class Attach(Create):
    """A cgroup that was there before."""

    own = False

    @staticmethod
    def ask(scene, _):
        return scene.daemon.request("POST", "/v1/sandboxes", {"id": "made", "cgroup": str(scene.own),
                                                              "policy": OLD, "allowWeak": True})

    @staticmethod
    def box(scene):
        return Box(scene.daemon, "made", scene.own)


class Wired(Create):
    """A device that was there before."""

    own = False

    @staticmethod
    def ask(scene, _):
        body = {"id": "wired", **scene.wires[1].fields(), "policy": OLD, "allowWeak": True}
        return scene.daemon.request("POST", "/v1/sandboxes", body)

    @staticmethod
    def box(scene):
        return scene.wires[1].box_of(scene.daemon, "wired")

    @classmethod
    def check_free(cls, scene):
        assert is_answered(cls.box(scene), DENIED4), "nobody has attached it, and it is denied something"


class Delete:
    """A sandbox of its own, with somebody inside who knocks."""

    maker = Create

    @classmethod
    def prepare(cls, scene):
        reply = cls.maker.ask(scene, None)
        assert reply.status == 201, reply
        box = cls.maker.box(scene)
        assert policy_of(box) == "old"
        return Knocker(box)

    @staticmethod
    def ask(scene, knocker):
        return scene.daemon.request("DELETE", f"/v1/sandboxes/{knocker.id}")

    @classmethod
    def check(cls, scene, knocker, reply):
        """Gone at once, or at the next start, or there and still denied; a further DELETE ends it."""
        if reply and reply.status not in (200, 204):
            assert reply.status >= 400, reply
        scene.recover()
        there = scene.made()
        if reply and reply.status in (200, 204):
            assert not there, f"{reply}\n{scene.daemon.log()}"
        if there:
            assert cls.policy_left(cls.maker.box(scene)), scene.daemon.log()
        knocker.is_silent()
        knocker.stop()

    @staticmethod
    def policy_left(box):
        return policy_of(box) in ("old", "closed")

    @classmethod
    def tidy(cls, scene):
        cls.maker.tidy(scene)


class Detach(Delete):
    """An attached cgroup; nobody in it at the end, since it is free then."""

    maker = Attach

    @classmethod
    def prepare(cls, scene):
        knocker = super().prepare(scene)
        knocker.stop()
        return knocker

    @classmethod
    def tidy(cls, scene):
        cls.maker.tidy(scene)
        cls.maker.check_free(scene)


class Unwired(Detach):
    """A device is let go."""

    maker = Wired


PHASES = {"change": Change, "create": Create, "attach": Attach, "delete": Delete, "detach": Detach,
          "wired change": WiredChange, "wired attach": Wired, "wired detach": Unwired}


@pytest.fixture
def scene(net):
    made = Scene(net)
    yield made
    made.end()


def describe(phase, point):
    return f"{phase}: {point.name} number {point.nth}: {point.what} {point.shape}"


def try_phase(scene, name, point):
    phase = PHASES[name]
    prepared = phase.prepare(scene)
    with scene.failing(point):
        reply = ask(lambda: phase.ask(scene, prepared))
    phase.check(scene, prepared, reply)
    phase.tidy(scene)


def try_all(scene, tries, try_one):
    """All, so that one run tells all that is wrong."""
    failures = []
    for number, (name, point) in enumerate(tries):
        try:
            try_one(scene, name, point)
        except (AssertionError, *LOST) as error:
            failures.append(f"{describe(name, point)}\n{error!r}")
            if len(failures) >= 10:
                break
            scene.renew()
        if os.environ.get("PST_VERBOSE"):
            print(number, describe(name, point), flush=True)
    print(f"{scene.hits} of {scene.tried} calls were reached")
    assert not failures, "\n\n".join(failures)


def chosen(scene, names, count, rng, kill=False):
    return [(name, point) for name in names
            for point in sample(scene.points_of(PHASES[name], rng, kill), count, rng)]


def test_a_request_whose_system_call_fails_changes_all_or_nothing(scene):
    rng = seed()
    try_all(scene, chosen(scene, PHASES, 4, rng), try_phase)
    assert scene.hits > scene.tried // 2, "too few of the calls were reached: this proves little"


def try_kill(scene, name, point):
    phase = PHASES[name]
    prepared = phase.prepare(scene)
    with Strace(point) as strace:
        with strace.attached(scene.daemon.process.pid):
            reply = ask(lambda: phase.ask(scene, prepared))
        scene.tried += 1
        scene.hits += reply is None
    # Late, behind its reply, or not reached: then it dies now.
    scene.daemon.kill()
    scene.are_silent()
    phase.check(scene, prepared, reply)
    phase.tidy(scene)


def test_a_daemon_that_dies_in_a_request_finishes_or_forgets_it_at_its_next_start(scene):
    rng = seed()
    try_all(scene, chosen(scene, PHASES, 3, rng, kill=True), try_kill)
    assert scene.hits > scene.tried // 2, "too few of the calls were reached: this proves little"


def try_start(scene, fresh, point):
    """A start that fails leaves everything as it was; one that does not fail has found everything, or says what not."""
    scene.daemon.kill()
    if fresh == "first start":
        scene.daemon.process = None
    with Strace(point) as strace:
        scene.daemon.wrapper = strace.wrapper()
        scene.daemon.logs.clear()
        scene.daemon.start(wait=False)
        process = scene.daemon.process.process

        def is_decided():
            with contextlib.suppress(*LOST):
                return process.poll() is not None or scene.daemon.get("/readyz").status == 200
            return False
        until(is_decided, f"it starts or ends\n{scene.daemon.log()}", 30)
        scene.tried += 1
        if "KILL" in point.what:
            scene.hits += process.poll() == -signal.SIGKILL
        else:
            scene.hits += strace.hit()
            if strace.is_begun("posternd.json"):
                scene.check_ended_well()
        if process.poll() is None:
            scene.daemon.kill()
    scene.are_silent()
    for box in scene.keepers:
        assert is_answered(box, ALLOWED4), f"{box.id}\n{scene.daemon.log()}"
        assert not is_answered(box, DENIED4), f"{box.id}\n{scene.daemon.log()}"
    scene.recover()
    assert scene.keeper.network(NEW).status == 204
    assert policy_of(scene.keeper) == "new"
    assert scene.keeper.network(OLD).status == 204
    scene.check_things(scene.base(), "after a start")


def test_a_start_whose_system_call_fails_leaves_what_is_enforced(scene):
    rng = seed()
    found = scene.points_of_start(rng)
    scene.daemon.start()
    try_all(scene, [("start", point) for point in sample(found, 10, rng)], try_start)
    assert scene.hits > scene.tried // 2, "too few of the calls were reached: this proves little"


def test_a_daemon_that_dies_while_it_starts_leaves_what_is_enforced(scene):
    rng = seed()
    found = scene.points_of_start(rng, kill=True)
    scene.daemon.start()
    try_all(scene, [("start", point) for point in sample(found, 5, rng)], try_start)
    assert scene.hits > scene.tried // 2, "too few of the calls were reached: this proves little"

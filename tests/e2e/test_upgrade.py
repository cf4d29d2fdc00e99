# SPDX-License-Identifier: MIT
"""
Another build of posternd, whose programs are other ones, takes over under traffic, and the first one again: the links
stay and get the programs of who runs, nothing leaks, nothing breaks, nothing is forgotten. PST_LONG=1: 50 times.
"""

import contextlib
import functools
import itertools
import json
import os
import random
import time

import pytest

from daemon import DENY_ALL, POSTERND, Daemon
from far import KEPT, LONG, NEVER, TIGHT, Far, Streams, now_ns
from netns import shell
from postern import BUILD, ROOT
from wire import Wire

SALTED = os.environ.get("POSTERND_SALTED", str((ROOT / BUILD / "salted/posternd").resolve()))
SWAPS = 50 if LONG else 6
MIDWAY_S = 0.3
QUIET = [("tcp", KEPT), ("udp", KEPT), ("connected", KEPT), ("tcp", NEVER)]
# Behind a device so many denials a second are answered and no more.
FLOWS = {"cgroup": (QUIET + [("udp*8", NEVER), ("connected*8", NEVER)], 1000),
         "netdev": (QUIET + [("udp", NEVER), ("connected", NEVER)], 20000)}
HOOKS = {"cgroup": {"pst_egress", "pst_ingress", "pst_connect4"}, "netdev": {"pst_from_device", "pst_to_device"}}
POLICIES = ({"denyOut": [NEVER]}, {**DENY_ALL, "allowOut": [KEPT]}, {"denyOut": [NEVER, "2606:4700::/32"]},
            {**DENY_ALL, "allowOut": [f"{KEPT}:7000", "example.com"]})
KEPT_FIELDS = ("id", "owner", "state", "cgroup", "generation", "policyHash", "policy", "createdAt", "changedAt")


@pytest.fixture(name="far")
def far_fixture():
    with Far() as far:
        yield far


@functools.cache
def tag_of(prog_id):
    return json.loads(shell("bpftool", "-j", "prog", "show", "id", str(prog_id)))["tag"]


def links(box):
    """Name of the hook -> (id of the link, id of its program, its tag)."""
    found = {}
    for path in sorted(box.pins().iterdir()):
        link = json.loads(shell("bpftool", "-j", "link", "show", "pinned", str(path)))
        found[path.name] = (link["id"], link["prog_id"], tag_of(link["prog_id"]))
    assert HOOKS[box.kind] <= set(found), found
    return found


def of(found, part):
    return {name: values[part] for name, values in found.items()}


def state_of(box):
    shown = box.show()
    return {field: shown.get(field) for field in KEPT_FIELDS}


def packets_of(box):
    """Of the rules, as the kernel counted them: they only grow."""
    reply = box.daemon.get(f"/v1/sandboxes/{box.id}/rules")
    assert reply.status == 200, reply
    return {rule["rule"]: rule["packets"] for rule in reply.json["rules"]}


def swap(daemon, boxes, program, *, how="stop", rng=None):
    """
    The daemon is replaced by `program`; returns the links before and after. how: "stop", "crash", or "midway": it
    crashes, too, before it has brought up everything.
    """
    before = [links(box) for box in boxes]
    states = [state_of(box) for box in boxes]
    counts = [packets_of(box) for box in boxes]
    if how == "stop":
        daemon.stop()
    else:
        daemon.kill()
    if how == "midway":
        for _ in range(3):
            daemon.start(program=program, wait=False)
            time.sleep(rng.uniform(0, MIDWAY_S))
            daemon.kill()
    daemon.start(program=program)
    after = [links(box) for box in boxes]
    for box, old, new, state, count in zip(boxes, before, after, states, counts):
        assert of(old, 0) == of(new, 0), "the links are the same ones"
        assert state_of(box) == state
        now = packets_of(box)
        assert set(now) == set(count) and all(now[rule] >= count[rule] for rule in count), (count, now)
    return before, after


def test_another_build_takes_over_and_the_first_again(far):
    programs = itertools.cycle((SALTED, POSTERND))
    ways = itertools.cycle(("stop", "stop", "crash", "midway", "midway", "crash"))
    seed = int(os.environ.get("PST_SEED", random.randrange(1 << 32)))
    print(f"PST_SEED={seed}")
    rng = random.Random(seed)
    with Daemon(far) as daemon, contextlib.ExitStack() as stack:
        boxes = [daemon.create({}) for _ in POLICIES[1:]]
        boxes.append(stack.enter_context(Wire(far)).attach(daemon))
        streams = [stack.enter_context(Streams(box, *FLOWS[box.kind])) for box in boxes]
        kept = streams[0].numbers(KEPT)
        for box, stream, policy in zip(boxes, streams, POLICIES):
            stream.await_results(range(len(stream.flows)), ("ok",))
            box.put(policy)
            stream.await_denied(stream.numbers(NEVER))
        far.fence()
        since = now_ns()

        before, after = swap(daemon, boxes, POSTERND)
        assert before == after, "the control: the same build again leaves the programs alone"
        for n, program, how in zip(range(SWAPS), programs, ways):
            before, after = swap(daemon, boxes, program, how=how, rng=rng)
            for old, new in zip(before, after):
                assert not set(of(old, 1).values()) & set(of(new, 1).values()), "a program of the other build is left"
                assert all(old[hook][2] != new[hook][2] for hook in old), "the builds' programs do not differ"
            # The last one is behind a device.
            assert [of(one, 1) for one in after[:-1]] == [of(after[0], 1)] * len(after[:-1]), "all have the same programs"
            far.fence()
            leaks = [flow for flow in far.dump(since) if flow.dst == NEVER]
            assert not leaks, f"swap {n}: {leaks}"
            for box, stream in zip(boxes, streams):
                assert not stream.errors(kept), f"swap {n}, {box.id}: {stream.errors(kept)}"
        ports = {stream.states()[n].sport for stream in streams for n in kept}
        far.await_payload(ports, KEPT, now_ns())

        # It can be changed as ever, and enforces it.
        for box, stream in ((boxes[0], streams[0]), (boxes[-1], streams[-1])):
            box.put({**DENY_ALL, "allowOut": [KEPT, TIGHT]})
            assert stream.probe([TIGHT])[TIGHT] == ("ok", "ok")
            box.put({**DENY_ALL, "allowOut": [KEPT]})
            assert stream.probe([TIGHT])[TIGHT] == ("denied", "denied")
            assert not stream.errors(kept)

# SPDX-License-Identifier: MIT
"""
kill -9 of `postern run` at random moments while its command floods a denied address: nothing denied ever arrives, and
the next run sweeps what is left. PST_LONG=1: 200 times.
"""

import os
import random
import select
import signal
import subprocess
import time
from pathlib import Path

from far import LONG
from internet import ALLOWED4_NET, DENIED4, PORT, canary
from postern import (cgroup2_mount, environment, execute, fill, flow, kill_marked, marked_processes, postern_run,
                     sandboxed)
from wait import until

ROUNDS = 200 if LONG else 80
LATEST_S = 0.3
LATEST_ANYWHERE_S = 1.0  # keeps the rounds within three minutes
POLICY = ["--allow", ALLOWED4_NET]
FLOOD = flow("flood", DENIED4, PORT, "CANARY")
PINS = Path("/sys/fs/bpf/postern-run")


def names(directory):
    return {entry.name for entry in directory.iterdir() if entry.is_dir()} if directory.exists() else set()


def left_behind():
    """The runs that have pins or a cgroup: those that run, and what killed ones left."""
    return names(PINS) | names(Path(cgroup2_mount()) / "postern-run")


def start(net, argv, mark):
    return subprocess.Popen(net.host.command(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, env=environment({"PST_KILL": mark}))


def test_the_flood_floods(net):
    """The control: without Postern it arrives, at once and much."""
    token, since = canary(), net.mark()
    process = start(net, fill(FLOOD, token), "control")
    try:
        until(lambda: len(net.seen(token=token, since=since)) > 50, "the flood arrives")
        until(lambda: net.seen(dst=DENIED4, port=PORT, protocol=6, since=since), "TCP too")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    net.fence()


def kill_once(net, argv, delay_s, mark):
    """Starts, kills after the delay, and tells whether the command had begun; then ends what is left of it."""
    process = start(net, argv, mark)
    try:
        end = time.monotonic() + delay_s
        began = b""
        while time.monotonic() < end:  # the delay is the experiment, not a wait for something
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
            if ready and not began:
                began = os.read(process.stdout.fileno(), 64)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        lingering = len(marked_processes(f"PST_KILL={mark}"))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        kill_marked(f"PST_KILL={mark}")
    return bool(began), lingering


def time_to_begin(net):
    """How long it takes here and now until the command runs: on a busy machine the moments reach further."""
    start_s = time.monotonic()
    assert sandboxed(net, POLICY, ["true"]).code == 0
    return time.monotonic() - start_s


def test_nothing_denied_arrives_whenever_the_runner_is_killed(net):
    seed = random.randrange(1 << 32)
    latest_s = min(max(LATEST_S, 2 * time_to_begin(net)), LATEST_ANYWHERE_S)
    print(f"seed {seed}, moments up to {latest_s:.3f} s")
    moments = random.Random(seed)
    token, since = canary(), net.mark()
    net.forbid(token)
    argv = postern_run(POLICY, fill(FLOOD, token))
    began = lingered = 0
    before, left = left_behind(), set()
    for n in range(ROUNDS):
        ran, lingering = kill_once(net, argv, moments.uniform(0, latest_s), f"{os.getpid()}-{n}")
        began += ran
        lingered += lingering
        left |= left_behind() - before
    net.fence()
    assert not net.seen(token=token, dst=DENIED4, port=PORT, since=since), f"denied traffic arrived, seed {seed}"
    assert began >= ROUNDS // 4, f"the command began in {began} of {ROUNDS} rounds only: they prove little"
    assert len(left) >= ROUNDS // 4, f"only {len(left)} of {ROUNDS} killed runs left anything: nothing to sweep"
    print(f"the command had begun in {began} rounds; {lingered} processes outlived their runner")

    def swept():
        assert sandboxed(net, POLICY, ["true"]).code == 0
        return not left & left_behind()
    until(swept, "the next run sweeps what killed runs left", 30)


def test_what_outlives_its_runner_stays_under_the_policy(net):
    """The command catches its parent's death and goes on: it is still denied, also after another run has swept."""
    token, since = canary(), net.mark()
    net.forbid(token)
    script = f"trap '' TERM HUP INT; setsid {' '.join(fill(FLOOD, token))}"
    process = start(net, postern_run(POLICY + ["--keep-privs"], ["sh", "-c", script]), "outlive")
    try:
        select.select([process.stdout], [], [], 10)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        for _ in range(3):
            assert sandboxed(net, POLICY, ["true"]).code == 0
        net.fence()
        assert marked_processes("PST_KILL=outlive"), "nothing outlived its runner: nothing is shown"
        assert not net.seen(token=token, dst=DENIED4, port=PORT, since=since)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        kill_marked("PST_KILL=outlive")


def test_a_killed_runs_leftovers_do_not_stop_the_next(net):
    for _ in range(3):
        kill_once(net, postern_run(POLICY, ["sleep", "60"]), 0.15, "next")
        assert execute(net, postern_run([], ["true"])).code == 0

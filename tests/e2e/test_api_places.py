# SPDX-License-Identifier: MIT
"""
Which cgroups posternd attaches to and which it refuses, whatever somebody does to the path meanwhile; and what becomes of
processes that are paused, that run out of time, that do not want to end.
"""

import contextlib
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from daemon import DENY_ALL, Box, Daemon
from far import LONG
from internet import ALLOWED4, DENIED4, canary
from postern import cgroup2_mount, child_of
from reach import is_answered
from wait import until

ONLY_ALLOWED = {**DENY_ALL, "allowOut": [ALLOWED4]}
ROUNDS = 1000 if LONG else 150


def attach(daemon, path, name="trick", policy=None, **fields):
    body = {"id": name, "policy": DENY_ALL if policy is None else policy, "allowWeak": True, **fields}
    if path is not None:
        body["cgroup"] = str(path)
    return daemon.request("POST", "/v1/sandboxes", body)


def members(cgroup):
    return [int(pid) for pid in (cgroup / "cgroup.procs").read_text("ascii").split()]


# ---- places ----

def test_a_path_that_is_no_cgroup_of_ours_to_take_is_refused(daemon, tmp_path):
    root, place = Path(cgroup2_mount()), daemon.cgroup("place")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "mount").symlink_to(root)
    for path in ("/", "", ".", "..", "//", root, f"{root}/", f"{root}/.", f"{place}/..", f"{place}/../{place.name}", f"{root}/../..",
                 f"{place}/cgroup.procs", "/proc", "/tmp", "/dev/shm", tmp_path / "dir", tmp_path / "link",
                 tmp_path / "mount" / place.relative_to(root), f"/proc/self/root{place}", f"{root}x/{place.name}", f"{place}/none",
                 f"{root}/" + "a" * 256, f"{root}/" + "/".join("abc" * 9 for _ in range(150)), f"{place}\0", f"{place}\0x", f"{place} ",
                 f"{place}/\ud800", str(place).upper(), f"/proc/{daemon.process.pid}/fd/3", "\n", "%2f"):
        reply = attach(daemon, path)
        assert reply.status == 400, f"{path!r}: {reply}"
    assert not daemon.boxes()
    assert is_answered(Box(daemon, "none", place), DENIED4), "nothing was attached by the way"
    # The control: the same place by a name that is odd, and its own.
    reply = attach(daemon, f"{place.parent}//./{place.name}/")
    assert reply.status == 201 and reply.json["cgroup"] == str(place), reply
    assert not is_answered(Box(daemon, "trick", place), DENIED4)


def test_the_daemons_own_cgroup_and_those_above_are_refused(net):
    top = Path(cgroup2_mount()) / f"pst-{os.getpid()}-own"
    own = top / "service"
    own.mkdir(parents=True)
    try:
        wrapper = ["sh", "-c", f'echo 0 >{own}/cgroup.procs && exec "$@"', "sh"]
        with Daemon(net, wrapper=wrapper) as daemon:
            assert daemon.process.pid in members(own)
            for path in (own, top):
                assert attach(daemon, path).status == 400, path
            assert attach(daemon, None, pid=daemon.process.pid).status == 400
            (own / "below").mkdir()
            assert attach(daemon, own / "below").status == 201
            daemon.request("DELETE", "/v1/sandboxes/trick")
            assert daemon.get("/healthz").status == 200
    finally:
        for path in (own / "below", own, top):
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()


def test_below_and_above_another_sandbox_is_a_conflict(daemon):
    box = daemon.attach("middle", daemon.cgroup("middle"), ONLY_ALLOWED)
    below, beside = box.cgroup / "below", daemon.cgroups / "own-middle2"
    below.mkdir()
    beside.mkdir()
    for path in (box.cgroup, below, daemon.cgroups, f"{below}/", f"{daemon.cgroups}//own-middle"):
        reply = attach(daemon, path, policy={})
        assert reply.status == 409 and "middle" in reply.json["message"], f"{path}: {reply}"
    assert attach(daemon, beside, "middle").status == 409, "the id is taken"
    assert not is_answered(box, DENIED4) and not is_answered(Box(daemon, "x", below), DENIED4) and is_answered(box, ALLOWED4)
    assert attach(daemon, beside).status == 201


def test_a_pid_whose_cgroup_foreigners_share_is_refused(daemon):
    place = daemon.cgroup("shared")
    outside = Box(daemon, "shared", place)
    with outside.start(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo up; wait"]) as mine:
        mine.await_line(lambda line: line == "up", "it runs")
        with outside.start(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo up; wait"]) as foreign:
            foreign.await_line(lambda line: line == "up", "it runs")
            reply = attach(daemon, None, pid=mine.pid)
            assert reply.status in (400, 409), reply
            assert is_answered(outside, DENIED4)
            foreign.stop(signal.SIGTERM)
            until(lambda: len(members(place)) == 3, "only the foreigner's child is left")
            assert attach(daemon, None, pid=mine.pid).status in (400, 409)
            orphan = [pid for pid in members(place) if pid not in (mine.pid, child_of(mine.pid))]
            assert len(orphan) == 1
            os.kill(orphan[0], signal.SIGKILL)
            until(lambda: len(members(place)) == 2, "it is alone")
        assert attach(daemon, None, pid=mine.pid).status == 201, "the control: nobody else is there"
        assert not is_answered(outside, DENIED4)
        for pid in (1, os.getpid(), 2 ** 31 - 1, 0, -1):
            assert attach(daemon, None, pid=pid).status in (400, 409), pid


def test_a_place_that_comes_and_goes_is_attached_or_refused(daemon):
    """mkdir and rmdir of the path in a loop: each answer is true of the cgroup that it speaks of."""
    place = daemon.cgroups / "comes" / "goes"
    place.mkdir(parents=True)
    stop = threading.Event()

    def flicker():
        while not stop.is_set():
            with contextlib.suppress(OSError):
                place.rmdir()
            with contextlib.suppress(OSError):
                place.parent.rmdir()
            with contextlib.suppress(OSError):
                place.mkdir(parents=True)
    threads = [threading.Thread(target=flicker) for _ in range(2)]
    for thread in threads:
        thread.start()
    seen = {}
    failed = []
    try:
        for _ in range(ROUNDS):
            reply = attach(daemon, place)
            seen[reply.status] = seen.get(reply.status, 0) + 1
            if reply.status not in (201, 400, 409) and b"its cgroup is gone" not in reply.body:
                failed.append(reply)
            if reply.status == 201:
                assert daemon.request("DELETE", "/v1/sandboxes/trick").status == 204
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert seen.get(201) and len(seen) > 1, seen
    assert not failed, failed
    assert not daemon.boxes()
    until(lambda: not list((daemon.pins / "sandboxes").iterdir()), "no pins are left")
    with contextlib.suppress(FileExistsError):
        place.mkdir(parents=True)
    assert attach(daemon, place).status == 201
    assert not is_answered(Box(daemon, "trick", place), DENIED4)


def test_a_path_swapped_by_its_owner_leads_nowhere_else(daemon, tmp_path):
    """cgroupfs knows no rename; elsewhere a link to a cgroup and to a directory take turns at one name."""
    place, name = daemon.cgroup("target"), tmp_path / "swapped"
    (tmp_path / "dir").mkdir()
    stop = threading.Event()

    def swap():
        turn = 0
        while not stop.is_set():
            new = tmp_path / "new"
            new.symlink_to(place if turn % 2 else tmp_path / "dir")
            new.rename(name)
            turn += 1
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(ROUNDS):
            assert attach(daemon, name).status == 400
    finally:
        stop.set()
        thread.join()
    assert not daemon.boxes() and is_answered(Box(daemon, "none", place), DENIED4)


# ---- paused, out of time, unwilling ----

COUNT = 'n=0; while :; do n=$((n+1)); echo $n >"$1"; done'


def test_a_paused_sandbox_stands_still_and_goes_on(daemon):
    box = daemon.create(ONLY_ALLOWED)
    counter = daemon.directory / "n"
    with box.start(["sh", "-c", COUNT, "sh", counter]):
        until(lambda: counter.exists() and int(counter.read_text("ascii") or 0) > 1000, "it is busy")
        for _ in range(5):
            assert daemon.request("POST", f"/sandboxes/{box.id}/pause").status == 204
            assert "frozen 1" in (box.cgroup / "cgroup.events").read_text("ascii")
            before = counter.read_text("ascii")
            for _ in range(50):
                daemon.get("/healthz")
            assert counter.read_text("ascii") == before
            assert daemon.request("POST", f"/sandboxes/{box.id}/pause").status == 409
            assert box.network(DENY_ALL).status == 409
            assert daemon.request("POST", f"/sandboxes/{box.id}/resume", {}).status in (200, 201)
            until(lambda at=before: (counter.read_text("ascii") or at) != at, "it goes on")
        assert is_answered(box) and not is_answered(box, DENIED4)


def test_time_runs_out_for_the_one_and_not_for_the_other(daemon):
    short, longer, later = (daemon.create(DENY_ALL, timeout=t) for t in (2, 1000, 1000))
    with short.start(["sleep", "1000"]) as inside:
        assert daemon.request("POST", f"/sandboxes/{later.id}/timeout", {"timeout": 2}).status == 204
        until(lambda: inside.process.poll() is not None, "what is inside is killed", 20)
        until(lambda: {box["id"] for box in daemon.boxes()} == {longer.id}, "both are removed", 20)
    until(lambda: not short.cgroup.exists() and not later.cgroup.exists(), "their cgroups are gone")
    assert longer.cgroup.exists() and not is_answered(longer, DENIED4)


BOMB = """
import os, socket, sys
while True:
    try:
        os.fork()
    except OSError:
        pass
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.sendto(sys.argv[2].encode(), (sys.argv[1], 7000))
    except OSError:
        pass
    s.close()
"""


def test_a_bomb_of_processes_is_removed_and_none_speaks_meanwhile(daemon, net):
    box = daemon.create(DENY_ALL)
    token = canary()
    net.forbid(token)
    # No more than 60 at a time, by a limit of its own user.
    script = ["/usr/bin/python3", "-S", "-c", "import resource, os; resource.setrlimit(resource.RLIMIT_NPROC, (60, 60)); "
              f"os.setgroups([]); os.setgid(54321); os.setuid(54321)\n{BOMB}", DENIED4, token]
    with box.start(script):
        until(lambda: len(members(box.cgroup)) > 40, "it is many")
        box.delete()
        until(lambda: not box.cgroup.exists(), "all of it is gone", 30)
    net.fence()
    assert not net.seen(token=token)
    assert not daemon.boxes()


@pytest.mark.parametrize("how", ["stopped", "paused", "frozen"])
def test_what_stands_still_is_removed(daemon, how):
    box = daemon.create(DENY_ALL)
    with box.start(["sleep", "1000"]) as inside:
        until(lambda: inside.pid in members(box.cgroup), "it is inside")
        if how == "stopped":
            os.kill(inside.pid, signal.SIGSTOP)
        elif how == "paused":
            assert daemon.request("POST", f"/sandboxes/{box.id}/pause").status == 204
        else:
            (box.cgroup / "cgroup.freeze").write_text("1", encoding="ascii")
        box.delete()
        until(lambda: inside.process.poll() is not None, "it is killed")
        until(lambda: not box.cgroup.exists(), "its cgroup is gone")
    assert not daemon.boxes()


def test_what_is_attached_is_left_alone_by_its_removal(daemon):
    box = daemon.attach("native", daemon.cgroup("native"), DENY_ALL)
    with box.start(["sh", "-c", "echo up; exec sleep 1000"]) as inside:
        inside.await_line(lambda line: line == "up", "it runs")
        box.delete()
        assert inside.process.poll() is None and box.cgroup.exists()
        assert is_answered(box, DENIED4)
    reply = daemon.request("DELETE", "/v1/sandboxes/native")
    assert reply.status == 404 and json.loads(reply.body)["code"] == 404

# SPDX-License-Identifier: MIT
"""
What posternd keeps is damaged, full, removed or gone after a boot: what the kernel enforces stays as it is as far as
the kernel lets it, the report says what to do, and what it says works.
"""

import contextlib
import errno
import json
import os
import random
import shutil
import socket
import sys

import pytest

from daemon import DENY_ALL, Box, Daemon
from faults import Point, Strace
from internet import ALLOWED4, DENIED4
from netns import shell
from postern import execute
from reach import is_answered
from wait import until
from wire import Wire

OTHER4 = "93.184.216.77"
OLD = {**DENY_ALL, "allowOut": [ALLOWED4]}
NEW = {**DENY_ALL, "allowOut": [OTHER4]}
KNOCK = """
import socket, sys
s = socket.socket()
s.settimeout(5)
print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))
"""
BATCH = 40
ROUNDS = 50 if os.environ.get("PST_LONG") else 5  # of BATCH files


@pytest.fixture(name="wire")
def wire_fixture(net):
    with Wire(net) as wire:
        yield wire


def is_old(box):
    return is_answered(box, ALLOWED4) and not is_answered(box, DENIED4)


def is_new(box):
    return is_answered(box, OTHER4) and not is_answered(box, ALLOWED4)


def listed(daemon):
    return {box["id"]: box["state"] for box in daemon.boxes()}


def said(daemon, *words):
    return [line["msg"] for line in daemon.log_lines() if all(word in line["msg"] for word in words)]


def spoil(path, rng):
    """A byte flipped, or cut off."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    if rng.random() < 0.5:
        del data[at:]
        how = f"cut off at {at}"
    else:
        data[at] ^= 1 << rng.randrange(8)
        how = f"bit of byte {at}"
    path.write_bytes(data)
    return how


def test_a_state_file_with_damage_leaves_what_is_enforced_and_heals_by_put(daemon, wire):
    number = int(os.environ.get("PST_SEED", random.randrange(1 << 32)))
    print(f"PST_SEED={number}")
    rng = random.Random(number)
    boxes = [daemon.create(OLD) for _ in range(BATCH - 1)] + [wire.attach(daemon, OLD, flows=64)]
    for _ in range(ROUNDS):
        daemon.stop()
        how = {box.id: spoil(daemon.state / "sandboxes" / f"{box.id}.json", rng) for box in boxes}
        daemon.logs.clear()
        daemon.start()
        states = listed(daemon)
        assert all(states.get(box.id) == "damaged" for box in boxes), \
            [(how[box.id], states.get(box.id)) for box in boxes if states.get(box.id) != "damaged"]
        for box in boxes:
            assert said(daemon, f"{box.id}: damaged", "unchanged", "PUT", "DELETE"), daemon.log()
        for box in (*rng.sample(boxes, 2), boxes[-1]):
            assert is_old(box), how[box.id]
        for box in boxes[1:]:
            box.put(OLD)
        assert all(listed(daemon)[box.id] == "running" for box in boxes[1:])
        healed = rng.choice(boxes[1:])
        assert is_old(healed), how[healed.id]
        cgroup = boxes[0].cgroup
        boxes[0].delete()
        until(lambda c=cgroup: not c.exists(), "DELETE of a damaged one removes its cgroup")
        assert boxes[0].id not in listed(daemon)
        boxes[0] = daemon.create(OLD)
    daemon.restart()
    assert all(state == "running" for state in listed(daemon).values())
    shown = boxes[-1].show()
    assert shown["netdev"] == wire.device and wire.addr6 in shown["device"]["addresses"]
    assert shown["device"]["flows"]["max"] == 64


# What of a start fails, and what becomes of a sandbox: its cgroup cannot be opened; or no mount of cgroup2 can be looked
# at, and a private one is made.
HINDERED = {"cgroup": (Point("open_by_handle_at", "1..2", "error=ENOMEM", ""), "damaged"),
            "mounts": (Point("fstatfs", "1", "error=EIO", ""), "running")}


@pytest.mark.parametrize("what", HINDERED)
def test_what_a_start_cannot_adopt_stays_in_force_and_its_place_is_nobody_elses(daemon, what):
    """Others get policies of their own meanwhile, and some go again."""
    box = daemon.create(OLD)
    daemon.stop()
    point, state = HINDERED[what]
    with Strace(point) as strace:
        daemon.wrapper = strace.wrapper()
        daemon.start()
        assert strace.hit()
        assert listed(daemon)[box.id] == state, daemon.log()
        for number in range(20):
            other = daemon.create({**DENY_ALL, "allowOut": [DENIED4, f"198.51.100.{number}"]})
            assert is_old(box), daemon.log()
            if number % 2:
                other.delete()
        daemon.stop()
    daemon.wrapper = []
    daemon.start()
    assert listed(daemon)[box.id] == "running" and is_old(box), daemon.log()
    box.put(NEW)
    assert is_new(box)


@contextlib.contextmanager
def tmpfs(path, size):
    path.mkdir(mode=0o700)
    shell("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "pst-state", str(path))
    try:
        yield path
    finally:
        shell("umount", "-l", str(path))


def test_a_full_disk_refuses_a_change_and_the_old_policy_stands(net):
    with Daemon(net, start=False) as daemon, tmpfs(daemon.directory / "state", "256k"):
        daemon.start()
        box = daemon.create(OLD)
        ballast = daemon.state / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for reply in (box.network(NEW), daemon.request("PUT", f"/v1/sandboxes/{box.id}/policy", NEW),
                      daemon.request("POST", "/sandboxes", {"templateID": "base", "network": OLD}),
                      daemon.request("PUT", "/v1/policies", {"ids": [box.id], "policy": NEW})):
            assert reply.status >= 500, reply
            assert "No space left on device" in reply.json["message"], reply
        assert is_old(box)
        assert listed(daemon) == {box.id: "running"}
        assert [path.name for path in daemon.cgroups.iterdir() if path.is_dir()] == [box.id]
        daemon.kill()
        daemon.start()
        assert listed(daemon) == {box.id: "running"}
        assert is_old(box)
        ballast.unlink()
        assert box.network(NEW).status == 204
        assert is_new(box)
        daemon.restart()
        assert is_new(box)


def remove_pins(daemon, what, boxes):
    if what == "sandbox":
        for box in boxes:
            shutil.rmtree(box.pins())
    else:
        shutil.rmtree(daemon.pins if what == "all" else daemon.pins / what)


@pytest.mark.parametrize("what", ["sandbox", "maps", "progs", "all"])
def test_pins_removed_while_it_lives_change_nothing(daemon, wire, what):
    boxes = (daemon.create(OLD), wire.attach(daemon, OLD))
    remove_pins(daemon, what, boxes)
    for box in boxes:
        assert is_old(box)
        assert box.network(NEW).status == 204
        assert is_new(box)
    # Of a device nothing is left that could be found again when the daemon ends before it has made them anew.
    until(lambda: all(box.pins().exists() for box in boxes), "they are there again", 30)
    daemon.restart()
    assert listed(daemon) == {box.id: "running" for box in boxes}
    assert all(is_new(box) for box in boxes)
    daemon.kill()
    assert all(is_new(box) for box in boxes)
    daemon.start()
    for box in boxes:
        assert box.network(OLD).status == 204
        assert is_old(box)


@pytest.mark.parametrize("what", ["sandbox", "maps", "progs", "all"])
def test_pins_removed_while_it_is_dead_are_made_again_by_the_next_start(daemon, wire, what):
    box, behind = daemon.create(OLD), wire.attach(daemon, OLD)
    daemon.kill()
    remove_pins(daemon, what, (box, behind))
    links_are_gone = what in ("sandbox", "all")
    # Root has ended them: the kernel knows no more, once nobody can be using them.
    if links_are_gone:
        until(lambda: is_answered(box, DENIED4) and is_answered(behind, DENIED4), "the links end with their pins", 30)
    else:
        assert not is_answered(box, DENIED4) and not is_answered(behind, DENIED4)
    daemon.logs.clear()
    daemon.start()
    # Which device it was nobody can tell any more: one with its name and number may be another.
    assert listed(daemon) == {box.id: "running", behind.id: "gone" if links_are_gone else "running"}
    assert links_are_gone or is_old(behind)
    assert is_old(box)
    assert bool(said(daemon, box.id, "in force again")) == links_are_gone, daemon.log()
    assert box.network(NEW).status == 204
    assert is_new(box)
    daemon.kill()
    assert is_new(box)


def test_a_bpffs_that_is_unmounted_changes_nothing_while_it_lives_and_stops_the_next_start(net):
    with Daemon(net, start=False) as daemon:
        mount = daemon.directory / "bpf"
        mount.mkdir()
        shell("mount", "-t", "bpf", "-o", "mode=0700", "pst-bpf", str(mount))
        daemon.pins = mount / "postern"
        daemon.config["bpffsDir"] = str(daemon.pins)
        try:
            daemon.start()
            box = daemon.create(OLD)
            assert is_old(box)
        finally:
            shell("umount", "-l", str(mount))
        assert is_old(box)
        assert box.network(NEW).status == 204
        assert is_new(box)
        daemon.kill()
        daemon.logs.clear()
        daemon.start(wait=False)
        assert daemon.process.wait() == 1
        assert said(daemon, str(mount)), daemon.log()
        shell("mount", "-t", "bpf", "-o", "mode=0700", "pst-bpf", str(mount))
        try:
            daemon.start()
            assert listed(daemon) == {box.id: "running"}
            assert said(daemon, box.id, "in force again"), daemon.log()
            assert is_new(box)
            daemon.stop()
        finally:
            shell("umount", "-l", str(mount))


def test_after_a_boot_all_are_gone_and_nothing_is_attached_by_name(daemon):
    own, attached = daemon.create(OLD), daemon.attach("kept", daemon.cgroup("kept"), OLD)
    daemon.stop()
    shutil.rmtree(daemon.pins)
    for box in (own, attached):
        box.cgroup.rmdir()
        box.cgroup.mkdir()
    daemon.logs.clear()
    daemon.start()
    assert listed(daemon) == {own.id: "gone", "kept": "gone"}
    for box in (own, attached):
        assert said(daemon, f"{box.id}: gone", "DELETE", "nothing is attached by name"), daemon.log()
        assert is_answered(box, DENIED4)  # another cgroup of that name is nobody's
        reply = daemon.request("PUT", f"/v1/sandboxes/{box.id}/policy", NEW)
        assert reply.status == 409, reply
        box.delete()
    assert listed(daemon) == {}
    assert Box(daemon, own.id).cgroup.exists()
    own.cgroup.rmdir()
    assert is_old(daemon.attach("kept", attached.cgroup, OLD))


@contextlib.contextmanager
def failing(daemon, call, error, when="1+"):
    with Strace(Point(call, when, f"error={error}", "")) as strace, strace.attached(daemon.process.pid):
        yield
        assert strace.hit()


def test_many_are_changed_or_none_of_them(daemon):
    """What cannot be written down for the sandboxes of one dialect leaves those of the other as they are, too."""
    boxes = daemon.attach("native", daemon.cgroup("native"), OLD), daemon.create(OLD)
    body = {"ids": [box.id for box in boxes], "policy": NEW}
    # The policy and the change of the first group are renamed before.
    with failing(daemon, "renameat", "ENOSPC", when="3+"):
        reply = daemon.request("PUT", "/v1/policies", body)
        assert reply.status >= 500, reply
    assert all(is_old(box) for box in boxes)
    assert not list((daemon.state / "changes").iterdir()) and not list((daemon.state / "policies").iterdir())
    assert daemon.request("PUT", "/v1/policies", body).status == 200
    assert all(is_new(box) for box in boxes)


def test_an_address_of_the_host_that_could_not_be_followed_is_followed_later(net):
    """No memory for a row of the always-denied set: what is this host's now is closed as soon as there is some."""
    def host(action):
        done = execute(net, ["ip", "address", action, f"{OTHER4}/32", "dev", "lo"])
        assert done.code == 0, done
    with Daemon(net) as daemon:
        box = daemon.create({**DENY_ALL, "allowOut": [ALLOWED4, OTHER4]})
        assert is_answered(box, ALLOWED4) and is_answered(box, OTHER4), "the control"
        try:
            with net.host.call(lambda: socket.create_server(("0.0.0.0", 0))) as beside:
                knock = [sys.executable, "-c", KNOCK, OTHER4, str(beside.getsockname()[1])]
                with failing(daemon, "bpf", "ENOMEM"):
                    host("add")
                    until(lambda: said(daemon, "cannot follow this host's addresses"), "it has tried")
                    assert box.run(knock).out == "0\n", "the control: it is reached"
                until(lambda: box.run(knock).out == f"{errno.EPERM}\n", "it is the host's", 30)
        finally:
            host("del")
        until(lambda: is_answered(box, OTHER4), "it is another's again", 60)


def test_a_document_is_followed_after_a_start_however_its_sandbox_came(daemon):
    """The daemon cannot write, and dies, as soon as the policy is in force."""
    cgroup = daemon.cgroup("one")
    path = daemon.folder / "one.json"
    with Strace(Point("renameat", "2+", "error=ENOSPC", "")) as strace, strace.attached(daemon.process.pid):
        path.write_text(json.dumps({"id": "one", "cgroup": str(cgroup), "policy": OLD, "allowWeak": True}))
        until(lambda: "one" in listed(daemon), "it is attached")
        daemon.kill()
    daemon.start()
    box = Box(daemon, "one", cgroup)
    assert is_old(box)
    path.unlink()
    until(lambda: "one" not in listed(daemon), "it is detached with its document", 60)

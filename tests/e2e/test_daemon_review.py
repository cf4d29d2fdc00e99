# SPDX-License-Identifier: MIT
"""What a daemon must not do when it meets the unexpected: after a boot, with damage, with members that do not die."""

import contextlib
import ctypes
import json
import os
import shutil
import struct

from daemon import DENY_ALL, OTHER_KEY, TENANT_KEY, Box, Daemon
from faults import attached_programs
from internet import ALLOWED4, DENIED4, PORT
from reach import is_answered
from relaybox import Relays
from wait import until

HEAD = b'{"version":1,"sum":"'
BODY = len(HEAD) + 16 + 2
PTRACE_CONT, PTRACE_SEIZE, PTRACE_O_TRACEEXIT = 7, 0x4206, 0x40
WALL = 0x40000000

SLEEP = ["sleep", "1000"]
ONE = {**DENY_ALL, "allowOut": [ALLOWED4]}


def members(cgroup):
    return [int(pid) for pid in (cgroup / "cgroup.procs").read_text("ascii").split()]


def sum_of(body):
    total = 0xcbf29ce484222325 ^ len(body)
    for at in range(0, len(body), 8):
        word, = struct.unpack("<Q", body[at:at + 8].ljust(8, b"\0"))
        total = (total ^ word) * 0x100000001b3 % 2**64
    return total


def edit_state(daemon, name, old, new):
    path = daemon.state / "sandboxes" / f"{name}.json"
    body = path.read_bytes()[BODY:]
    assert old in body
    body = body.replace(old, new)
    path.write_bytes(HEAD + f"{sum_of(body):016x}".encode() + b'",' + body)


def state_of(daemon, name):
    return {box["id"]: box["state"] for box in daemon.boxes()}.get(name)


@contextlib.contextmanager
def undying(cgroup):
    """A member that is killed, and yet does not go before this ends: it stays in its exit for its tracer."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    pid = until(lambda: members(cgroup), "a member")[0]
    assert libc.ptrace(PTRACE_SEIZE, pid, None, PTRACE_O_TRACEEXIT) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        os.waitpid(pid, WALL)
        libc.ptrace(PTRACE_CONT, pid, None, None)


def test_after_a_boot_another_cgroup_with_the_id_of_a_sandbox_is_left_alone(daemon):
    box = daemon.create(DENY_ALL)
    other = daemon.cgroup("other")
    old = box.cgroup.stat().st_ino
    with daemon.attach("other", other).start(SLEEP) as victim:
        until(lambda: members(other), "it is inside")
        daemon.stop()
        shutil.rmtree(daemon.pins)  # as a boot does it
        box.cgroup.rmdir()
        (daemon.state / "sandboxes" / "other.json").unlink()
        edit_state(daemon, box.id, f'"cgroupId":"{old}"'.encode(), f'"cgroupId":"{other.stat().st_ino}"'.encode())
        daemon.start()
        assert state_of(daemon, box.id) == "gone"
        box.cgroup = other
        assert is_answered(box)
        box.delete()
        assert victim.process.poll() is None
        assert members(other)


def test_a_sandbox_that_cannot_be_adopted_keeps_its_policy(daemon):
    box = daemon.create(ONE)
    assert is_answered(box) and not is_answered(box, DENIED4)
    daemon.stop()
    # What it has for a link is no link: nothing can be completed.
    (box.pins() / "pst_sendmsg6").unlink()
    os.link(daemon.pins / "maps" / "pst_open", box.pins() / "pst_sendmsg6")
    daemon.start()
    assert state_of(daemon, box.id) == "damaged"
    for number in range(3):
        daemon.create({**DENY_ALL, "allowOut": [f"203.0.113.{number}"]})
        assert is_answered(box)
        assert not is_answered(box, DENIED4)


def test_what_dies_late_leaves_no_cgroup_and_no_pins(daemon):
    box = daemon.create(DENY_ALL)
    with box.start(SLEEP), undying(box.cgroup):
        box.delete()
        assert box.cgroup.exists()
        assert box.pins().exists()
    until(lambda: not box.cgroup.exists(), "its cgroup is gone")
    until(lambda: not box.pins().exists(), "its pins are gone")


def test_an_id_is_free_again_when_what_was_inside_has_gone(daemon):
    box = daemon.create(DENY_ALL)
    cgroup = daemon.cgroup("next")
    body = {"id": box.id, "cgroup": str(cgroup), "policy": DENY_ALL, "allowWeak": True}
    with box.start(SLEEP), undying(box.cgroup):
        box.delete()
        assert daemon.request("POST", "/v1/sandboxes", body).status == 409

    def attached():
        return daemon.request("POST", "/v1/sandboxes", body).status == 201
    until(attached, "the id is free")
    box.cgroup = cgroup
    # A later round over what ended takes nothing of it away.
    ended = daemon.create({})
    ended.delete()
    until(lambda: not ended.pins().exists(), "another one has ended")
    assert box.pins().exists()
    daemon.kill()
    assert not is_answered(box)


def test_the_removal_of_a_damaged_sandbox_kills_what_is_inside(daemon):
    box = daemon.create(DENY_ALL)
    with box.start(SLEEP) as inside:
        until(lambda: members(box.cgroup), "it is inside")
        daemon.stop()
        (daemon.state / "sandboxes" / f"{box.id}.json").write_bytes(b"{")
        daemon.start()
        assert state_of(daemon, box.id) == "damaged"
        assert not is_answered(box)
        box.delete()
        assert inside.wait() is not None
        until(lambda: not box.cgroup.exists(), "its cgroup is gone")


def test_a_lost_sandbox_whose_policy_does_not_fit_stays_denied_over_restarts(net):
    policy = {"tests": [{"to": f"{DENIED4}:{PORT}", "expect": "allow"}]}
    with Daemon(net) as daemon:
        box = daemon.attach("box", daemon.cgroup("box"), policy)
        assert is_answered(box)
        daemon.stop()
        shutil.rmtree(daemon.pins)
        assert is_answered(box)  # nothing is enforced any more
        daemon.config["alwaysDenied"] = {"add": [f"{DENIED4}/32"]}
        for _ in range(3):
            daemon.start()
            assert state_of(daemon, box.id) == "damaged"
            assert not is_answered(box)
            daemon.stop()


def test_pins_of_what_went_while_no_daemon_ran_go_at_its_start(daemon):
    box = daemon.create(DENY_ALL)
    daemon.kill()
    box.cgroup.rmdir()
    daemon.start()
    assert state_of(daemon, box.id) == "gone"
    box.delete()
    daemon.kill()  # whatever it would do later
    daemon.start()
    assert not box.pins().exists()


def test_without_state_and_egress_pin_a_sandbox_is_still_enforced(daemon):
    box = daemon.attach("box", daemon.cgroup("box"), DENY_ALL)
    daemon.kill()
    (daemon.state / "sandboxes" / "box.json").unlink()
    (box.pins() / "pst_egress").unlink()
    daemon.start()
    assert state_of(daemon, "box") == "damaged"
    assert not is_answered(box)


def write_document(daemon, file, box, policy, name="box"):
    part = daemon.directory / "part"
    part.write_text(json.dumps({"id": name, "cgroup": str(box), "policy": policy, "allowWeak": True}), "utf-8")
    part.rename(daemon.folder / file)


def test_a_document_that_is_renamed_or_copied_keeps_its_sandbox(daemon):
    cgroup = daemon.cgroup("box")
    write_document(daemon, "a.json", cgroup, DENY_ALL)
    until(lambda: state_of(daemon, "box"), "it is attached")
    box = Box(daemon, "box", cgroup)
    pins = box.pins().stat().st_ino
    (daemon.folder / "a.json").rename(daemon.folder / "b.json")
    write_document(daemon, "z.json", daemon.cgroup("second"), {}, "second")
    until(lambda: state_of(daemon, "second"), "it has been looked at")
    assert box.pins().stat().st_ino == pins
    assert not is_answered(box)
    write_document(daemon, "c.json", cgroup, DENY_ALL)
    (daemon.folder / "b.json").unlink()
    (daemon.folder / "z.json").unlink()
    until(lambda: not state_of(daemon, "second"), "it has been looked at")
    assert box.pins().stat().st_ino == pins
    assert not is_answered(box)


def test_a_document_that_changes_name_and_id_at_once_stays_enforced(daemon):
    cgroup = daemon.cgroup("box")
    write_document(daemon, "a.json", cgroup, DENY_ALL)
    until(lambda: state_of(daemon, "box"), "it is attached")
    daemon.stop()
    (daemon.folder / "a.json").unlink()
    write_document(daemon, "b.json", cgroup, DENY_ALL, "other")
    daemon.start()
    assert state_of(daemon, "box") is None
    assert state_of(daemon, "other") == "running"
    assert not is_answered(Box(daemon, "other", cgroup))


def test_what_is_not_gone_yet_counts_as_its_owners(net):
    """Or who lets many end slowly takes the places of all the others."""
    with Daemon(net, limits={"sandboxes": 32, "sandboxesPerOwner": 1}) as daemon:
        def create(key):
            return daemon.request_tcp("POST", "/sandboxes", {"templateID": "base", "network": DENY_ALL}, key=key)
        box = Box(daemon, create(TENANT_KEY).json["sandboxID"])
        assert create(TENANT_KEY).status >= 400
        with box.start(SLEEP), undying(box.cgroup):
            assert daemon.request_tcp("DELETE", f"/sandboxes/{box.id}", key=TENANT_KEY).status == 204
            assert box.pins().exists()
            assert create(TENANT_KEY).status >= 400
            assert create(OTHER_KEY).status == 201
        until(lambda: create(TENANT_KEY).status == 201, "there is room again", 60)


def test_a_relay_that_hangs_keeps_its_policy(net, peers):
    """It was told to end, and has not: the next daemon takes nothing of it away."""
    relays = Relays(net, peers)
    try:
        daemon = relays.daemon
        with relays.ward("cgroup", allow=["one.example.org"], hostCheck="strict"):
            place, = daemon.cgroups.glob("_relay-*")
            with undying(place):
                daemon.kill()
                daemon.start()
                assert attached_programs(place)
                daemon.restart()
                assert attached_programs(place)
        daemon.restart()
        until(lambda: not place.exists(), "it is gone", 60)
        assert not list((daemon.pins / "sandboxes").glob(place.name))
    finally:
        relays.close()


def test_a_damaged_sandbox_is_its_owners_still(net):
    """Its head says whose it is: who has its key mends it, and nobody else sees it."""
    with Daemon(net) as daemon:
        box = Box(daemon, daemon.request_tcp("POST", "/sandboxes", {"templateID": "base", "network": ONE}).json["sandboxID"])
        daemon.stop()
        path = daemon.state / "sandboxes" / f"{box.id}.json"
        path.write_bytes(path.read_bytes()[:-40])
        daemon.start()
        assert state_of(daemon, box.id) == "damaged"
        assert is_answered(box) and not is_answered(box, DENIED4)
        assert daemon.request_tcp("GET", f"/sandboxes/{box.id}", key=OTHER_KEY).status == 404
        change = {"allowOut": [DENIED4], "denyOut": ["0.0.0.0/0"]}
        assert daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network", change, key=OTHER_KEY).status == 404
        assert daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network", change).status == 204
        assert is_answered(box, DENIED4) and not is_answered(box)
        daemon.restart()
        shown = box.show()
        assert (shown["state"], shown["owner"]) == ("running", "acme"), shown
        assert daemon.request_tcp("GET", f"/sandboxes/{box.id}").status == 200


def test_a_document_ends_nothing_of_a_sandbox_that_cannot_be_adopted(daemon):
    """The folder's next policy cannot be attached either: what is in force is not given up for it."""
    box = Box(daemon, "one", daemon.cgroup("one"))
    path = daemon.folder / "one.json"
    document = {"id": "one", "cgroup": str(box.cgroup), "policy": ONE, "allowWeak": True}
    path.write_text(json.dumps(document))
    until(lambda: state_of(daemon, "one") == "running", "it is attached")
    daemon.stop()
    (box.pins() / "pst_sendmsg6").unlink()
    os.link(daemon.pins / "maps" / "pst_open", box.pins() / "pst_sendmsg6")
    wrong = {**ONE, "tests": [{"to": f"{DENIED4}:{PORT}", "expect": "allow"}]}
    path.write_text(json.dumps({**document, "policy": wrong}))
    for _ in range(2):
        daemon.start()
        assert state_of(daemon, "one") == "damaged"
        assert is_answered(box) and not is_answered(box, DENIED4)
        daemon.stop()

# SPDX-License-Identifier: MIT
"""sandboxDir: documents that come, change, break, move and go, and what is enforced meanwhile: asked by real traffic."""

import json
import os
import signal
import threading

import pytest

from daemon import DENY_ALL, Box, Daemon
from far import LONG
from internet import ALLOWED4, DENIED4, canary
from postern import Running
from reach import is_answered
from wait import until

ONLY_ALLOWED = {**DENY_ALL, "allowOut": [ALLOWED4]}
ONLY_DENIED = {**DENY_ALL, "allowOut": [DENIED4]}
BOTH = {**DENY_ALL, "allowOut": [ALLOWED4, DENIED4]}


def document(box, policy, **fields):
    return json.dumps({"id": box.id, "cgroup": str(box.cgroup), "policy": policy, "allowWeak": True, **fields})


def save(path, text):
    """At once, as `mv` of a finished file."""
    new = path.with_name("." + path.name)
    new.write_text(text, encoding="utf-8")
    new.rename(path)


def policies(daemon):
    return {box["id"]: box["policyHash"] for box in daemon.boxes()}


def await_log(daemon, text):
    until(lambda: text in daemon.log(), f"it says {text!r}")


def place(daemon, name):
    return Box(daemon, name, daemon.cgroup(name))


def allows(box, allowed, denied):
    until(lambda: is_answered(box, allowed), f"{allowed} is allowed")
    assert not is_answered(box, denied)


class Prober:
    """Goes on asking from inside for what no document allows: each answer is an error."""

    SCRIPT = """
import socket, sys
n = 0
while True:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.sendto(sys.argv[2].encode(), (sys.argv[1], 7000))
        print("sent", flush=True)
    except PermissionError:
        n += 1
        if n % 500 == 0:
            print("denied", n, flush=True)
    s.close()
"""

    def __init__(self, box, address):
        self.net, self.token = box.daemon.net, canary()
        self.net.forbid(self.token)
        self.running: Running = box.start(["/usr/bin/python3", "-S", "-c", self.SCRIPT, address, self.token])

    def __enter__(self):
        self.running.await_line(lambda line: line.startswith("denied"), "it is denied")
        return self

    def __exit__(self, *exc):
        self.running.stop(signal.SIGKILL)

    def check(self):
        assert "sent" not in self.running.lines
        self.net.fence()
        assert not self.net.seen(token=self.token)


def test_a_document_comes_changes_breaks_and_goes(daemon):
    box, path = place(daemon, "one"), daemon.folder / "one.json"
    assert is_answered(box, DENIED4), "the control: nothing is attached"
    save(path, document(box, ONLY_ALLOWED))
    until(lambda: "one" in policies(daemon), "it is attached")
    allows(box, ALLOWED4, DENIED4)
    path.write_text(document(box, ONLY_DENIED), encoding="utf-8")
    allows(box, DENIED4, ALLOWED4)
    before = policies(daemon)
    for broken in ('{"id": "one", ', document(box, {"allowOut": ["nonsense/99"]}), document(box, BOTH, misspelt=1), "", "\0",
                   document(box, BOTH)[:-1] + ', "policy": {}}'):
        said = len(daemon.log())
        save(path, broken)
        until(lambda at=said: str(path) in daemon.log()[at:], f"it complains of {broken!r}")
        assert policies(daemon) == before
    assert is_answered(box, DENIED4) and not is_answered(box, ALLOWED4)
    save(path, document(box, ONLY_ALLOWED))
    allows(box, ALLOWED4, DENIED4)
    path.unlink()
    until(lambda: "one" not in policies(daemon), "it is detached")
    assert is_answered(box, DENIED4)
    assert box.cgroup.exists()


def test_what_came_and_went_without_a_daemon_is_seen_at_its_start(daemon):
    kept, gone, new = (place(daemon, name) for name in ("kept", "gone", "new"))
    for box in (kept, gone):
        save(daemon.folder / f"{box.id}.json", document(box, ONLY_ALLOWED))
    api = daemon.attach("api", daemon.cgroup("api"), ONLY_ALLOWED)
    until(lambda: len(policies(daemon)) == 3, "all are attached")
    daemon.stop()
    (daemon.folder / "gone.json").unlink()
    save(daemon.folder / "kept.json", document(kept, ONLY_DENIED))
    save(daemon.folder / "new.json", document(new, ONLY_ALLOWED))
    daemon.start()
    until(lambda: set(policies(daemon)) == {"kept", "new", "api"}, "the documents are followed")
    allows(kept, DENIED4, ALLOWED4)
    allows(new, ALLOWED4, DENIED4)
    assert is_answered(gone, DENIED4)
    assert not is_answered(api, DENIED4)


def test_a_rename_of_the_document_is_no_moment_without_a_policy(daemon):
    box, path = place(daemon, "one"), daemon.folder / "one.json"
    save(path, document(box, ONLY_ALLOWED))
    until(lambda: "one" in policies(daemon), "it is attached")
    with Prober(box, DENIED4) as prober:
        other = path.with_name("another.json")
        path.rename(other)
        until(lambda: not path.exists(), "it moved")
        for n in range(20):  # as vi saves: the old one away, a new one written, the old one removed
            backup = path.with_name("another.json~")
            other.rename(backup)
            daemon.get("/healthz")
            other.write_text(document(box, {**ONLY_ALLOWED, "denyOut": ["0.0.0.0/0", f"1.2.3.{n}"]}), encoding="utf-8")
            backup.unlink()
        until(lambda: "1.2.3.19" in json.dumps(box.show()["policy"]), "the last one is in force")
        prober.check()
    assert is_answered(box, ALLOWED4)


def test_two_documents_of_one_sandbox_do_not_take_turns(daemon):
    box = place(daemon, "one")
    first, second = daemon.folder / "a.json", daemon.folder / "b.json"
    save(first, document(box, ONLY_ALLOWED))
    until(lambda: "one" in policies(daemon), "it is attached")
    save(second, document(box, ONLY_DENIED))
    await_log(daemon, f"{second}: left out, as a.json is the document of 'one'")
    with Prober(box, DENIED4) as prober:
        hash_before = policies(daemon)["one"]
        for _ in range(20):
            daemon.process.process.send_signal(signal.SIGHUP)
            assert policies(daemon)["one"] == hash_before
        second.unlink()
        save(daemon.folder / "other.json", document(place(daemon, "other"), ONLY_ALLOWED))
        until(lambda: "other" in policies(daemon), "a later change is seen")
        assert policies(daemon)["one"] == hash_before
        save(second, document(box, ONLY_ALLOWED))
        first.unlink()
        await_log(daemon, f"{second}: left out")
        prober.check()
    save(second, document(box, ONLY_DENIED))
    allows(box, DENIED4, ALLOWED4)


def test_documents_may_exchange_their_ids(daemon):
    boxes = [place(daemon, name) for name in ("x", "y")]
    files = [daemon.folder / "1.json", daemon.folder / "2.json"]
    for box, path in zip(boxes, files):
        save(path, document(box, ONLY_ALLOWED))
    until(lambda: len(policies(daemon)) == 2, "both are attached")
    for box, path in zip(reversed(boxes), files):
        save(path, document(box, ONLY_DENIED))
    for box in boxes:
        allows(box, DENIED4, ALLOWED4)
    # Another id in the same place: the one before has no document any more, and gives it up.
    renamed = Box(daemon, "z", boxes[0].cgroup)
    save(files[1], document(renamed, ONLY_ALLOWED))
    until(lambda: set(policies(daemon)) == {"y", "z"}, "it has another name")
    allows(renamed, ALLOWED4, DENIED4)


def test_a_document_that_names_another_place_leaves_what_is_attached(daemon):
    box, other = place(daemon, "one"), place(daemon, "two")
    path = daemon.folder / "one.json"
    save(path, document(box, ONLY_ALLOWED))
    until(lambda: "one" in policies(daemon), "it is attached")
    save(path, document(Box(daemon, "one", other.cgroup), BOTH))
    await_log(daemon, "take its document away before it names another place")
    assert not is_answered(box, DENIED4)
    assert is_answered(other, DENIED4), "the control: nothing is attached there"


def test_a_document_takes_no_sandbox_of_the_api(daemon):
    box = daemon.attach("one", daemon.cgroup("one"), ONLY_ALLOWED)
    path = daemon.folder / "one.json"
    save(path, document(box, BOTH))
    await_log(daemon, "there is a sandbox 'one' already, made by the API")
    assert not is_answered(box, DENIED4)
    save(daemon.folder / "below.json", json.dumps({"id": "below", "cgroup": str(box.cgroup), "policy": {}, "allowWeak": True}))
    await_log(daemon, "meets the cgroup of sandbox 'one'")
    path.unlink()
    save(daemon.folder / "last.json", document(place(daemon, "last"), ONLY_ALLOWED))
    until(lambda: set(policies(daemon)) == {"one", "last"}, "a later file is seen")
    assert not is_answered(box, DENIED4)


@pytest.mark.parametrize("name", ["Upper", "dot.ted", "a/b", "../up", "", "x" * 65, "spa ce", "nul\0"])
def test_an_id_that_is_none_is_refused(daemon, name):
    cgroup = daemon.cgroup("place")
    path = daemon.folder / "bad.json"
    save(path, json.dumps({"id": name, "cgroup": str(cgroup), "policy": {}, "allowWeak": True}))
    await_log(daemon, str(path))
    assert not policies(daemon)
    assert sorted(os.listdir(daemon.directory)) == ["posternd.json", "sandboxes.d", "sock", "state"]


def test_sighup_finds_a_directory_that_was_not_there(net):
    with Daemon(net, start=False) as daemon:
        daemon.folder.rmdir()
        daemon.start()
        await_log(daemon, "SIGHUP looks again")
        box = place(daemon, "one")
        daemon.folder.mkdir()
        save(daemon.folder / "one.json", document(box, ONLY_ALLOWED))
        daemon.process.process.send_signal(signal.SIGHUP)
        until(lambda: "one" in policies(daemon), "it is attached")
        # From then on it is followed.
        save(daemon.folder / "one.json", document(box, ONLY_DENIED))
        allows(box, DENIED4, ALLOWED4)


def test_many_documents_at_once(daemon):
    count = 1000 if LONG else 150
    boxes = [place(daemon, f"b{n}") for n in range(count)]
    slow = []

    def watch():
        while not done.is_set():
            slow.append(daemon.get("/healthz", timeout=60).status)
    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for box in boxes:
            save(daemon.folder / f"{box.id}.json", document(box, ONLY_ALLOWED))
        until(lambda: len(policies(daemon)) == count, "all are attached", 60)
        for box in boxes[:-1]:
            (daemon.folder / f"{box.id}.json").unlink()
        until(lambda: len(policies(daemon)) == 1, "all but one are gone", 60)
    finally:
        done.set()
        watcher.join()
    assert set(slow) == {200}
    assert not is_answered(boxes[-1], DENIED4) and is_answered(boxes[0], DENIED4)

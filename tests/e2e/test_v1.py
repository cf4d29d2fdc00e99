# SPDX-License-Identifier: MIT
"""What the native routes tell of an attachment: its warnings at once, its level and holes when they are asked for."""

import subprocess
from pathlib import Path

from daemon import DENY_ALL
from postern import Running
from wait import until

# Opens a socket, then goes inside.
EARLY = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write("0")
print("inside", flush=True)
sys.stdin.read()
"""


def test_the_reply_to_an_attach_has_the_warnings_of_its_policy(daemon):
    for policy, count in ((DENY_ALL, 0), ({**DENY_ALL, "allowOut": ["1.1.1.1", "10.0.0.1", "192.168.0.0/16"]}, 2)):
        body = {"id": f"box{count}", "cgroup": str(daemon.cgroup(f"warned{count}")), "policy": policy,
                "allowWeak": True}
        reply = daemon.request("POST", "/v1/sandboxes", body)
        assert reply.status == 201 and len(reply.json["warnings"]) == count, reply
        assert all(warning in reply.headers["x-postern-warnings"] for warning in reply.json["warnings"])
        shown = daemon.get(f"/v1/sandboxes/box{count}").json
        assert "warnings" not in shown and {**shown, "warnings": reply.json["warnings"]} == reply.json


def holes(sandbox):
    return {hole["name"] for hole in sandbox["assurance"]["holes"]}


def test_a_list_tells_levels_as_of_now_when_asked_to(daemon):
    quiet, early = (daemon.attach(name, daemon.cgroup(name)) for name in ("quiet", "early"))

    def listed():
        reply = daemon.get("/v1/sandboxes?assurance=1")
        assert reply.status == 200, reply
        return {sandbox["id"]: sandbox for sandbox in reply.json["sandboxes"]}
    before = listed()
    assert set(before) == {"quiet", "early"} and holes(before["quiet"]) == holes(before["early"])
    with Running(daemon.net, ["/usr/bin/python3", "-S", "-c", EARLY, str(early.cgroup)],
                 stdin=subprocess.PIPE) as process:
        process.await_line(lambda line: line == "inside", "it is inside")
        now = listed()
        assert holes(now["quiet"]) == holes(before["quiet"])
        assert now["early"]["assurance"] == early.show()["assurance"]
        # Where LSM programs can be attached, an earlier socket is held as any other.
        assert "earlier-sockets" in holes(now["early"]) or "bpf" in Path("/sys/kernel/security/lsm").read_text("ascii")
        assert now["early"]["assurance"]["level"] == ("weak" if holes(now["early"]) else "strong")
        assert holes(now["early"]) > holes(before["early"]), "root's capabilities, if nothing else"
    until(lambda: holes(listed()["early"]) == holes(before["early"]), "it is gone")
    assert all("assurance" not in sandbox for sandbox in daemon.boxes())
    assert quiet.show()["assurance"] == before["quiet"]["assurance"]
    assert daemon.get("/v1/sandboxes?assurance=yes").status == 400

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


E2B_RESOLVER = "8.8.8.8"


def test_the_resolver_of_e2bs_templates_stays_trusted_whichever_route_changes_the_policy(daemon):
    """It is the sandbox's, not the document's; so a change for many loads two policies."""
    named = {**DENY_ALL, "allowOut": ["example.com"]}
    e2b, native = daemon.create(DENY_ALL), daemon.attach("native", daemon.cgroup("native"), DENY_ALL)
    reply = daemon.request("PUT", "/v1/policies", {"ids": [native.id, e2b.id], "policy": named})
    assert reply.status == 200, reply
    many = [box.show() for box in (e2b, native)]
    single = [(box.put(named), box.show())[1] for box in (e2b, native)]
    assert [shown["policyHash"] for shown in many] == [shown["policyHash"] for shown in single]
    assert many[0]["policyHash"] != many[1]["policyHash"]
    assert [E2B_RESOLVER in shown["resolvers"] for shown in many] == [True, False]
    assert daemon.request("PUT", "/v1/policies", {"ids": [native.id, e2b.id], "policy": DENY_ALL}).status == 200
    hashes = [box.show()["policyHash"] for box in (e2b, native)]
    daemon.kill()
    daemon.start()
    for box, expected in zip((e2b, native), hashes):
        shown = box.show()
        assert shown["state"] == "running" and shown["policyHash"] == expected, shown

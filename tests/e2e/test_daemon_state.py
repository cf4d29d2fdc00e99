# SPDX-License-Identifier: MIT
"""What posternd tells of its sandboxes: the live stream, metrics, explain, leases, rules, flows, and dry runs."""

import contextlib
import json
import re
import subprocess
import threading
import time

import pytest

from daemon import DENY_ALL, Daemon, UnixConnection
from internet import ALLOWED4, DENIED4, PORT, canary
from names import place_of, steps
from postern import POSTERN, flow
from reach import is_answered
from resolver import ADDRESSES, OFF_LIST, V4
from wait import until

ONLY_ALLOWED = {**DENY_ALL, "allowOut": ["93.184.216.0/24"]}
RESOLVER = ADDRESSES["unbound"]["public"]
NAMES = {**DENY_ALL, "allowOut": ["v4.example.com"]}


@pytest.fixture
def named(net, resolvers):
    """One that trusts the resolver."""
    with Daemon(net, resolvers=[RESOLVER]) as running:
        yield running


class Stream:
    """GET /v1/events, read in the background."""

    def __init__(self, daemon, query=""):
        self.connection = UnixConnection(daemon.socket, 60)
        self.connection.request("GET", f"/v1/events{query}")
        self.reply = self.connection.getresponse()
        assert self.reply.status == 200
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self.reply:
                if line.strip():
                    self.lines.append(json.loads(line))

    def events(self):
        return [line for line in list(self.lines) if "verdict" in line]

    def lost(self):
        return sum(line.get("lost", 0) for line in list(self.lines))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.connection.sock.shutdown(2)
        self.connection.close()
        self.thread.join(5)


def metrics(daemon):
    """The samples of /metrics, by their text before the value."""
    reply = daemon.get("/metrics")
    assert reply.status == 200, reply
    lines = [line for line in reply.body.decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def denials(daemon, reason="default-deny"):
    return metrics(daemon)[f'postern_denials_total{{reason="{reason}"}}']


def test_a_denial_is_an_event_with_its_advice(daemon, net):
    box = daemon.create({})
    box.put({**DENY_ALL, "allowOut": [f"{DENIED4}:9"]})
    with Stream(daemon, f"?sandbox={box.id}") as stream:
        token = canary()
        net.forbid(token)
        done = box.run(flow("tcp", DENIED4, PORT, token))
        assert done.code != 0, done
        until(stream.events, "the denial is told")
    event = stream.events()[0]
    assert (event["sandbox"], event["verdict"], event["reason"]) == (box.id, "deny", "default-deny")
    assert (event["address"], event["port"], event["protocol"]) == (DENIED4, PORT, "tcp")
    assert event["comm"] == "flow" and event["count"] == 1 and event["pid"] > 1
    assert event["nearest"] == f"allowOut[0] {DENIED4}:9" and DENIED4 in event["fix"], event


def test_a_stream_has_its_sandbox_alone(daemon):
    box, other = daemon.create(DENY_ALL), daemon.create(DENY_ALL)
    with Stream(daemon, f"?sandbox={box.id}") as mine, Stream(daemon) as everybody:
        for each in (other, box):
            assert each.run(flow("tcp", DENIED4, PORT, canary())).code != 0
        until(lambda: {box.id, other.id} == {e["sandbox"] for e in everybody.events()}, "both denials are told")
        until(mine.events, "the denial is told")
        assert {e["sandbox"] for e in mine.events()} == {box.id}


def test_an_allowed_connection_is_no_event(daemon, net):
    box = daemon.create(ONLY_ALLOWED)
    with Stream(daemon) as stream:
        token, since = canary(), net.mark()
        assert box.run(flow("tcp", ALLOWED4, PORT, token)).code == 0
        net.await_seen(token=token, since=since)
        assert box.run(flow("tcp", DENIED4, PORT, canary())).code != 0
        until(stream.events, "the denial behind it is told")
    assert {e["address"] for e in stream.events()} == {DENIED4}


def test_an_event_names_the_rule_behind_it(daemon):
    box = daemon.create({})
    box.put({"denyOut": [f"{DENIED4}/32"]})
    with Stream(daemon) as stream:
        assert box.run(flow("tcp", DENIED4, PORT, canary())).code != 0
        until(stream.events, "the denial is told")
    assert stream.events()[0]["rule"] == f"denyOut[0] {DENIED4}/32"


FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        s.sendto(b"x", (sys.argv[1], 7000))
    except PermissionError:
        sent += 1
print("denied", sent, flush=True)
"""


def test_a_flood_of_denials_is_counted_and_holds_up_nobody(daemon):
    box = daemon.create(DENY_ALL)
    before, slowest = denials(daemon), 0
    with Stream(daemon) as stream:
        with box.start(["/usr/bin/python3", "-S", "-c", FLOOD, DENIED4, "3"]) as flood:
            until(stream.events, "it has begun")
            while flood.process.poll() is None:
                start = time.monotonic()
                assert daemon.get("/healthz").status == 200
                slowest = max(slowest, time.monotonic() - start)
            assert flood.wait() == 0, flood.text()
        refused = int(flood.lines[-1].split()[1])
        assert refused > 5000, "the control: a flood"
        counted = denials(daemon) - before
        assert counted == refused
        until(lambda: len(stream.events()) + stream.lost() == refused, "each denial is an event, or counted as lost")
    assert stream.lost() > 0 and len(stream.events()) >= 512
    assert slowest < 1, f"a request took {slowest:.2f} s"
    assert metrics(daemon)["postern_events_lost_total"] == stream.lost()
    assert metrics(daemon)[f'postern_sandbox_events_lost_total{{sandbox="{box.id}"}}'] == stream.lost()


def test_the_log_has_one_line_for_many_denials(daemon):
    box = daemon.create(DENY_ALL)
    for _ in range(20):
        assert box.run(flow("tcp", DENIED4, PORT, canary())).code != 0
    until(lambda: metrics(daemon)["postern_events_total"] == 20, "all were read")
    daemon.stop()
    lines = [line for line in daemon.log_lines() if line.get("sandbox.id") == box.id and "event.count" in line]
    assert [line["event.count"] for line in lines] == ["20"], lines
    assert lines[0]["reason"] == "default-deny" and lines[0]["destination.address"] == DENIED4


def test_metrics_are_what_promtool_reads(daemon):
    box = daemon.create(ONLY_ALLOWED)
    assert box.run(flow("tcp", ALLOWED4, PORT, canary())).code == 0
    assert box.run(flow("tcp", DENIED4, PORT, canary())).code != 0
    text = daemon.get("/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not re.search(rb"\d+\.\d+\.\d+\.\d+", text), "no address in a label"
    found = metrics(daemon)
    assert found['postern_sandboxes{state="running"}'] == 1 and found["postern_ready"] == 1
    assert found[f'postern_sandbox_rule_connections_total{{sandbox="{box.id}",rule="1"}}'] == 1
    assert found['postern_slots{pool="policy"}'] >= 1


def test_sandboxes_beyond_the_limit_have_no_series(net):
    with Daemon(net, limits={"metrics": 1}) as daemon:
        first, second = daemon.create({}), daemon.create({})
        text = daemon.get("/metrics").body.decode()
        assert first.id in text and second.id not in text
        assert metrics(daemon)["postern_sandboxes_unlabelled"] == 1
        assert metrics(daemon)['postern_sandboxes{state="running"}'] == 2


@pytest.mark.parametrize("to", [ALLOWED4, DENIED4, f"{DENIED4}:53", "https://example.com/x", "example.com:22", "127.0.0.1",
                                "169.254.169.254"])
def test_explain_is_that_of_the_command_line(daemon, tmp_path, to):
    policy = {**ONLY_ALLOWED, "allowOut": ["93.184.216.0/24", "*.example.org"]}
    box = daemon.create({})
    box.put(policy)
    (tmp_path / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    done = subprocess.run(daemon.net.host.command([POSTERN, "explain", "-o", "json", "--policy",
                                                   str(tmp_path / "policy.json"), to]), capture_output=True, check=False)
    reply = daemon.get(f"/v1/explain?sandbox={box.id}&to={to}")
    assert reply.status == 200, reply
    assert reply.body == done.stdout, done


def test_explain_refuses_what_is_no_destination(daemon):
    box = daemon.create({})
    reply = daemon.get(f"/v1/explain?sandbox={box.id}&to=10.0.0.0/8")
    assert reply.status == 400 and b"one address" in reply.body, reply


def test_an_answer_is_a_lease_that_explain_goes_by(named):
    # Natively put: on E2B's own route names are the relay's to check.
    box = named.create({})
    box.put(NAMES)
    url = f"/v1/explain?sandbox={box.id}&to={V4}:443"
    assert named.get(url).json["verdict"] == "deny", "the control: nobody has asked"
    done = box.run(steps(f"ask {RESOLVER} v4.example.com"))
    assert done.op("answer").result == "ok", done
    lease, = named.get(f"/v1/sandboxes/{box.id}/leases").json["leases"]
    assert (lease["name"], lease["address"], lease["rule"]) == ("v4.example.com", V4, "allowOut[0] v4.example.com")
    assert lease["ageSeconds"] < 10 and 290 <= lease["leftSeconds"] <= 301
    answer = named.get(url).json
    assert (answer["verdict"], answer["reason"], answer["name"]) == ("allow", "lease", "v4.example.com")


def test_an_expired_lease_is_told_with_its_age(named):
    box = named.create({})
    box.put({**NAMES, "dns": {"minTtl": 1, "maxTtl": 1}})
    done = box.run(steps(f"ask {RESOLVER} v4.example.com"))
    assert done.op("answer").result == "ok", done
    url = f"/v1/explain?sandbox={box.id}&to={V4}:443"
    until(lambda: named.get(url).json["reason"] == "lease-expired", "the lease has expired", 10)
    answer = named.get(url).json
    assert answer["verdict"] == "deny" and 1 <= answer["age"] <= 15, answer


def test_rules_count_what_they_let_through(daemon):
    box = daemon.create(ONLY_ALLOWED)
    for _ in range(3):
        assert box.run(flow("tcp", ALLOWED4, PORT, canary())).code == 0
    assert box.run(flow("tcp", DENIED4, PORT, canary())).code != 0
    rules = {r["number"]: r for r in daemon.get(f"/v1/sandboxes/{box.id}/rules").json["rules"]}
    assert rules[1]["rule"] == "allowOut[0] 93.184.216.0/24" and rules[1]["connections"] == 3, rules
    assert rules[0]["rule"] == "default" and rules[1]["bytes"] > 0
    assert rules[1]["lastHit"], rules


def held(box, address, tmp_path):
    """A connection from inside that stays open until the file is there."""
    go = tmp_path / "go"
    process = box.start(steps(f"keep {address} {PORT} {canary()}", f"await {go}", f"again {canary()}"))
    process.await_line(lambda line: line.startswith("connect ok"), "it is connected")
    return process, go


def test_flows_are_those_that_are_open(daemon, tmp_path):
    box, other = daemon.create(ONLY_ALLOWED), daemon.create(ONLY_ALLOWED)
    process, go = held(box, ALLOWED4, tmp_path)
    with process:
        here, = daemon.get(f"/v1/sandboxes/{box.id}/flows").json["flows"]
        assert (here["protocol"], here["remote"], here["remotePort"]) == ("tcp", ALLOWED4, PORT)
        assert daemon.get(f"/v1/sandboxes/{other.id}/flows").json["flows"] == []
        go.write_text("", encoding="ascii")
        assert process.wait() == 0, process.text()
    until(lambda: not daemon.get(f"/v1/sandboxes/{box.id}/flows").json["flows"], "it is closed")


def test_udp_peers_are_flows(daemon):
    box = daemon.create(ONLY_ALLOWED)
    assert box.run(flow("udp", ALLOWED4, PORT, canary())).code == 0
    peer, = daemon.get(f"/v1/sandboxes/{box.id}/flows").json["flows"]
    assert (peer["protocol"], peer["direction"], peer["remote"], peer["remotePort"]) == ("udp", "out", ALLOWED4, PORT)


def test_a_dry_run_tells_and_changes_nothing(daemon, tmp_path):
    box = daemon.create({})
    box.put(ONLY_ALLOWED)
    assert box.run(flow("udp", ALLOWED4, PORT, canary())).code == 0
    process, go = held(box, ALLOWED4, tmp_path)
    with process:
        before = box.show()
        url = f"/v1/sandboxes/{box.id}/policy?dry_run=1"
        told = daemon.request("PUT", url, {**DENY_ALL, "allowOut": [DENIED4]}).json
        assert told["rules"] == ["allowOut[0] 93.184.216.0/24: removed", f"allowOut[0] {DENIED4}: added"]
        assert any(line.startswith("tcp ") and f"{ALLOWED4}:{PORT}: would end" in line for line in told["flows"]), told
        assert any(line.startswith("udp ") and f"{ALLOWED4}:{PORT}: would be denied (default-deny)" in line
                   for line in told["flows"]), told
        assert daemon.request("PUT", url, {**ONLY_ALLOWED}).json["flows"] == [], "the control: the same policy"
        assert told["dryRun"] and not told["changed"] and told["policyHash"] != before["policyHash"]
        assert box.show() == before
        go.write_text("", encoding="ascii")
        assert process.wait() == 0 and process.ops()[-1].result == "ok", f"it goes on\n{process.text()}"
    assert box.run(flow("tcp", ALLOWED4, PORT, canary())).code == 0
    daemon.restart()
    shown = box.show()
    assert (shown["generation"], shown["policyHash"]) == (before["generation"], before["policyHash"])


def test_what_a_dry_run_says_would_end_ends(daemon, tmp_path):
    box = daemon.create({})
    box.put(ONLY_ALLOWED)
    process, go = held(box, ALLOWED4, tmp_path)
    with process:
        told = daemon.request("PUT", f"/v1/sandboxes/{box.id}/policy?dry_run=1", DENY_ALL).json
        assert len(told["flows"]) == 1, told
        box.put(DENY_ALL)
        go.write_text("", encoding="ascii")
        process.wait()
        assert process.ops()[-1].result != "ok", process.text()


def test_a_dry_run_tells_settings_and_names(named):
    box = named.create({})
    box.put(NAMES)
    assert box.run(steps(f"ask {RESOLVER} v4.example.com")).op("answer").result == "ok"
    told = named.request("PUT", f"/v1/sandboxes/{box.id}/policy?dry_run=1",
                         {"denyOut": [OFF_LIST], "inbound": "deny", "audit": True}).json
    assert "default: allow instead of deny" in told["rules"] and "inbound: deny instead of allow" in told["rules"]
    assert "audit: true instead of false" in told["rules"]
    told = named.request("PUT", f"/v1/sandboxes/{box.id}/policy?dry_run=1",
                         {**DENY_ALL, "allowOut": ["example.org"]}).json
    assert told["names"] == ["v4.example.com: deny instead of allow (name-gate)"], told


def test_a_name_that_is_learned_names_the_flow(net, web, named, tmp_path):
    box = named.create({})
    box.put(NAMES)
    place = place_of(net, tmp_path)
    go = tmp_path / "go"
    argv = place.here(steps("look v4.example.com", "keep v4.example.com 80 x", f"await {go}"))
    with box.start(argv) as process:
        process.await_line(lambda line: line.startswith("connect ok"), "it is connected")
        flows = named.get(f"/v1/sandboxes/{box.id}/flows").json["flows"]
        assert ("tcp", V4, "v4.example.com") in {(f["protocol"], f["remote"], f["name"]) for f in flows}, flows
        go.write_text("", encoding="ascii")


def test_a_start_with_other_resolvers_compiles_what_is_stored_again(net):
    with Daemon(net, resolvers=[ALLOWED4]) as daemon:
        box = daemon.create(DENY_ALL)
        before = box.show()
        daemon.restart()
        same = box.show()
        assert (same["generation"], same["policyHash"]) == (before["generation"], before["policyHash"]), "the control"
        daemon.config["resolvers"] = [DENIED4]
        daemon.restart()
        after = box.show()
        assert DENIED4 in after["resolvers"] and ALLOWED4 not in after["resolvers"]
        assert after["generation"] > same["generation"] and after["policyHash"] != same["policyHash"]
        assert after["policy"] == before["policy"] and not is_answered(box)

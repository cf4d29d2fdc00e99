# SPDX-License-Identifier: MIT
"""The documents of posternd say what is there: routes, holes, metrics, keys, and scripts that run."""

import json
import os
import re
import subprocess

from daemon import POSTERND, TENANT_KEY
from postern import ROOT, execute
from wire import Wire

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples" / "posternd"


def text(*parts):
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def lines_of_json(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith(("{", "["))]


def test_every_route_is_documented_and_no_other():
    table = re.findall(r'(?:E2B|BRIMBLE|NATIVE)?[({]"([A-Z]+)", "(/[^"]*)"', text("user", "api", "routes.c"))
    assert len(table) >= 30
    documented = re.findall(r"`(GET|PUT|POST|DELETE) (/[^`?]*)[^`]*`", text("docs", "API.md"))
    assert set(documented) == set(table)


def test_every_hole_has_its_name_in_the_documents():
    names = re.findall(r'\[MEMBERS_[A-Z_]+\] = "([a-z-]+)"', text("user", "kern", "members_holes.c"))
    names += re.findall(r'hole->name = "([a-z-]+)"', text("user", "daemon", "device_life.c"))
    assert len(names) == 9
    holes = text("docs", "OPERATING.md").split("### Holes")[1].split("###")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", holes, re.M)) == {*names, "unknown"}


def test_every_metric_that_is_documented_is_there(daemon):
    daemon.create({"denyOut": ["0.0.0.0/0"]})
    there = set(re.findall(r"^# TYPE (\w+)", daemon.get("/metrics").body.decode(), re.M))
    for name, rest in re.findall(r"\bpostern_(\w*)(\{[a-z,]+\}_\w+)?", text("docs", "OPERATING.md")):
        wanted = [f"postern_{name}"]
        if rest:
            inner, tail = rest[1:].split("}")
            wanted = [f"postern_{name}{word}{tail}" for word in inner.split(",")]
        assert set(wanted) <= there, wanted


def test_every_key_of_the_configuration_is_in_its_manual():
    keys = set(re.findall(r'\{"(\w+)", \w+, (?:true|false)\}', text("user", "daemon", "config.c")))
    keys |= set(re.findall(r'\{"(\w+)", \d+, \w+, ', text("user", "daemon", "config.c")))
    relay = text("user", "daemon", "config_relay.c")
    keys |= set(re.findall(r'\{"(\w+)", \w+, (?:true|false)\}', relay))
    limits = re.findall(r'\{"(\w+)", \d+, [\d *]+, ', relay)
    assert len(limits) == 6
    keys |= set(limits)
    assert len(keys) > 15
    manual = text("docs", "man", "posternd.8")
    assert not [key for key in keys if not re.search(rf"\.(It )?Sy {key}\b", manual)]


def test_every_denial_of_the_relay_says_what_to_do_next():
    codes = re.findall(r'X\((\d+), \w+, "([a-z-]+)",', text("include", "pst_reason.h"))
    relayed = {name for code, name in codes if int(code) in (29, 30, 31) or int(code) >= 48}
    assert len(relayed) == 18
    advice = text("docs", "OPERATING.md").split("Those of the relay")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", advice, re.M)
    assert set(re.findall(r"`([a-z-]+)`", " ".join(rows))) == relayed


def test_the_configuration_of_the_examples_is_right():
    done = subprocess.run([POSTERND, "-n", "-c", EXAMPLES / "posternd.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.endswith(": ok\n"), done


def test_the_document_of_the_examples_is_taken(daemon):
    document = json.loads((EXAMPLES / "sandboxes.d" / "builds.json").read_text("utf-8"))
    cgroup = daemon.cgroup("builds")
    reply = daemon.request("POST", "/v1/sandboxes", {**document, "cgroup": str(cgroup), "allowWeak": True})
    assert reply.status == 201 and reply.json["policy"]["allowOut"] == document["policy"]["allowOut"], reply


def test_the_document_of_a_device_is_taken(net, daemon):
    document = json.loads((EXAMPLES / "sandboxes.d" / "vm7.json").read_text("utf-8"))
    with Wire(net, "tap", device=document["netdev"]) as wire:
        reply = daemon.request("POST", "/v1/sandboxes", document)
        assert reply.status == 201 and reply.json["device"]["ifindex"] == wire.index, reply
        assert reply.json["assurance"]["level"] == "strong"


def test_the_script_of_e2bs_calls_runs(daemon):
    done = execute(daemon.net, [EXAMPLES / "e2b.sh", f"http://127.0.0.1:{daemon.port}"],
                   env={**os.environ, "KEY": TENANT_KEY, "no_proxy": "*"})
    assert done.code == 0, done
    created, shown, connected, page = lines_of_json(done.out)
    assert shown["network"]["allowOut"] == ["api.example.org", "93.184.216.0/24"]
    assert created["sandboxID"] == shown["sandboxID"] == connected["sandboxID"] == page[0]["sandboxID"]
    assert daemon.boxes() == []


def test_the_script_of_native_calls_runs(daemon):
    cgroup = daemon.cgroup("native")
    done = execute(daemon.net, [EXAMPLES / "native.sh", f"{daemon.name}/{cgroup.name}", daemon.socket],
                   env={**os.environ, "no_proxy": "*"})
    assert done.code == 0, done
    created, tried, changed, explained, rules, shown = lines_of_json(done.out)
    assert tried["dryRun"] and tried["rules"] == ["allowOut[1] *.example.org: added"]
    assert changed["changed"] and shown["generation"] == changed["generation"] > created["generation"]
    assert explained["verdict"] == "deny" and len(rules["rules"]) == 3
    assert daemon.boxes() == [] and cgroup.exists()


def test_the_tests_that_hold_a_promise_are_there():
    """tools/spec.py asks, behind all tests, whether they ran."""
    named = set(re.findall(r"`((?:e2e|unit|bpf|fuzz|bypass)/[\w.]+)(?:::(\w+))?`", text("docs", "SPECIFICATION.md")))
    assert len(named) > 100
    assert not [name for name, _ in named if not (ROOT / "tests" / name).exists()]
    assert not [(name, test) for name, test in named if not re.search(rf"\b{test}\b", text("tests", *name.split("/")))]


def test_no_link_is_dead():
    dead = []
    for page in [ROOT / "README.md", ROOT / "tests" / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:\s]+)\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                dead.append((page.name, target))
    assert not dead

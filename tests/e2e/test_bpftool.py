# SPDX-License-Identifier: MIT
"""What an operator sees with bpftool: short names, maps that print as named fields."""

import json
import os
from pathlib import Path

import pytest

from internet import ALLOWED4, ALLOWED4_NET, DENIED4, PORT
from netns import shell
from postern import Running, cgroup_of, child_of, flow, postern_run

NAME_MAX = 15


@pytest.fixture
def pins(net):
    """The pins of a run that has allowed and denied something and still runs: kind -> paths."""
    calls = [" ".join(flow("tcp", address, PORT, "x")) for address in (ALLOWED4, DENIED4)]
    script = "; ".join([*calls, "echo up", "sleep 60"])
    before = set(os.listdir("/sys/fs/bpf/postern-run")) if os.path.isdir("/sys/fs/bpf/postern-run") else set()
    with Running(net, postern_run(["--allow", ALLOWED4_NET], ["sh", "-c", script])) as run:
        run.await_line(lambda line: line == "up", "the command has tried")
        directory = Path("/sys/fs/bpf/postern-run") / cgroup_of(child_of(run.pid)).rsplit("/", 1)[1]
        assert directory.name not in before and directory.is_dir()
        yield {kind: sorted((directory / kind).iterdir()) for kind in ("links", "maps")}


def bpftool(*argv):
    return json.loads(shell("bpftool", "-j", *map(str, argv)))


def test_every_name_is_short_and_ours(pins):
    maps = [bpftool("map", "show", "pinned", path) for path in pins["maps"]]
    assert maps
    for entry in maps:
        assert entry["name"].startswith("pst_") and len(entry["name"]) <= NAME_MAX, entry
    for path in pins["links"] + pins["maps"]:
        assert "." not in path.name
    programs = [bpftool("prog", "show", "id", bpftool("link", "show", "pinned", path)["prog_id"])
                for path in pins["links"]]
    for entry in programs:
        assert entry["name"].startswith("pst_") and len(entry["name"]) <= NAME_MAX, entry


def dump(path):
    """The entries of a map as named fields; bpftool only gives bytes where there is no type."""
    entries = bpftool("map", "dump", "pinned", path)
    for entry in entries:
        assert "formatted" in entry, f"{path.name} prints as bytes: {entry}"
    return [entry["formatted"] for entry in entries]


def test_maps_print_as_named_fields(pins):
    maps = {path.name: path for path in pins["maps"]}
    always = dump(maps["pst_always"])
    assert all({"prefixlen", "addr"} <= set(entry["key"]) for entry in always)
    assert all("kind" in entry["value"] for entry in always)
    counters = dump(maps["pst_counters"])
    assert counters


def test_the_sandbox_record_prints(pins):
    maps = {path.name: path for path in pins["maps"]}
    records = dump(maps["pst_sandbox"])
    assert len(records) == 1
    value = records[0]["value"]
    assert value["id"] and value["generation"] and value["cgroup_id"], records

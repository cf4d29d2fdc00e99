# SPDX-License-Identifier: MIT
"""
Policies whose prefixes are in a trie of our own (docs/DESIGN.md, "Large policies"): the same is allowed and denied as by
small ones, for both families and both kinds, over changes to and fro and over the daemon's death; and who reads them sees
what they have written.
"""

import contextlib
import json

import pytest

from daemon import DENY_ALL, Daemon
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, canary
from postern import POSTERN, assert_allowed, assert_denied, execute, flow
from reach import reaches
from wire import Wire

MANY = 4200  # of each family: TABLE_TRIE_FROM is 4,096
FILLING = [f"20.{i >> 8}.{i & 255}.0/24" for i in range(MANY)] + [f"2a10:{i:x}::/48" for i in range(MANY)]
# What is allowed is ALLOWED in the first two of each pair, DENIED in the third.
LARGE = {**DENY_ALL, "allowOut": [ALLOWED4, ALLOWED6, *FILLING]}
LARGE_BY_DEFAULT = {"denyOut": [DENIED4, DENIED6, *FILLING]}
LARGE_TURNED = {**DENY_ALL, "allowOut": [DENIED4, DENIED6, *FILLING]}
SMALL = {**DENY_ALL, "allowOut": [ALLOWED4, ALLOWED6]}
SMALL_TURNED = {**DENY_ALL, "allowOut": [DENIED4, DENIED6]}
TRIES = {"pst_trie_roots", "pst_trie_nodes", "pst_trie_leaves", "pst_trie_rows"}


@pytest.fixture(name="daemon")
def daemon_fixture(net):
    with Daemon(net) as running:
        yield running


@contextlib.contextmanager
def box_of(daemon, net, kind):
    if kind == "cgroup":
        yield daemon.create({})
    else:
        with Wire(net) as wire:
            yield wire.attach(daemon)


def assert_held(box, *, turned=False):
    for mode in ("tcp", "udp-connected"):
        for yes, no in ((ALLOWED4, DENIED4), (ALLOWED6, DENIED6)):
            if turned:
                yes, no = no, yes
            assert reaches(box, yes, mode=mode), f"{yes} by {mode}\n{box.daemon.log()}"
            assert not reaches(box, no, mode=mode), f"{no} by {mode}"


@pytest.mark.parametrize("kind", ["cgroup", "netdev"])
def test_large_and_small_policies_hold_the_same(daemon, net, kind):
    with box_of(daemon, net, kind) as box:
        for policy, turned in ((LARGE, False), (SMALL_TURNED, True), (LARGE_BY_DEFAULT, False),
                               (LARGE_TURNED, True), (SMALL, False)):
            box.put(policy)
            is_large = policy not in (SMALL, SMALL_TURNED)
            assert TRIES & set(box.show()["maps"]) == (TRIES if is_large else set()), "where it is"
            assert_held(box, turned=turned)


@pytest.mark.parametrize("kind", ["cgroup", "netdev"])
def test_a_large_policy_outlives_the_daemon(daemon, net, kind):
    with box_of(daemon, net, kind) as box:
        box.put(LARGE)
        generation = box.show()["generation"]
        daemon.kill()
        assert not reaches(box, DENIED4) and not reaches(box, DENIED6)
        assert reaches(box, ALLOWED4) and reaches(box, ALLOWED6)
        daemon.start()
        shown = box.show()
        assert shown["generation"] == generation and TRIES <= set(shown["maps"])
        assert_held(box)
        box.put(LARGE_TURNED)
        assert_held(box, turned=True)


def test_the_rules_of_a_large_policy_can_be_read(daemon):
    box = daemon.create({})
    box.put({**DENY_ALL, "allowOut": [ALLOWED4, *FILLING]})
    for _ in range(3):
        assert box.run(flow("tcp", ALLOWED4, PORT, canary())).code == 0
    show = [POSTERN, "show", "--rules", "--socket", daemon.socket, box.id]
    head, default, first, *others = (line.split() for line in execute(daemon.net, show).out.splitlines())
    assert head == ["RULE", "HITS", "PACKETS", "BYTES", "LAST", "SAYS"]
    assert default[0] == "0" and default[-1] == "default"
    assert first[:2] == ["1", "3"] and first[-2:] == ["allowOut[0]", ALLOWED4], first
    assert [line[-1] for line in others] == FILLING
    told = execute(daemon.net, [*show, "-o", "json"]).json()["rules"]
    assert [rule["number"] for rule in told] == list(range(len(FILLING) + 2))
    for address, rule in (("20.1.2.3", "allowOut[259] 20.1.2.0/24"), ("[2a10:7::1]", f"allowOut[{MANY + 8}] 2a10:7::/48")):
        answer = daemon.get(f"/v1/explain?sandbox={box.id}&to={address}:443").json
        assert (answer["verdict"], answer["rule"]) == ("allow", rule), answer


def test_run_takes_a_million_entries(net, tmp_path):
    entries = [f"{20 + (i >> 16)}.{i >> 8 & 255}.{i & 255}.0/24" for i in range(999_998)]
    path = tmp_path / "million.json"
    path.write_text(json.dumps({**DENY_ALL, "allowOut": [ALLOWED4, *entries]}))
    policy = ["--policy", path]
    assert_allowed(net, flow("tcp", ALLOWED4, PORT, "CANARY"), policy=policy, op="connect")
    assert_denied(net, flow("tcp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=policy, op="connect")

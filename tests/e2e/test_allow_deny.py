# SPDX-License-Identifier: MIT
"""What is allowed works, what is denied gives EPERM at once and sends nothing: TCP, UDP, IPv4, IPv6, mapped."""

import pytest

from internet import (ALLOWED4, ALLOWED4_NET, ALLOWED6, ALLOWED6_NET, DENIED4, DENIED4_NET, DENIED6,
                      DENIED6_NET, PORT)
from postern import assert_allowed, assert_denied, flow, sandboxed

WAYS = [("tcp", "connect"), ("udp", "sendto"), ("udp-connected", "connect")]
ALLOW = ["--allow", ALLOWED4_NET, "--allow", ALLOWED6_NET]
DENY = ["--deny", DENIED4_NET, "--deny", DENIED6_NET]
ALLOWED = [ALLOWED4, ALLOWED6, "::ffff:" + ALLOWED4]
DENIED = [DENIED4, DENIED6, "::ffff:" + DENIED4]


def send(way, address, port=PORT):
    return flow(way, address, port, "CANARY")


@pytest.mark.parametrize("policy", [ALLOW, DENY], ids=["allow-list", "deny-list"])
@pytest.mark.parametrize("address", ALLOWED)
@pytest.mark.parametrize("way,op", WAYS)
def test_allowed_works(net, way, op, address, policy):
    done = assert_allowed(net, send(way, address), policy=policy, op=op)
    assert done.code == 0 and done.op("recv").result == "ok", done


@pytest.mark.parametrize("policy", [ALLOW, DENY], ids=["allow-list", "deny-list"])
@pytest.mark.parametrize("address", DENIED)
@pytest.mark.parametrize("way,op", WAYS)
def test_denied_is_eperm_at_once(net, way, op, address, policy):
    done = assert_denied(net, send(way, address), address, PORT, policy=policy, op=op)
    assert done.code == 1, done


@pytest.mark.parametrize("way,op", WAYS)
def test_a_rule_with_a_port_allows_that_port_only(net, way, op):
    policy = ["--allow", f"{ALLOWED4_NET}:7000"]
    assert_allowed(net, send(way, ALLOWED4, 7000), policy=policy, op=op)
    other = 8080 if way == "tcp" else 7001
    assert_denied(net, send(way, ALLOWED4, other), ALLOWED4, other, policy=policy, op=op)


def test_a_rule_with_a_range_allows_its_ends_only(net):
    policy = ["--allow", f"{ALLOWED4}:7000-7001"]
    for port in (7000, 7001):
        assert_allowed(net, send("udp", ALLOWED4, port), policy=policy, op="sendto")
    assert_denied(net, send("udp", ALLOWED4, 5353), ALLOWED4, 5353, policy=policy, op="sendto")


@pytest.mark.parametrize("protocol,good,bad", [("tcp", WAYS[0], WAYS[1]), ("udp", WAYS[1], WAYS[0])])
def test_a_rule_with_a_protocol_allows_that_protocol_only(net, protocol, good, bad):
    policy = ["--allow", f"{ALLOWED4}:{PORT}/{protocol}", "--allow", f"[{ALLOWED6}]:{PORT}/{protocol}"]
    for address in (ALLOWED4, ALLOWED6):
        assert_allowed(net, send(good[0], address), policy=policy, op=good[1])
        assert_denied(net, send(bad[0], address), address, policy=policy, op=bad[1])


def test_a_deny_rule_with_a_port_denies_that_port_only(net):
    policy = ["--deny", f"{ALLOWED4_NET}:7000/tcp"]
    assert_denied(net, send("tcp", ALLOWED4, 7000), ALLOWED4, 7000, policy=policy, op="connect")
    assert_allowed(net, send("tcp", ALLOWED4, 8080), policy=policy, op="connect")
    assert_allowed(net, send("udp", ALLOWED4, 7000), policy=policy, op="sendto")


@pytest.mark.parametrize("allow,deny", [("93.184.0.0/16", ALLOWED4), (ALLOWED4, "93.184.0.0/16")],
                         ids=["wider-allow", "narrower-allow"])
def test_allow_beats_deny_whatever_the_length(net, tmp_path, allow, deny):
    policy = ["--allow", allow, "--deny", deny]
    assert_allowed(net, send("tcp", ALLOWED4), policy=policy, op="connect")
    document = tmp_path / "policy.json"
    document.write_text('{"allowOut": ["%s"], "denyOut": ["%s"]}' % (allow, deny))
    assert_allowed(net, send("udp", ALLOWED4), policy=["--policy", document], op="sendto")


def test_without_options_the_internet_is_open(net):
    for address in (ALLOWED4, DENIED6):
        assert_allowed(net, send("tcp", address), policy=[], op="connect")


def test_one_family_allowed_leaves_the_other_denied(net):
    policy = ["--allow", ALLOWED4_NET]
    assert_denied(net, send("tcp", ALLOWED6), ALLOWED6, PORT, policy=policy, op="connect")
    policy = ["--allow", ALLOWED6_NET]
    assert_denied(net, send("udp", ALLOWED4), ALLOWED4, PORT, policy=policy, op="sendto")


def test_many_rules_are_all_in_force(net):
    policy = []
    for n in range(300):
        policy += ["--allow", f"203.0.{n % 250}.{n // 250}/32:1"]
    policy += ["--allow", ALLOWED4]
    assert_allowed(net, send("tcp", ALLOWED4), policy=policy, op="connect")
    assert_denied(net, send("tcp", DENIED4), DENIED4, PORT, policy=policy, op="connect")


def test_a_child_and_a_detached_grandchild_are_inside_too(net):
    for wrapper in (["sh", "-c", '"$@"; exit $?', "sh"], ["setsid", "-w"], ["sh", "-c", '("$@" & wait $!)', "sh"]):
        done = sandboxed(net, ALLOW, wrapper + flow("tcp", DENIED4, PORT, "x"))
        assert done.op("connect").result == "EPERM", done

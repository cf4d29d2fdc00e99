# SPDX-License-Identifier: MIT
"""Verdict step 6: a trusted resolver works by default, at whatever address; default deny closes it."""

import json
import subprocess

import pytest

from internet import ALLOWED4, ALLOWED4_NET, PRIVATE4
from postern import POSTERN, assert_allowed, assert_denied, environment, flow

RESOLVER = "10.9.0.53"  # private, so that only step 6 can let it through
WAYS = [("udp", "sendto"), ("udp-connected", "connect"), ("tcp", "connect")]


@pytest.mark.parametrize("way,op", WAYS)
def test_a_trusted_resolver_passes_although_always_denied(net, way, op):
    argv = flow(way, RESOLVER, 53, "CANARY")
    assert_denied(net, argv, RESOLVER, 53, policy=[], op=op)
    assert_allowed(net, argv, policy=["--resolver", RESOLVER], op=op)


def test_only_its_port_53(net):
    policy = ["--resolver", RESOLVER]
    assert_denied(net, flow("udp", RESOLVER, 5353, "CANARY"), RESOLVER, 5353, policy=policy, op="sendto")
    assert_denied(net, flow("tcp", RESOLVER, 853, "CANARY"), RESOLVER, 853, policy=policy, op="connect")


def test_the_document_names_resolvers_too(net, tmp_path):
    document = tmp_path / "policy.json"
    document.write_text(json.dumps({"dns": {"resolvers": [RESOLVER]}}))
    assert_allowed(net, flow("udp", RESOLVER, 53, "CANARY"), policy=["--policy", document], op="sendto")


def test_a_deny_rule_does_not_close_a_trusted_resolver(net):
    policy = ["--resolver", "1.1.1.1", "--deny", "1.1.1.0/24"]
    assert_allowed(net, flow("udp", "1.1.1.1", 53, "CANARY"), policy=policy, op="sendto")
    assert_denied(net, flow("udp", "1.1.1.2", 53, "CANARY"), "1.1.1.2", 53, policy=policy, op="sendto")


@pytest.mark.parametrize("way,op", WAYS)
def test_default_deny_without_names_denies_dns(net, way, op):
    policy = ["--resolver", "1.1.1.1", "--allow", ALLOWED4_NET]
    done = assert_denied(net, flow(way, "1.1.1.1", 53, "CANARY"), "1.1.1.1", 53, policy=policy, op=op)
    assert "1.1.1.1" in done.err, done


def test_an_untrusted_resolver_is_named_as_such(net):
    policy = ["--resolver", "1.1.1.1", "--allow", ALLOWED4_NET]
    done = assert_denied(net, flow("udp", "9.9.9.9", 53, "CANARY"), "9.9.9.9", 53, policy=policy, op="sendto")
    assert "untrusted-resolver" in done.err, done


def test_an_allow_rule_opens_dns_by_address(net):
    policy = ["--allow", "9.9.9.9:53"]
    assert_allowed(net, flow("udp", "9.9.9.9", 53, "CANARY"), policy=policy, op="sendto")


def with_resolv_conf(net, tmp_path, argv):
    """Runs argv where /etc/resolv.conf names RESOLVER."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {RESOLVER}\n")
    script = f'mount --make-rprivate / && mount --bind {conf} /etc/resolv.conf && exec "$@"'
    return subprocess.run(net.host.command(["unshare", "-m", "sh", "-c", script, "sh", *argv]),
                          capture_output=True, text=True, check=False, timeout=30, env=environment())


def test_a_program_resolves_names_by_default(net, tmp_path):
    look_up = ["getent", "ahostsv4", "web.example.com"]
    plain = with_resolv_conf(net, tmp_path, look_up)
    assert ALLOWED4 in plain.stdout, plain
    inside = with_resolv_conf(net, tmp_path, [POSTERN, "run", "--", *look_up])
    assert ALLOWED4 in inside.stdout, inside
    closed = with_resolv_conf(net, tmp_path, [POSTERN, "run", "--allow", ALLOWED4, "--", *look_up])
    assert closed.returncode == 2 and ALLOWED4 not in closed.stdout, closed


def test_private_without_port_53_stays_denied(net):
    assert_denied(net, flow("tcp", PRIVATE4, 5432, "CANARY"), PRIVATE4, 5432, op="connect",
                  policy=["--resolver", PRIVATE4])

# SPDX-License-Identifier: MIT
"""The host's always-denied set stands above every allow; --allow-private lifts, and does not allow by itself."""

import json

import pytest

from internet import PORT, PRIVATE4, PRIVATE4_NET
from postern import assert_allowed, assert_denied, flow

ALLOW_ALL = ["--allow", "0.0.0.0/0"]


@pytest.mark.parametrize("policy", [[], ALLOW_ALL, ["--allow", PRIVATE4_NET]], ids=["open", "all", "named"])
def test_private_addresses_are_denied_whatever_is_allowed(net, policy):
    for way, op in (("tcp", "connect"), ("udp", "sendto")):
        done = assert_denied(net, flow(way, PRIVATE4, PORT, "CANARY"), PRIVATE4, PORT, policy=policy, op=op)
        assert "always-denied" in done.err, done


def test_lifted_and_allowed_works(net):
    policy = ["--allow", f"{PRIVATE4_NET}:5432", "--allow-private", PRIVATE4_NET]
    assert_allowed(net, flow("tcp", PRIVATE4, 5432, "CANARY"), policy=policy, op="connect")
    assert_denied(net, flow("tcp", PRIVATE4, PORT, "CANARY"), PRIVATE4, PORT, policy=policy, op="connect")
    assert_denied(net, flow("tcp", "10.9.1.5", 5432, "CANARY"), "10.9.1.5", policy=policy, op="connect")


def test_lifted_alone_is_judged_by_the_rest(net):
    assert_allowed(net, flow("tcp", PRIVATE4, PORT, "CANARY"), policy=["--allow-private", PRIVATE4_NET],
                   op="connect")
    policy = ["--allow-private", PRIVATE4_NET, "--allow", "1.1.1.1"]
    assert_denied(net, flow("tcp", PRIVATE4, PORT, "CANARY"), PRIVATE4, PORT, policy=policy, op="connect")
    policy = ["--allow-private", PRIVATE4_NET, "--deny", PRIVATE4]
    assert_denied(net, flow("tcp", PRIVATE4, PORT, "CANARY"), PRIVATE4, PORT, policy=policy, op="connect")


def test_a_document_may_lift_too(net, tmp_path):
    document = tmp_path / "policy.json"
    document.write_text(json.dumps({"allowPrivate": [PRIVATE4_NET], "allowOut": [f"{PRIVATE4}:5432"],
                                    "denyOut": ["0.0.0.0/0"]}))
    policy = ["--policy", document]
    assert_allowed(net, flow("tcp", PRIVATE4, 5432, "CANARY"), policy=policy, op="connect")
    assert_denied(net, flow("tcp", PRIVATE4, PORT, "CANARY"), PRIVATE4, PORT, policy=policy, op="connect")

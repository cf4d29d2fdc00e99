# SPDX-License-Identifier: MIT
"""--policy FILE in each dialect, and together with options."""

import json
import shutil

import pytest

from internet import ALLOWED4, ALLOWED4_NET, ALLOWED6, DENIED4, DENIED6, PORT
from postern import POSTERN, assert_allowed, assert_denied, execute, flow, sandboxed

TCP = flow("tcp", ALLOWED4, PORT, "CANARY")
DIALECTS = {
    "e2b": {"allowOut": [ALLOWED4_NET], "denyOut": ["0.0.0.0/0"]},
    "e2b-switch": {"allowOut": [ALLOWED4_NET], "allow_internet_access": False},
    "brimble": {"mode": "restricted", "allow": [ALLOWED4]},
    "native": {"allowOut": [f"{ALLOWED4}:{PORT}/tcp"], "denyOut": ["0.0.0.0/0"], "loopback": "own"},
}
DENY_ALL = {
    "e2b": {"denyOut": ["0.0.0.0/0"]},
    "e2b-switch": {"allow_internet_access": False},
    "brimble": {"mode": "deny_all"},
}


@pytest.fixture
def write(tmp_path):
    def write_policy(document):
        path = tmp_path / "policy.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return ["--policy", path]
    return write_policy


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_allows_and_denies(net, write, dialect):
    policy = write(DIALECTS[dialect])
    assert_allowed(net, TCP, policy=policy, op="connect")
    for address in (DENIED4, DENIED6):
        assert_denied(net, flow("tcp", address, PORT, "CANARY"), address, PORT, policy=policy, op="connect")


@pytest.mark.parametrize("dialect", DENY_ALL)
def test_denying_everything_means_both_families(net, write, dialect):
    policy = write(DENY_ALL[dialect])
    for address in (ALLOWED4, ALLOWED6, "::ffff:" + ALLOWED4):
        for way, op in (("tcp", "connect"), ("udp", "sendto")):
            assert_denied(net, flow(way, address, PORT, "CANARY"), address, PORT, policy=policy, op=op)


@pytest.mark.parametrize("document", [{"mode": "open"}, {}, {"denyOut": [DENIED4]}])
def test_a_document_that_denies_little_leaves_the_rest_open(net, write, document):
    policy = write(document)
    assert_allowed(net, TCP, policy=policy, op="connect")
    assert_allowed(net, flow("udp", DENIED6, PORT, "CANARY"), policy=policy, op="sendto")


def test_a_document_from_standard_input(net):
    done = sandboxed(net, ["--policy", "-"], flow("tcp", DENIED4, PORT, "x"), stdin=json.dumps(DENY_ALL["brimble"]))
    assert done.op("connect").result == "EPERM", done


def test_options_add_to_the_document(net, write):
    policy = write(DENY_ALL["e2b"]) + ["--allow", ALLOWED4_NET]
    assert_allowed(net, TCP, policy=policy, op="connect")
    assert_denied(net, flow("tcp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=policy, op="connect")


def test_the_default_is_the_documents(net, write):
    policy = write({"denyOut": [DENIED4]}) + ["--allow", ALLOWED4_NET]
    assert_allowed(net, flow("tcp", DENIED6, PORT, "CANARY"), policy=policy, op="connect")
    assert_denied(net, flow("tcp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=policy, op="connect")


@pytest.mark.parametrize("document,words", [
    ('{"allowOut": ["10.0.0.0/33"]}', "policy.json:1:"),
    ('{"allowOut": ["1.1.1.1"], "allowOut": []}', "duplicate"),
    ('{"allowOuts": []}', "allowOuts"),
    ('{"allowOut": ["1.1.1.1"]', "policy.json:1:"),
    ('{"mode": "shut"}', "mode"),
])
def test_an_invalid_document_stops_before_the_command(net, write, tmp_path, document, words):
    mark = tmp_path / "started"
    done = sandboxed(net, write(document), ["touch", str(mark)])
    assert done.code == 3, done
    assert words in done.err, done
    assert not mark.exists()


@pytest.mark.parametrize("document", [
    {"denyOut": ["0.0.0.0/0"], "egressProxy": {"address": "proxy.example.com:1080"}},
    {"allow_internet_access": False, "hostCheck": "strict"},
])
def test_what_needs_a_relay_is_refused_where_there_is_none(net, write, tmp_path, document):
    """Refused, not ignored: the program alone, in a directory of its own."""
    alone, mark = tmp_path / "postern", tmp_path / "started"
    shutil.copy(POSTERN, alone)
    done = execute(net, [str(alone), "run", *map(str, write(document)), "--", "touch", str(mark)])
    assert done.code == 3 and not mark.exists(), done
    assert "postern-relay" in done.err, done
    done = sandboxed(net, write(document), ["touch", str(mark)])
    assert done.code == 0 and mark.exists(), done


def test_a_name_added_to_a_document_that_allows_by_default(net, write):
    policy = write({"allowOut": ["1.1.1.1"]}) + ["--allow", "example.com"]
    done = sandboxed(net, policy, ["true"])
    assert done.code == 3 and "--allow example.com: " in done.err and "--deny 0.0.0.0/0" in done.err, done
    done = sandboxed(net, policy + ["--deny", "0.0.0.0/0"], ["true"])
    assert done.code == 0, done

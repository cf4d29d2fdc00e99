# SPDX-License-Identifier: MIT
"""
Brimble's calls as its SDK sends them (header of the key, source, envelope), by TCP to posternd, and after each of them
real traffic out of the sandbox: at once, where Brimble asks for a few seconds.
"""

import http.client
import json
import re
from datetime import datetime

import pytest

from daemon import DENY_ALL, OPERATOR_KEY, OTHER_KEY, TENANT_KEY, Box, Daemon
from internet import ALLOWED4, ALLOWED6, DENIED4, PORT, PRIVATE4, canary
from names import steps
from postern import assert_silence, flow
from reach import reaches
from resolver import ADDRESSES, V4
from wait import until

RESOLVER = ADDRESSES["unbound"]["public"]
ONE = {"mode": "restricted", "allow": [ALLOWED4]}
RECORD = {"id": str, "name": str, "template": str, "status": str, "region": dict, "specs": dict, "auto_destroy": bool,
          "one_shot": bool, "block_outbound": bool, "egress": dict, "persistent": bool, "created_at": str,
          "last_activity_at": str, "expires_at": str}
REGION = {"id", "name", "country", "continent", "enabled", "type"}


class Account:
    """Who holds one key; one kept-alive connection, as the SDK's fetch has. Bodies have a length, as a string's do."""

    def __init__(self, daemon, key=TENANT_KEY):
        self.daemon, self.key = daemon, key
        self.connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)

    def call(self, method, path, body=None):
        """Status and JSON (None: no body)."""
        headers = {"x-brimble-key": self.key, "source": "sdk-package", "source-version": "0.1.8",
                   "content-type": "application/json", "accept": "*/*", "user-agent": "node"}

        def talk():
            self.connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = self.connection.getresponse()
            return reply.status, reply.read()
        status, text = self.daemon.net.host.call(talk)
        return status, json.loads(text) if text else None

    def create(self, **fields):
        status, reply = self.call("POST", "/sandboxes", fields)
        assert status == 201, reply
        assert_record(reply["data"])
        return reply["data"], Box(self.daemon, reply["data"]["id"])

    def egress(self, box, egress):
        return self.call("PUT", f"/sandboxes/{box.id}/egress", egress)

    def close(self):
        self.connection.close()


def assert_record(record):
    """Every member that their schema requires, each of its type."""
    for name, kind in RECORD.items():
        assert isinstance(record[name], kind), name
    assert re.fullmatch("[a-f0-9]{24}", record["id"])
    assert REGION <= set(record["region"]) and re.fullmatch("[a-f0-9]{24}", record["region"]["id"])
    assert record["region"]["type"] == "sandbox"
    assert record["status"] in ("ready", "paused")
    assert record["block_outbound"] is (record["egress"]["mode"] == "deny_all")
    created, active, expires = (datetime.fromisoformat(record[key].replace("Z", "+00:00"))
                                for key in ("created_at", "last_activity_at", "expires_at"))
    assert created <= active < expires


@pytest.fixture
def account(daemon):
    ours = Account(daemon)
    yield ours
    ours.close()


def test_brimbles_own_live_test_passes_without_its_pauses(account):
    record, box = account.create(name="egress-live", template="node-22", specs={"cpu": 500, "memory": 512},
                                 egress={"mode": "deny_all"})
    assert (record["name"], record["template"], record["specs"]) == ("egress-live", "node-22",
                                                                      {"cpu": 500, "memory": 512})
    assert record["egress"] == {"mode": "deny_all"} and record["block_outbound"]
    assert not reaches(box) and not reaches(box, DENIED4)
    for egress, allowed, denied in ((ONE, True, False), ({"mode": "open"}, True, True),
                                    ({"mode": "deny_all"}, False, False),
                                    ({"mode": "restricted", "allow": [DENIED4, "93.184.216.0/24"]}, True, True)):
        status, reply = account.egress(box, egress)
        assert (status, reply["message"]) == (200, "Sandbox egress updated")
        assert_record(reply["data"])
        assert reply["data"]["egress"] == egress and reply["data"]["network_updated"] is True
        assert (reaches(box), reaches(box, DENIED4)) == (allowed, denied), egress
    assert account.call("DELETE", f"/sandboxes/{box.id}") == (204, None)
    assert not box.cgroup.exists()


@pytest.mark.parametrize("fields, egress, open_", [
    ({}, {"mode": "open"}, True),
    ({"egress": {"mode": "open"}}, {"mode": "open"}, True),
    ({"blockOutbound": True}, {"mode": "deny_all"}, False),
    ({"egress": {"mode": "restricted"}}, {"mode": "restricted", "allow": []}, False),
    ({"egress": {"mode": "restricted", "allow": []}}, {"mode": "restricted", "allow": []}, False)],
    ids=["nothing", "open", "block", "restricted", "restricted-empty"])
def test_a_sandbox_begins_as_it_was_asked_for(account, fields, egress, open_):
    record, box = account.create(**fields)
    assert record["egress"] == egress
    assert reaches(box) is open_
    assert account.call("GET", f"/sandboxes/{box.id}") == (200, {"message": "Sandbox fetched", "data": record})
    assert account.call("GET", f"/sandboxes/{box.id}/wait")[1]["data"] == record
    # The control for what is closed: the same sandbox, open.
    assert account.egress(box, {"mode": "open"})[0] == 200
    assert reaches(box)


def test_network_updated_is_told_of_a_change_alone(account):
    _, box = account.create(egress=ONE)
    status, reply = account.egress(box, ONE)
    assert status == 200 and "network_updated" not in reply["data"], reply
    status, reply = account.egress(box, {"mode": "open"})
    assert status == 200 and reply["data"]["network_updated"] is True
    assert "network_updated" not in account.call("GET", f"/sandboxes/{box.id}")[1]["data"]
    assert "network_updated" not in account.egress(box, {"mode": "open"})[1]["data"]


def test_deny_all_is_that_of_udp_ipv6_and_what_is_private(account):
    _, box = account.create()
    assert reaches(box, mode="udp") and reaches(box, ALLOWED6)
    assert not reaches(box, PRIVATE4)
    assert account.egress(box, {"mode": "restricted", "allow": [ALLOWED4, "10.0.0.0/8"]})[0] == 200
    assert reaches(box, mode="udp") and not reaches(box, ALLOWED6) and not reaches(box, PRIVATE4)
    assert account.egress(box, {"mode": "deny_all"})[0] == 200
    assert not reaches(box, mode="udp")


def test_a_host_name_is_reached_once_it_has_been_asked_for(net, resolvers):
    assert resolvers
    with Daemon(net, resolvers=[RESOLVER]) as daemon:
        account = Account(daemon)
        _, box = account.create(egress={"mode": "restricted", "allow": ["v4.example.com"]})
        assert not reaches(box, V4), "the control: nobody has asked"
        assert box.run(steps(f"ask {RESOLVER} v4.example.com")).op("answer").result == "ok"
        assert reaches(box, V4), "Brimble's names have every port"
        assert not reaches(box)
        assert account.egress(box, ONE)[0] == 200
        assert not reaches(box, V4) and reaches(box)
        account.close()


def test_a_paused_sandbox_stands_still_and_takes_no_change(account):
    _, box = account.create(egress=ONE)
    status, reply = account.call("POST", f"/sandboxes/{box.id}/pause")
    assert (status, reply["message"], reply["data"]["status"]) == (200, "Sandbox paused", "paused")
    assert_record(reply["data"])
    assert "frozen 1" in (box.cgroup / "cgroup.events").read_text("ascii")
    assert account.egress(box, {"mode": "open"}) == (
        400, {"message": "Sandbox is paused; only ready sandboxes can be updated"})
    assert account.call("POST", f"/sandboxes/{box.id}/pause") == (
        400, {"message": "Sandbox is paused; only ready sandboxes can be paused"})
    net = box.daemon.net
    token, since = canary(), net.mark()
    with box.start(flow("tcp", ALLOWED4, PORT, token)) as waiting:
        until(lambda: (box.cgroup / "cgroup.procs").read_text("ascii").strip(), "it is inside")
        assert_silence(net, since, token)
        assert waiting.process.poll() is None
        status, reply = account.call("POST", f"/sandboxes/{box.id}/resume")
        assert (status, reply["message"], reply["data"]["status"]) == (200, "Sandbox resumed", "ready")
        assert waiting.wait() == 0, waiting.text()
    assert account.call("POST", f"/sandboxes/{box.id}/resume") == (
        400, {"message": "Sandbox is ready; only paused sandboxes can be resumed"})
    assert reaches(box) and not reaches(box, DENIED4)
    assert account.egress(box, {"mode": "open"})[0] == 200
    assert reaches(box, DENIED4)


def test_what_is_wrong_is_told_in_brimbles_shape_and_changes_nothing(account):
    record, box = account.create(egress=ONE)
    put = f"/sandboxes/{box.id}/egress"
    for method, path, body, status, message in (
            ("PUT", put, {}, 400, "no key 'mode'"),
            ("PUT", put, {"mode": "closed"}, 400,
             "mode: unknown word 'closed', expected one of 'open', 'restricted', 'deny_all'"),
            ("PUT", put, {"mode": "restricted"}, 400, "mode 'restricted' needs the key 'allow'"),
            ("PUT", put, {"mode": "restricted", "allow": []}, 400, "allow: expected 1..50 entries, found 0"),
            ("PUT", put, {"mode": "restricted", "allow": ["1.1.1.1"] * 51}, 400,
             "allow: expected 1..50 entries, found 51"),
            ("PUT", put, {"mode": "restricted", "allow": [""]}, 400,
             "allow[0]: expected 1..253 characters, found 0"),
            ("PUT", put, {"mode": "open", "allow": ["1.1.1.1"]}, 400, "allow: only mode 'restricted' takes this key"),
            ("PUT", put, {"mode": "deny_all", "allow": ["1.1.1.1"]}, 400,
             "allow: only mode 'restricted' takes this key"),
            ("PUT", put, {"mode": "open", "alow": []}, 400, "unknown key 'alow', did you mean 'allow'?"),
            ("PUT", "/sandboxes/nonsense/egress", {"mode": "open"}, 400, "Invalid sandbox id"),
            ("PUT", f"/sandboxes/{'0' * 24}/egress", {"mode": "open"}, 404, "Sandbox not found"),
            ("GET", f"/sandboxes/{'0' * 24}", None, 404, "Sandbox not found"),
            ("DELETE", f"/sandboxes/{'0' * 24}", None, 404, "Sandbox not found"),
            ("POST", f"/sandboxes/{'0' * 24}/pause", None, 404, "Sandbox not found"),
            ("POST", "/sandboxes", {"egress": {"mode": "open"}, "blockOutbound": True}, 400,
             "egress and blockOutbound cannot be used together"),
            ("POST", "/sandboxes", {"egress": {"mode": "restricted", "allow": ["a b"]}}, 400, None),
            ("POST", f"/sandboxes/{box.id}/exec", {"cmd": "id"}, 404, None)):
        got, reply = account.call(method, path, body)
        assert got == status and set(reply) == {"message"} and reply["message"], (method, path, body, reply)
        if message:
            assert reply["message"] == message
    assert account.call("GET", f"/sandboxes/{box.id}")[1]["data"] == record
    assert account.call("GET", "/sandboxes") == (200, {"message": "Sandboxes fetched", "data": [record]})
    assert reaches(box) and not reaches(box, DENIED4)


def test_keys_see_their_owners_sandboxes_alone(account, daemon):
    record, box = account.create(egress=ONE)
    for key, status, message in ((OTHER_KEY, 404, "Sandbox not found"), ("wrong", 401, "Invalid API key")):
        stranger = Account(daemon, key)
        for method, path, body in (("PUT", f"/sandboxes/{box.id}/egress", {"mode": "open"}),
                                   ("GET", f"/sandboxes/{box.id}", None), ("DELETE", f"/sandboxes/{box.id}", None),
                                   ("POST", f"/sandboxes/{box.id}/pause", None),
                                   ("POST", f"/sandboxes/{box.id}/resume", None)):
            assert stranger.call(method, path, body) == (status, {"message": message}), (key, method, path)
        stranger.close()
    assert account.call("GET", f"/sandboxes/{box.id}")[1]["data"] == record
    operator = Account(daemon, OPERATOR_KEY)
    assert operator.call("GET", f"/sandboxes/{box.id}")[1]["data"] == record
    operator.close()
    assert reaches(box) and not reaches(box, DENIED4)


def test_a_sandbox_of_the_other_vendor_is_told_in_brimbles_words(account, daemon):
    """Both APIs are about the same sandboxes; ids that both admit are found by both."""
    _, box = account.create(egress=ONE)
    reply = daemon.request_tcp("GET", f"/sandboxes/{box.id}")
    assert reply.json["network"] == {"allowOut": [ALLOWED4], "denyOut": ["0.0.0.0/0"]}
    assert daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network", DENY_ALL).status == 204
    assert not reaches(box)
    assert account.call("GET", f"/sandboxes/{box.id}")[1]["data"]["egress"] == {"mode": "deny_all"}

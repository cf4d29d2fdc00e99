# SPDX-License-Identifier: MIT
"""
E2B's API on the wire, where its SDK does not go: the order of its checks, its sentences word for word, broken bodies,
both framings of a body, older paths. What is refused changes nothing.
"""

import itertools
import json

import pytest

from daemon import DENY_ALL, OTHER_KEY, Box
from internet import ALLOWED4, DENIED4
from reach import reaches

ONE = {**DENY_ALL, "allowOut": [ALLOWED4]}
NO_SUCH = 'Sandbox "nosuch" doesn\'t exist or you don\'t have access to it'
NEEDS_DENY = ("When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all "
              "other traffic.")
NO_PROXY = "Egress proxy (egressProxy) is not enabled for this team."
NO_RULES = "Network transform rules are not available for your team."
PARSING = "Error when parsing request: "
EMPTY_PROXY = "Invalid egress proxy config: egress proxy address must not be empty"
EMPTY_RULE = "Rule domain must not be empty."


def create(daemon, path="/sandboxes", **body):
    reply = daemon.request_tcp("POST", path, {"templateID": "base", **body})
    assert reply.status == 201, reply
    return Box(daemon, reply.json["sandboxID"])


def assert_error(reply, status, message):
    assert reply.status == status and reply.json == {"code": status, "message": message}, reply
    assert reply.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("features", [True, False])
def test_the_checks_come_in_e2bs_order(features, request):
    """Each request is wrong in every way from its own on; where no relay can run, as for teams without the features."""
    daemon = request.getfixturevalue("daemon" if features else "relayless")
    box = create(daemon, network=ONE)
    broken, rules = "{", {"egressProxy": {"address": ""}, "rules": {"": []}, "denyOut": ["x"]}
    no_proxy = (400, EMPTY_PROXY) if features else (403, NO_PROXY)
    no_rules = EMPTY_RULE if features else NO_RULES

    def put(box_id, body, **options):
        return daemon.request_tcp("PUT", f"/sandboxes/{box_id}/network", body, **options)
    assert_error(put("No.Such", broken, key=None), 401, "Invalid API key")
    assert_error(put("No.Such", broken), 400, "Invalid sandbox ID")
    reply = put("nosuch", broken)
    assert reply.status == 400 and reply.json["message"].startswith(PARSING)
    assert_error(put("nosuch", rules), 400, "invalid denied CIDR x")
    del rules["denyOut"]
    assert_error(put("nosuch", rules), *no_proxy)
    del rules["egressProxy"]
    assert_error(put("nosuch", rules), 404, NO_SUCH)
    assert_error(put(box.id, rules), 400, no_rules)
    assert_error(put("nosuch", {}), 404, NO_SUCH)
    assert_error(put(box.id, {}, key=OTHER_KEY), 404, NO_SUCH.replace("nosuch", box.id))
    assert daemon.request_tcp("POST", f"/sandboxes/{box.id}/pause", "{}").status == 204
    assert_error(put(box.id, rules), 400, no_rules)
    assert_error(put(box.id, {}), 409, f'Sandbox "{box.id}" is in paused state')
    assert daemon.request_tcp("POST", f"/sandboxes/{box.id}/resume", "{}").status == 201
    assert_error(daemon.request_tcp("POST", f"/sandboxes/{box.id}/resume", "{}"), 409,
                 f"Sandbox {box.id} is already running")
    assert reaches(box) and not reaches(box, DENIED4)
    assert put(box.id, {}).status == 204
    assert reaches(box, DENIED4)


NETWORKS = [
    ({"denyOut": ["example.com"]}, "invalid denied CIDR example.com"),
    ({"denyOut": ["0.0.0.0"]}, "invalid denied CIDR 0.0.0.0"),
    ({"denyOut": ["0.0.0.0/24"]}, "invalid denied CIDR 0.0.0.0/24"),
    ({"denyOut": ["::"]}, "invalid denied CIDR ::"),
    ({"denyOut": ["::/0"]}, "invalid denied CIDR ::/0"),
    ({"denyOut": ["0.0.0.0/0", "10.0.0.0/33"]}, "invalid denied CIDR 10.0.0.0/33"),
    ({"denyOut": [""]}, "invalid denied CIDR "),
    ({"allowOut": ["0.0.0.0"]}, "invalid allowed address 0.0.0.0"),
    ({"allowOut": ["::"], **DENY_ALL}, "invalid allowed address ::"),
    ({"allowOut": ["example.com"]}, NEEDS_DENY),
    ({"allowOut": ["example.com"], "denyOut": ["64.0.0.0/2", "128.0.0.0/1"]}, NEEDS_DENY),
    ({"allowOut": ["example.com"], "allow_internet_access": False}, NEEDS_DENY),
    ({"allowOut": ["*"]}, NEEDS_DENY)]


@pytest.mark.parametrize("route", ["update", "create"])
def test_networks_are_refused_in_e2bs_words(daemon, route):
    box = create(daemon, network=ONE)
    for chunked, (network, message) in zip(itertools.cycle((True, False)), NETWORKS):
        if route == "update":
            reply = daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network", network, chunked=chunked)
        else:
            flag = {key: value for key, value in network.items() if key == "allow_internet_access"}
            inner = {key: value for key, value in network.items() if key not in flag}
            reply = daemon.request_tcp("POST", "/v2/sandboxes", {**flag, "network": inner}, chunked=chunked)
        assert_error(reply, 400, message)
    assert len(daemon.boxes()) == 1
    assert reaches(box) and not reaches(box, DENIED4)


def test_bodies_that_are_no_network_are_refused(daemon):
    """A misspelt key must not be an open network, and a value that another reader might see another way no policy."""
    box = create(daemon, network=ONE)
    for body, message in (
            ("", "1:1: expected a value, found the end of the document"),
            ("[]", "expected an object, found a list"),
            ("null", None),
            ('{"denyOut": "0.0.0.0/0"}', None),
            ('{"denyOut": [0]}', None),
            ('{"denyOut": ["0.0.0.0/0"]', None),
            ('{"denyOut": ["0.0.0.0/0"]} x', None),
            ('{"denyOut": [], "denyOut": ["0.0.0.0/0"]}', "1:17: duplicate key 'denyOut'"),
            ('{"denyout": ["0.0.0.0/0"]}', None),
            ('{"allowInternetAccess": false}', None),
            ('{"allow_internet_access": "false"}', None),
            ('{"egressProxy": "x"}', "egressProxy: expected an object, found a string"),
            ('{"rules": []}', "rules: expected an object, found a list"),
            ('{"denyOut": ["\\u0000"]}', None),
            (b'{"denyOut": ["\xff"]}', None),
            ("{'denyOut': []}", None),
            ('{"denyOut": [],}', None)):
        reply = daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network", body)
        assert reply.status == 400 and reply.json["code"] == 400, (body, reply)
        if message:
            assert reply.json["message"] == PARSING + message
    assert reaches(box) and not reaches(box, DENIED4)
    # What allows all allows over what denies all.
    assert box.network({**DENY_ALL, "allowOut": ["0.0.0.0/0"]}).status == 204
    assert reaches(box, DENIED4)
    assert box.network(ONE).status == 204
    assert not reaches(box, DENIED4)
    # null is as good as left out.
    reply = daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network",
                               {"allowOut": None, "denyOut": None, "egressProxy": None, "rules": None})
    assert reply.status == 204, reply
    assert reaches(box, DENIED4)


def test_a_reply_to_a_change_has_no_body_and_tells_what_is_in_force(daemon):
    box = create(daemon)
    seen = set()
    for network, chunked in ((ONE, True), ({}, False), (DENY_ALL, True)):
        reply = daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network", network, chunked=chunked)
        assert (reply.status, reply.body) == (204, b"")
        shown = box.show()
        assert reply.headers["x-postern-generation"] == str(shown["generation"])
        assert reply.headers["x-postern-policy"] == shown["policyHash"]
        assert "x-postern-warnings" not in reply.headers
        seen.add(shown["policyHash"])
    assert len(seen) == 3
    reply = daemon.request_tcp("PUT", f"/sandboxes/{box.id}/network", {**DENY_ALL, "allowOut": ["10.0.0.1"]})
    assert reply.status == 204 and reply.headers["x-postern-warnings"].startswith("allowOut[0]")


def test_older_paths_and_ids_are_served_as_well(daemon):
    for path in ("/sandboxes", "/v2/sandboxes"):
        box = create(daemon, path, secure=True, network=ONE, timeout=600)
        for name in (box.id, f"{box.id}-0a1b2c3d"):
            shown = daemon.request_tcp("GET", f"/sandboxes/{name}").json
            assert shown["sandboxID"] == box.id and shown["network"]["allowOut"] == [ALLOWED4]
        for connect in (f"/sandboxes/{box.id}/connect", f"/v2/sandboxes/{box.id}/connect"):
            reply = daemon.request_tcp("POST", connect, {"timeout": 60})
            assert reply.status == 200 and reply.json["sandboxID"] == box.id
        assert_error(daemon.request_tcp("GET", f"/sandboxes/{box.id}-a-b"), 400, "Invalid sandbox ID")
        assert daemon.request_tcp("DELETE", f"/sandboxes/{box.id}-0a1b2c3d").status == 204
        assert not box.cgroup.exists()


def test_methods_and_paths_that_are_not_there(daemon):
    box = create(daemon)
    reply = daemon.request_tcp("PATCH", f"/sandboxes/{box.id}/network", {})
    assert reply.status == 405 and reply.headers["allow"] == "PUT"
    for path in ("/sandboxes/", f"/sandboxes/{box.id}/", f"/sandboxes/{box.id}/logs", f"/v2/sandboxes/{box.id}",
                 f"/v2/sandboxes/{box.id}/network"):
        reply = daemon.request_tcp("PUT", path, {})
        assert reply.status in (404, 405) and reply.json["code"] == reply.status, (path, reply)
    for box_id in ("", ".", "..", "%2e%2e", "a%62c", "A", "a_b", "a/b", "x" * 65, "x" * 500):
        reply = daemon.request_tcp("PUT", f"/sandboxes/{box_id}/network", json.dumps(DENY_ALL))
        assert reply.status in (400, 404) and reply.json["code"] == reply.status, (box_id, reply)
    assert reaches(box, DENIED4)

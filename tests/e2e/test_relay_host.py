# SPDX-License-Identifier: MIT
"""What changes around relays: this host's addresses, many policies at once, a daemon that comes after another one."""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from daemon import DENY_ALL
from postern import execute
from relaybox import Relays
from relaypeers import ECHO, ECHO4, NGINX4, NGINX6, OPEN4, SOCKS, STRANGE4
from wait import until

ONE, TWO = "one.example.org", "two.example.org"
STRICT = {"allow": [ONE], "hostCheck": "strict"}


def page(ward, name=ONE, address=NGINX4):
    result = ward.talker.connect(name="c", address=address, port=80)
    return ward.talker.get(name)[0] if result == "ok" else result


def test_an_address_that_becomes_this_hosts_is_dialled_no_more(relays, net, kind):
    """Asked for at an address that stays another host's: the relay dials the name."""
    def host(action):
        for address, bits in ((NGINX4, 32), (NGINX6, 128)):
            done = execute(net, ["ip", "address", action, f"{address}/{bits}", "dev", "lo"])
            assert done.code == 0, done
    with relays.ward(kind, **STRICT) as ward:
        assert page(ward, address=STRANGE4) == 200
        host("add")
        try:
            # Before the daemon has heard of it, nobody listens there.
            until(lambda: page(ward, address=STRANGE4) != 200 and ward.events.all(reason="unresolved", name=ONE),
                  "it has no address that may be dialled", 60)
        finally:
            host("del")
        until(lambda: page(ward, address=STRANGE4) == 200, "it is served again", 60)


def test_one_change_for_many_is_in_every_relay_before_its_reply(relays, kind):
    with relays.ward(kind, **STRICT) as first, relays.ward(kind, **STRICT) as second:
        assert page(first) == page(second) == 200 and page(first, TWO) == page(second, TWO) == 403
        both = {**DENY_ALL, "allowOut": [TWO], "hostCheck": "strict"}
        reply = relays.daemon.request("PUT", "/v1/policies", {"ids": [first.box.id, second.box.id], "policy": both})
        assert reply.status == 200, reply
        assert page(first, TWO) == page(second, TWO) == 200 and page(first) == page(second) == 403
        # What needs no relay any more goes direct, and back.
        reply = relays.daemon.request("PUT", "/v1/policies", {"ids": [first.box.id, second.box.id],
                                                              "policy": {**DENY_ALL, "allowOut": [NGINX4]}})
        assert reply.status == 200, reply
        assert page(first, "three.example.org") == page(second, "three.example.org") != 403
        assert not [pid for pid, words in relays.pids().items() if "--signer" not in words], "its work is done"
        reply = relays.daemon.request("PUT", "/v1/policies", {"ids": [first.box.id, second.box.id], "policy": both})
        assert reply.status == 200 and page(first, TWO) == page(second, TWO) == 200 and page(first) == 403, reply


def test_a_policy_that_is_refused_leaves_the_relays_as_they_are(relays, kind):
    with relays.ward(kind, **STRICT) as ward:
        for policy, status in (({**DENY_ALL, "allowOut": [TWO], "hostCheck": "strict",
                                 "tests": [{"to": f"{TWO}:443", "expect": "deny"}]}, 400),
                               ({**DENY_ALL, "egressProxy": {"address": "10.9.0.5:1080"}}, 400),
                               ({**DENY_ALL, "egressProxy": {"address": f"{OPEN4}:{SOCKS}"}, "x": 1}, 400)):
            reply = relays.daemon.request("PUT", f"/v1/sandboxes/{ward.box.id}/policy", policy)
            assert reply.status == status, reply
            assert page(ward) == 200 and page(ward, TWO) == 403


@pytest.fixture(name="mortal")
def mortal_fixture(net, peers):
    running = Relays(net, peers)
    yield running
    running.close()


def relays_cgroups(daemon):
    return sorted(path.name for path in Path(daemon.cgroups).glob("_relay-*"))


def test_what_a_killed_daemon_left_of_relays_is_gone_with_the_next(mortal, kind):
    with mortal.ward(kind, **STRICT) as ward:
        assert page(ward) == 200
        before = relays_cgroups(mortal.daemon)
        assert len(before) == 1 and (mortal.daemon.pins / "sandboxes" / before[0]).exists()
        mortal.daemon.kill()
        mortal.daemon.start(env={"PST_TEST": "relays"})
        until(lambda: page(ward) == 200, "it is served", 60)
        after = relays_cgroups(mortal.daemon)
        assert len(after) == 1 and after != before
        assert [path.name for path in (mortal.daemon.pins / "sandboxes").glob("_relay-*")] == after
        reply = mortal.daemon.get(f"/v1/sandboxes/{ward.box.id}")
        assert reply.json["state"] == "running", reply
        # Nobody is attached where a relay is, nor called as one.
        for fields in ({"cgroup": str(mortal.daemon.cgroups / after[0]), "id": "x"},
                       {"cgroup": str(mortal.daemon.cgroup("free")), "id": "_relay-1"}):
            reply = mortal.daemon.request("POST", "/v1/sandboxes", {**fields, "policy": {}, "allowWeak": True})
            assert reply.status == 400 and "relay" in json.dumps(reply.json), reply


def test_show_and_explain_say_that_a_relay_is_down(mortal, kind):
    with mortal.ward(kind, **STRICT) as ward:
        show = f"/v1/sandboxes/{ward.box.id}"
        assert page(ward) == 200 and mortal.daemon.get(show).json["advice"] == ""
        assert ward.explain(f"{ONE}:443")["verdict"] == "relay"

        def is_told(what):
            # Whenever one comes back: it takes longer each time.
            for pid, words in mortal.pids().items():
                if "--signer" not in words:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return what()
        until(lambda: is_told(lambda: "relay is down" in mortal.daemon.get(show).json["advice"]), "show says it", 60)
        until(lambda: is_told(lambda: ward.explain(f"{ONE}:443")["reason"] == "relay-down"), "explain says it", 60)
        until(lambda: page(ward) == 200, "it is served again", 90)
        assert mortal.daemon.get(show).json["advice"] == ""


def test_hits_of_rules_are_those_of_relayed_flows_too(relays, kind):
    with relays.ward(kind, allow=[ECHO4], egressProxy={"address": f"{OPEN4}:{SOCKS}"}) as ward:
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok"
        assert ward.talker.send(name="c", data="x" * 1000) == "ok"
        assert len(ward.talker.receive(name="c", size=1000)["data"]) == 1000
        ward.talker.close(name="c")

        def hits():
            rules = relays.daemon.get(f"/v1/sandboxes/{ward.box.id}/rules").json["rules"]
            return [rule for rule in rules if ECHO4 in json.dumps(rule) and rule["connections"] == 1 and rule["bytes"] >= 2000]
        until(hits, "its rule has counted", 30)


def listening(net, pid):
    """The ports on which that process listens."""
    done = execute(net, ["ss", "-H", "-l", "-t", "-n", "-p"])
    assert done.code == 0, done
    lines = [line.split() for line in done.out.splitlines() if f"pid={pid}," in line]
    return {line[3].rpartition(":")[2] for line in lines}


def test_a_listener_that_somebody_else_ends_is_made_anew(relays, net, kind):
    """Who has CAP_NET_ADMIN in its namespace can do that (SOCK_DESTROY); its relay and the others stay."""
    with relays.ward(kind, **STRICT) as ward, relays.ward(kind, **STRICT) as other:
        assert page(ward) == page(other) == 200
        pid = relays.relay_pid()
        ports = listening(net, pid)
        assert ports
        for port in ports:
            execute(net, ["ss", "-K", "-l", "-t", "-n", f"sport = :{port}"])
        assert not listening(net, pid) & ports
        until(lambda: page(ward) == page(other) == 200, "they are served again", 60)
        assert relays.relay_pid() == pid

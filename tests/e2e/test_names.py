# SPDX-License-Identifier: MIT
"""
`postern run --allow NAME`, with programs that resolve in different ways: an allowed name is resolved and reached at
once, on its ports only; a name off the list is not even asked for, and the program learns it at once.
"""

import secrets

import pytest

from clients import CLIENTS, DUAL
from internet import ALLOWED4, ALLOWED6, DENIED4, canary
from names import place_of, steps
from postern import AT_ONCE_MS
from resolver import CHAIN, OFF_LIST, V4, V6, WILD

# These do not look at what sending came to: they wait for their whole timeout, 5 s.
DEAF = ("musl", "dig")
TIMEOUT_S = 5


@pytest.fixture
def place(net, resolvers, tmp_path):
    return place_of(net, tmp_path)


def fresh(below="wild.example.com"):
    return f"n{secrets.token_hex(6)}.{below}"


def ops(done):
    return [(op.name, op.result) for op in done.ops]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_allowed_name_is_resolved_and_reached(web, place, client):
    argv = CLIENTS[client]("v4.example.com", 80, "CANARY")
    place.assert_arrives(argv, dst=V4)
    done = place.assert_arrives(argv, policy=["--allow", "v4.example.com"], dst=V4)
    assert "denied" not in done.err, done


@pytest.mark.parametrize("client", DUAL)
def test_an_allowed_name_with_an_ipv6_address_only(web, place, client):
    argv = CLIENTS[client]("v6.example.com", 80, "CANARY")
    place.assert_arrives(argv, dst=V6)
    place.assert_arrives(argv, policy=["--allow", "v6.example.com"], dst=V6)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_name_off_the_list_is_not_asked_for(net, web, resolvers, place, client):
    name = fresh("example.net")
    place.assert_arrives(CLIENTS[client](name, 80, "CANARY"), dst=OFF_LIST)
    assert resolvers["unbound"].asked(name) and resolvers.questions(name), "the control: it is asked for"
    name, since, asked, token = fresh("example.net"), net.mark(), resolvers.mark(), canary()
    net.forbid(token)
    done = place.run(["--allow", "v4.example.com"], CLIENTS[client](name, 80, token))
    assert done.code != 0, done
    assert client in DEAF or done.seconds < TIMEOUT_S, f"{done.seconds:.1f} s\n{done}"
    assert not resolvers.questions(name, since=asked) and not resolvers["unbound"].asked(name), done
    net.fence()
    assert not net.seen(dst=OFF_LIST, since=since), done
    assert name in done.err and "name-gate" in done.err, done


def test_a_refused_question_is_an_error_at_once(resolvers, place):
    server = place.conf.read_text().split()[1]
    step = steps(f"ask {server} {fresh('example.net')}")
    assert ops(place.plain(step)) == [("sendto", "ok"), ("answer", "ok")]
    done = place.run(["--allow", "v4.example.com"], step)
    assert ops(done) == [("sendto", "EPERM")] and done.op("sendto").ms < AT_ONCE_MS, done


@pytest.mark.parametrize("allow,works", [
    ("v4.example.com", (80, 443)),
    ("v4.example.com:22", (22,)),
    ("v4.example.com:*", (80, 443, 22, 5432)),
    ("v4.example.com:5000-6000/tcp", (5432,)),
])
def test_a_name_is_allowed_on_its_ports_only(net, web, place, allow, works):
    ports = (80, 443, 22, 5432)
    step = steps("look v4.example.com", *(f"tcp v4.example.com {port} CANARY{port}" for port in ports))
    assert {op.result for op in place.plain(step).ops} == {"ok"}
    net.fence()
    since = net.mark()
    done = place.run(["--allow", allow], step)
    connects = [op for op in done.ops if op.name == "connect"]
    assert [op.result for op in connects] == ["ok" if port in works else "EPERM" for port in ports], done
    assert max(op.ms for op in connects) < AT_ONCE_MS, done
    net.fence()
    arrived = {port for port in ports if net.seen(dst=V4, port=port, since=since)}
    assert arrived == set(works), done


def test_udp_only_where_the_rule_says_so(net, place):
    step = steps("look v4.example.com", "udp v4.example.com 443 CANARY")
    assert place.plain(step).op("sendto").result == "ok"
    assert place.run(["--allow", "v4.example.com"], step).op("sendto").result == "EPERM"
    place.assert_arrives(step, policy=["--allow", "v4.example.com:443/udp"], dst=V4)


def test_an_address_of_the_name_is_denied_before_it_is_resolved(net, web, place):
    argv = steps(f"tcp {V4} 80 CANARY", "look v4.example.com", f"tcp {V4} 80 CANARY")
    assert {op.result for op in place.plain(argv).ops} == {"ok"}
    done = place.run(["--allow", "v4.example.com"], argv)
    assert ops(done) == [("connect", "EPERM"), ("look", "ok"), ("connect", "ok"), ("send", "ok")], done


def test_what_one_sandbox_resolved_another_has_not(net, web, place):
    policy = ["--allow", "v4.example.com"]
    assert place.run(policy, steps("look v4.example.com", f"tcp {V4} 80 x")).op("connect").result == "ok"
    assert place.run(policy, steps(f"tcp {V4} 80 x")).op("connect").result == "EPERM"


def test_other_addresses_stay_denied(net, web, place):
    done = place.run(["--allow", "v4.example.com"], steps("look v4.example.com", f"tcp {DENIED4} 80 x",
                                                           f"tcp {ALLOWED4} 80 x", f"tcp {ALLOWED6} 80 x"))
    assert ops(done) == [("look", "ok")] + [("connect", "EPERM")] * 3, done


@pytest.mark.parametrize("asked,allow", [
    ("V4.eXaMpLe.CoM", "v4.example.com"), ("v4.example.com", "V4.Example.COM"), ("v4.example.com.", "v4.example.com"),
    ("v4.example.com", "v4.example.com."), ("a.b.c.wild.example.com", "*.wild.example.com"), ("v4.example.com", "*"),
    ("v4.example.com", "*.example.com"),
])
def test_names_that_a_rule_covers(web, place, asked, allow):
    argv = CLIENTS["python"](asked, 80, "CANARY")
    place.assert_arrives(argv, policy=["--allow", allow])


@pytest.mark.parametrize("asked,allow", [
    ("v4.example.com", "example.com"), ("wild.example.com", "*.wild.example.com"),
    ("xwild.example.com", "*.wild.example.com"), ("v4.example.com", "*.v4.example.com"),
    ("a.v4.example.com", "v4.example.com"), ("v4.example.com.example.net", "v4.example.com"),
])
def test_names_that_a_rule_does_not_cover(resolvers, place, asked, allow):
    server = place.conf.read_text().split()[1]
    place.plain(steps(f"ask {server} {asked}"))
    assert resolvers.questions(asked), "the control: it arrives"
    since = resolvers.mark()
    done = place.run(["--allow", allow], steps(f"ask {server} {asked}"))
    assert ops(done) == [("sendto", "EPERM")], done
    assert not resolvers.questions(asked, since=since), done


def test_two_names_at_one_address_have_their_own_ports(web, place):
    first, second = fresh(), fresh()
    policy = ["--allow", first, "--allow", f"{second}:22"]
    done = place.run(policy, steps(f"look {first}", f"tcp {WILD} 80 x", f"tcp {WILD} 22 x", f"look {second}",
                                   f"tcp {WILD} 80 x", f"tcp {WILD} 22 x"))
    connects = [op.result for op in done.ops if op.name == "connect"]
    assert connects == ["ok", "EPERM", "ok", "ok"], done


def test_many_names_at_a_time(web, place):
    """Two questions each, so 256 wait for an answer at a time."""
    step = steps("many wild.example.com 128 1000 80")
    for done in (place.plain(step), place.run(["--allow", "*.wild.example.com"], step)):
        assert done.out == "many ok 1000\n", done


@pytest.mark.parametrize("client", ["getent", "musl", "pycares", "dig"])
def test_a_search_list_that_comes_first(net, resolvers, web, tmp_path, client):
    """
    As in a cluster. glibc takes the refusal of the first candidate for the end of the list, so either the list's domain
    is allowed as well, or the name is written with its final dot.
    """
    place = place_of(net, tmp_path, options="ndots:5", search="cluster.example.com")
    argv = CLIENTS[client]("v4.example.com", 80, "CANARY")
    place.assert_arrives(argv)
    place.assert_arrives(argv, policy=["--allow", "v4.example.com", "--allow", "*.cluster.example.com"])
    place.assert_arrives(CLIENTS[client]("v4.example.com.", 80, "CANARY"), policy=["--allow", "v4.example.com"])


def test_https_by_curl(web, place):
    argv = ["curl", "-sS", "--max-time", "10", "--noproxy", "*", "--cacert", str(web.certificate),
            f"https://{web.NAME}/"]
    done = place.run(["--allow", web.NAME], argv)
    assert done.code == 0 and done.out.startswith("https "), done


def test_a_connection_outlives_its_lease(net, place, tmp_path):
    """Leases of one second; the connection from before goes on, a new one is refused and the summary says why."""
    policy = tmp_path / "policy.json"
    policy.write_text('{"denyOut": ["0.0.0.0/0"], "allowOut": ["chain0.example.com:7000"],'
                      ' "dns": {"minTtl": 1, "maxTtl": 1}}')
    done = place.run(["--policy", policy],
                     steps("look chain0.example.com", "keep chain0.example.com 7000 before",
                           "until chain0.example.com 7000 EPERM", "again after", "look chain0.example.com",
                           "tcp chain0.example.com 7000 anew"))
    assert {op.result for op in done.ops} == {"ok"}, done
    assert "lease-expired" in done.err and "chain0.example.com" in done.err and CHAIN in done.err, done


def test_dns_over_tcp_is_refused_under_the_gate(place):
    server = place.conf.read_text().split()[1]
    step = steps(f"stream {server} v4.example.com")
    assert ops(place.plain(step)) == [("connect", "ok"), ("answer", "ok")]
    done = place.run(["--allow", "v4.example.com"], step)
    assert ops(done) == [("connect", "EPERM")] and "dns-tcp" in done.err, done


def test_without_the_gate_every_name_is_resolved_and_only_listed_ones_reached(net, web, resolvers, place, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text('{"denyOut": ["0.0.0.0/0"], "allowOut": ["v4.example.com"], "dns": {"gate": false}}')
    server, name = place.conf.read_text().split()[1], fresh("example.net")
    done = place.run(["--policy", policy],
                     steps(f"look {name}", f"tcp {name} 80 x", "look v4.example.com", "tcp v4.example.com 80 x",
                           f"stream {server} {name}"))
    assert ops(done) == [("look", "ok"), ("connect", "EPERM"), ("look", "ok"), ("connect", "ok"), ("send", "ok"),
                         ("connect", "ok"), ("answer", "ok")], done
    assert resolvers["unbound"].asked(name), done


def test_audit_lets_pass_and_names_what_would_be_denied(net, web, place, tmp_path):
    name = fresh("example.net")
    report = tmp_path / "report.json"
    done = place.run(["--audit", "--allow", "v4.example.com", "--report", report],
                     steps(f"look {name}", f"tcp {name} 80 x", "look v4.example.com", "tcp v4.example.com 80 x"))
    assert {op.result for op in done.ops} == {"ok"}, done
    rows = [line for line in done.err.splitlines() if "would-deny" in line and name in line]
    assert any("name-gate" in row for row in rows), done
    assert any(OFF_LIST in row for row in rows), done
    assert name in report.read_text() and "v4.example.com" not in done.err, done


def test_the_summary_names_the_name_of_a_denied_address(net, web, place):
    done = place.run(["--allow", "v4.example.com"], steps("look v4.example.com", f"tcp {V4} 22 x"))
    rows = [line for line in done.err.splitlines() if "v4.example.com:22" in line]
    assert rows and V4 in rows[0] and "default-deny" in rows[0], done


def test_a_run_that_asks_only_for_what_it_may_is_silent(web, place):
    done = place.run(["--allow", "v4.example.com"], CLIENTS["curl"]("v4.example.com", 80, "x"))
    assert done.code == 0 and done.err == "", done

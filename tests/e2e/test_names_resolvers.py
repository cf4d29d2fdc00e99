# SPDX-License-Identifier: MIT
"""Which resolver: on whatever address, named in every place that can name one, as a stub on loopback, translated."""

import contextlib
import json
import secrets
import subprocess

import pytest

from internet import ALLOWED4_NET
from names import Place, place_of, steps
from resolver import ADDRESSES, DEVICE, KINDS, LINK_LOCAL, OFF_LIST, Resolver, V4

NAME = "v4.example.com"
POLICY = ["--allow", NAME]
REACH = steps(f"look {NAME}", f"tcp {NAME} 80 x", f"tcp {NAME} 22 x")
REACHED = [("look", "ok"), ("connect", "ok"), ("send", "ok"), ("connect", "EPERM")]
ELSEWHERE = ADDRESSES["named"]["public"]

pytestmark = pytest.mark.usefixtures("resolvers", "web")


def ops(done):
    return [(op.name, op.result) for op in done.ops]


def off_list():
    return f"n{secrets.token_hex(6)}.example.net"


def assert_gated(place, resolver):
    """The name is reached on its port; one off the list is not asked for. Both are without Postern."""
    name = off_list()
    assert {op.result for op in place.plain(REACH + [f"look {name}"]).ops} == {"ok"}
    assert resolver.asked(name), "the control"
    done = place.run(POLICY, REACH)
    assert ops(done) == REACHED, done
    name, after = off_list(), f"after{off_list()}"
    done = place.run(POLICY, steps(f"look {name}"))
    assert done.op("look").result != "ok" and name in done.err and "name-gate" in done.err, done
    place.plain(steps(f"look {after}"))
    assert resolver.asked(after) and not resolver.asked(name), done


@pytest.mark.parametrize("where", ["public", "private", "ipv6"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_resolv_conf(net, resolvers, tmp_path, kind, where):
    assert_gated(place_of(net, tmp_path, kind, where), resolvers[kind])


def test_a_link_local_one_in_resolv_conf(net, resolvers, tmp_path):
    assert_gated(Place(net, tmp_path, f"{LINK_LOCAL}%{DEVICE}"), resolvers["unbound"])


def test_the_second_when_the_first_is_silent(net, resolvers, tmp_path):
    """203.0.113.1 answers nothing sensible; libc goes on to the second."""
    place = Place(net, tmp_path, "149.112.112.200", ADDRESSES["unbound"]["public"], options="timeout:1")
    done = place.run(POLICY, REACH, timeout=20)
    assert ops(done) == REACHED, done


def dig(server, name=NAME, address=V4):
    """Asks that server, whatever resolv.conf says, then connects."""
    script = (f"dig +short +tries=1 +time=2 A {name} @{server}; "
              f"(exec 3<>/dev/tcp/{address}/80) && echo CONNECTED || echo REFUSED")
    return ["bash", "-c", script]


@pytest.mark.parametrize("where", ["public", "private", "ipv6"])
@pytest.mark.parametrize("way", ["option", "document"])
def test_added_for_this_run(net, resolvers, tmp_path, where, way):
    place, server = Place(net, tmp_path, ELSEWHERE), ADDRESSES["dnsmasq"][where]
    document = tmp_path / "policy.json"
    document.write_text(json.dumps({"dns": {"resolvers": [server]}, "denyOut": ["0.0.0.0/0"], "allowOut": [NAME]}))
    policy = ["--resolver", server, *POLICY] if way == "option" else ["--policy", document]
    assert place.plain(dig(server)).out.split() == [V4, "CONNECTED"]
    since = resolvers.mark()
    done = place.run(POLICY, dig(server))
    reason = "always-denied" if where == "private" else "untrusted-resolver"
    assert "REFUSED" in done.out and V4 not in done.out.split() and reason in done.err, done
    assert not resolvers.questions(NAME, since=since), done
    done = place.run(policy, dig(server))
    assert done.out.split() == [V4, "CONNECTED"], done


def test_a_link_local_one_added_for_this_run(net, tmp_path):
    place, server = Place(net, tmp_path, ELSEWHERE), f"{LINK_LOCAL}%{DEVICE}"
    done = place.run(["--resolver", LINK_LOCAL, *POLICY], dig(server))
    assert done.out.split() == [V4, "CONNECTED"], done
    assert "REFUSED" in place.run(POLICY, dig(server)).out


def test_an_untrusted_one_that_a_rule_allows_teaches_nothing(net, resolvers, tmp_path):
    """An address rule opens its port 53; what it answers is nobody's word."""
    place, server = Place(net, tmp_path, ELSEWHERE), ADDRESSES["dnsmasq"]["public"]
    done = place.run(["--allow", f"{server}:53", *POLICY], dig(server))
    assert done.out.split() == [V4, "REFUSED"], done


def test_a_rule_for_the_address_of_a_trusted_one_does_not_open_the_gate(net, resolvers, tmp_path):
    server, name = ADDRESSES["unbound"]["public"], off_list()
    place = Place(net, tmp_path, server)
    done = place.run(["--allow", server, *POLICY], steps(f"look {name}", *REACH[len(steps()):]))
    assert done.ops[0].result != "ok" and ops(done)[1:] == REACHED, done
    assert not resolvers.questions(name), done


@pytest.mark.parametrize("policy", [[], ["--deny", "1.1.1.1"]])
@pytest.mark.parametrize("where", ["public", "ipv6"])
def test_default_allow_resolves_everywhere(net, tmp_path, policy, where):
    """Also at a resolver that nobody trusts, without any rule, and by TCP."""
    place, name, server = Place(net, tmp_path, ELSEWHERE), off_list(), ADDRESSES["dnsmasq"][where]
    done = place.run(policy, dig(server, name, OFF_LIST))
    assert done.out.split() == [OFF_LIST, "CONNECTED"], done
    done = place.run(policy, steps(f"stream {server} {name}", f"stream {ELSEWHERE} {name}"))
    assert {op.result for op in done.ops} == {"ok"} and len(done.ops) == 4, done


@pytest.mark.parametrize("where", ["private", "public", "ipv6"])
def test_default_allow_resolves_at_the_trusted_one(net, tmp_path, where):
    place, name = place_of(net, tmp_path, "dnsmasq", where), off_list()
    done = place.run([], steps(f"look {name}", f"tcp {name} 80 x", f"stream {ADDRESSES['dnsmasq'][where]} {name}"))
    assert {op.result for op in done.ops} == {"ok"} and len(done.ops) == 5, done


# On loopback: in the host namespace, outside of the sandbox.

@contextlib.contextmanager
def on_loopback(net, kind, address, port=53):
    """named listens only on addresses that a device has."""
    if kind == "named":
        net.host.ip("addr", "add", f"{address}/8", "dev", "lo")
    try:
        resolver = Resolver(net.host, kind, [address], port)
        try:
            yield resolver
        finally:
            resolver.close()
    finally:
        if kind == "named":
            net.host.ip("addr", "del", f"{address}/8", "dev", "lo")


@pytest.fixture(params=KINDS)
def stub(net, request):
    with on_loopback(net, request.param, "127.0.0.53") as resolver:
        yield resolver


def test_a_stub_on_loopback(net, tmp_path, stub):
    assert_gated(Place(net, tmp_path, "127.0.0.53"), stub)


def test_a_stub_on_ipv6_loopback(net, tmp_path):
    with on_loopback(net, "unbound", "::1") as resolver:
        assert_gated(Place(net, tmp_path, "::1"), resolver)


def test_a_stub_that_nobody_trusts_is_the_hosts(net, tmp_path):
    with on_loopback(net, "unbound", "127.0.0.53") as resolver:
        place = Place(net, tmp_path, ELSEWHERE)
        assert place.plain(dig("127.0.0.53")).out.split() == [V4, "CONNECTED"]
        for policy in (POLICY, []):
            name = off_list()
            done = place.run(policy, steps(f"ask 127.0.0.53 {name}"))
            assert ops(done) == [("sendto", "EPERM")] and not resolver.asked(name), done
        done = place.run(["--resolver", "127.0.0.53", *POLICY], dig("127.0.0.53"))
        assert done.out.split() == [V4, "CONNECTED"], done


# Translated on its way.

@pytest.fixture
def translate(net):
    """translate(chain, rule...): nat rules of the host namespace."""
    def add(output, postrouting=()):
        rules = ["table ip pst {", "chain output { type nat hook output priority -100;", *output, "}",
                 "chain postrouting { type nat hook postrouting priority 100;", *postrouting, "}", "}"]
        done = subprocess.run(net.host.command(["nft", "-f", "-"]), input="\n".join(rules), text=True,
                              capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    yield add
    subprocess.run(net.host.command(["nft", "delete", "table", "ip", "pst"]), capture_output=True, check=False)


DOCKER, DOCKER_PORT = "127.0.0.11", 39053


@pytest.fixture(params=KINDS)
def docker(net, translate, request):
    """As Docker's embedded resolver: it listens on another port; the way there and the way back are translated."""
    translate([f"ip daddr {DOCKER} udp dport 53 dnat to {DOCKER}:{DOCKER_PORT}",
               f"ip daddr {DOCKER} tcp dport 53 dnat to {DOCKER}:{DOCKER_PORT}"],
              [f"ip saddr {DOCKER} ip daddr {DOCKER} udp sport {DOCKER_PORT} snat to :53",
               f"ip saddr {DOCKER} ip daddr {DOCKER} tcp sport {DOCKER_PORT} snat to :53"])
    with on_loopback(net, request.param, DOCKER, DOCKER_PORT) as resolver:
        yield resolver


def test_dockers_resolver(net, tmp_path, docker):
    assert_gated(Place(net, tmp_path, DOCKER), docker)


def test_dockers_resolver_by_unconnected_sockets(net, tmp_path, docker):
    place, name = Place(net, tmp_path, DOCKER), off_list()
    ask = steps(f"ask {DOCKER} {NAME}", f"ask {DOCKER} {name}", f"tcp {V4} 80 x")
    assert {op.result for op in place.plain(ask).ops} == {"ok"} and docker.asked(name)
    name = off_list()
    done = place.run(POLICY, steps(f"ask {DOCKER} {NAME}", f"ask {DOCKER} {name}", f"tcp {V4} 80 x"))
    assert ops(done) == [("sendto", "ok"), ("answer", "ok"), ("sendto", "EPERM"), ("connect", "ok"),
                         ("send", "ok")], done
    assert not docker.asked(name), done


def test_the_port_behind_dockers_resolver_is_the_hosts(net, tmp_path, docker):
    """Whoever goes there directly meets a listener of the host."""
    place = Place(net, tmp_path, DOCKER)
    step = steps(f"udp {DOCKER} {DOCKER_PORT} x")
    assert place.plain(step).op("sendto").result == "ok"
    assert place.run(POLICY, step).op("sendto").result == "EPERM"


def test_dockers_resolver_with_default_allow(net, tmp_path, docker):
    place, name = Place(net, tmp_path, DOCKER), off_list()
    done = place.run([], steps(f"look {name}", f"tcp {name} 80 x"))
    assert {op.result for op in done.ops} == {"ok"}, done


SERVICE = "10.96.0.10"


@pytest.fixture
def service(translate):
    """As a cluster's DNS service: an address of its own, behind it a real resolver elsewhere."""
    translate([f"ip daddr {SERVICE} {protocol} dport 53 dnat to {ADDRESSES['named']['public']}:53"
               for protocol in ("udp", "tcp")])


@pytest.mark.usefixtures("service")
def test_a_service_address_with_both_trusted(net, resolvers, tmp_path):
    place, name = Place(net, tmp_path, SERVICE), off_list()
    assert place.plain(REACH).op("send").result == "ok"
    trust = ["--resolver", ADDRESSES["named"]["public"], *POLICY]
    done = place.run(trust, REACH)
    assert ops(done) == REACHED, done
    done = place.run(trust, steps(f"ask {SERVICE} {NAME}", f"ask {SERVICE} {name}", f"tcp {V4} 80 x"))
    assert ops(done) == [("sendto", "ok"), ("answer", "ok"), ("sendto", "EPERM"), ("connect", "ok"),
                         ("send", "ok")], done
    assert not resolvers.questions(name) and not resolvers["named"].asked(name), done


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("trusted", ["service", "behind"])
def test_a_service_address_with_one_of_them_trusted(net, resolvers, tmp_path, trusted):
    """Neither the address asked for nor the one that the packet goes to is enough alone."""
    place = Place(net, tmp_path, SERVICE if trusted == "service" else ELSEWHERE)
    since = resolvers.mark()
    done = place.run(POLICY, dig(SERVICE))
    assert "REFUSED" in done.out and V4 not in done.out.split(), done
    assert not resolvers.questions(NAME, since=since), done


@pytest.mark.usefixtures("service")
def test_a_service_address_with_default_allow(net, tmp_path):
    place, name = Place(net, tmp_path, SERVICE), off_list()
    done = place.run(["--deny", ALLOWED4_NET], steps(f"look {name}", f"tcp {name} 80 x"))
    assert {op.result for op in done.ops} == {"ok"}, done

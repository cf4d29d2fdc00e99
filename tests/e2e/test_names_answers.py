# SPDX-License-Identifier: MIT
"""What unbound, bind9 and dnsmasq answer, and what of it a sandbox may reach then."""

import re

import pytest

from internet import PRIVATE4
from names import place_of, steps
from postern import AT_ONCE_MS
from resolver import CHAINS, HINT, HUNDRED, KINDS, ROBIN, SIGNED, SIXTY, TTL0, TTL_BIG, WILD, links

LINKS = 8  # that are followed
LOOKED_AT = 64  # addresses of one reply that count

pytestmark = pytest.mark.usefixtures("web")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def place(net, resolvers, tmp_path, kind):
    return place_of(net, tmp_path, kind, options="edns0")


def results(done, name="connect"):
    return [op.result for op in done.ops if op.name == name]


def addresses(done):
    return [line.split()[1] for line in done.out.splitlines() if line.startswith("address ")]


def assert_reached(place, name, *expected):
    """All its addresses, and without Postern as well."""
    step = steps(f"look {name}", f"each {name} 80")
    for done in (place.plain(step), place.run(["--allow", name], step)):
        assert set(results(done)) == {"ok"} and set(addresses(done)) == set(expected), done


def test_chains_of_aliases(place):
    """Of one to eight links; only the first names are on the list."""
    names = {f"chain{n}.example.com": address for n, address in CHAINS.items() if n <= LINKS}
    words = steps(*(f"look {name}" for name in names), *(f"each {name} 80" for name in names))
    policy = [word for name in names for word in ("--allow", name)]
    for done in (place.plain(words), place.run(policy, words)):
        assert results(done) == ["ok"] * LINKS and set(addresses(done)) == set(names.values()), done


def test_a_chain_that_is_too_long_teaches_nothing(place):
    name, address = f"chain{LINKS + 1}.example.com", CHAINS[LINKS + 1]
    step = steps(f"look {name}", f"tcp {address} 80 x")
    assert place.plain(step).op("connect").result == "ok"
    assert place.run(["--allow", name], step).op("connect").result == "EPERM"


def test_a_name_in_the_middle_of_a_chain_is_not_allowed_by_itself(place):
    middle = links(2)[1]
    step = steps("look chain2.example.com", f"tcp {CHAINS[2]} 80 x")
    done = place.run(["--allow", f"{middle}.example.com"], step)
    assert done.op("look").result != "ok" and done.op("connect").result == "EPERM", done
    assert place.run(["--allow", "chain2.example.com"], step).op("connect").result == "ok"


def test_a_wildcard_zone(place):
    assert_reached(place, "a.b.wild.example.com", WILD)


def test_every_address_of_a_round_robin(place):
    assert_reached(place, "robin.example.com", *ROBIN)


def test_sixty_addresses(place):
    assert_reached(place, "sixty.example.com", *SIXTY)


def test_a_hundred_addresses(place):
    """By a large EDNS reply; those behind the 64th of the message are not learned."""
    script = ('for a in $(dig +short +bufsize=4096 +tries=1 A hundred.example.com); do '
              '(exec 3<>/dev/tcp/$a/80) 2>/dev/null && echo "reached $a" || echo "denied $a"; done')
    plain = place.plain(["bash", "-c", script])
    assert sorted(re.findall(r"reached (\S+)", plain.out)) == sorted(HUNDRED), plain
    done = place.run(["--allow", "hundred.example.com"], ["bash", "-c", script])
    words = [line.split()[0] for line in done.out.splitlines()]
    assert words == ["reached"] * LOOKED_AT + ["denied"] * (len(HUNDRED) - LOOKED_AT), done


def test_an_answer_cut_short_teaches_nothing(place, kind):
    """Without EDNS a hundred addresses do not fit: dig would go on by TCP, which is refused."""
    script = ('dig +noedns +ignore +tries=1 +time=2 A hundred.example.com; '
              f'for a in {" ".join(HUNDRED)}; do (exec 3<>/dev/tcp/$a/80) 2>/dev/null && echo "reached $a"; done; true')
    plain = place.plain(["bash", "-c", script])
    assert "flags: qr" in plain.out and " tc " in plain.out and plain.out.count("reached") == len(HUNDRED), plain
    done = place.run(["--allow", "hundred.example.com"], ["bash", "-c", script])
    assert " tc " in done.out and "reached" not in done.out, done


def test_ttl_zero_is_long_enough(place):
    assert_reached(place, "ttl0.example.com", TTL0)


def test_the_largest_ttl(place):
    assert_reached(place, "big.example.com", TTL_BIG)


def test_the_largest_ttl_is_not_longer_than_the_policy_says(place, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text('{"denyOut": ["0.0.0.0/0"], "allowOut": ["big.example.com"], "dns": {"minTtl": 1, "maxTtl": 1}}')
    done = place.run(["--policy", policy], steps("look big.example.com", "tcp big.example.com 80 x",
                                                 "until big.example.com 80 EPERM"))
    assert {op.result for op in done.ops} == {"ok"} and "lease-expired" in done.err, done


@pytest.mark.parametrize("name", ["nodata.example.com", "nowhere.example.com"])
def test_no_such_name_and_no_such_data_are_told_as_such(place, name):
    plain = place.plain(steps(f"look {name}"))
    done = place.run(["--allow", name], steps(f"look {name}"))
    assert results(done, "look") == results(plain, "look") != ["ok"], done
    assert done.op("look").ms < AT_ONCE_MS and done.err == "", done


@pytest.mark.parametrize("kind_of_record", ["HTTPS", "SVCB"])
def test_an_address_hint_is_no_answer(place, kind_of_record):
    """It allows nothing, and the address record beside it goes on working."""
    script = (f"dig +tries=1 {kind_of_record} svc.example.com; "
              f"(exec 3<>/dev/tcp/{HINT}/80) && echo reached || echo denied")
    plain = place.plain(["bash", "-c", script])
    assert "reached" in plain.out and "ANSWER: 1" in plain.out, plain
    done = place.run(["--allow", "svc.example.com"], ["bash", "-c", script])
    assert "ANSWER: 1" in done.out and "denied" in done.out, done


def test_both_families_of_a_name(place, web):
    done = place.run(["--allow", "web.example.com"], steps("look web.example.com", "each web.example.com 443"))
    assert results(done) == ["ok", "ok"] and len(addresses(done)) == 4, done


@pytest.mark.parametrize("kind", ["unbound", "named"], indirect=True)
@pytest.mark.parametrize("name", ["www.signed.example", "alias.signed.example", "x.wild.signed.example"])
def test_signed_answers(place, name):
    """Signatures stand between the records."""
    script = (f"dig +dnssec +tries=1 +time=1 A {name}; (exec 3<>/dev/tcp/{SIGNED}/80) && echo reached || echo denied")
    plain = place.plain(["bash", "-c", script])
    assert "RRSIG" in plain.out and "reached" in plain.out, plain
    done = place.run(["--allow", name], ["bash", "-c", script])
    assert "RRSIG" in done.out and "reached" in done.out, done
    done = place.run(["--allow", "v4.example.com"], ["bash", "-c", script])
    assert "RRSIG" not in done.out and "denied" in done.out, done


def test_a_private_answer_is_reached_only_when_that_is_lifted(place):
    step = steps("look private.example.com", "tcp private.example.com 80 x")
    assert place.plain(step).op("connect").result == "ok"
    done = place.run(["--allow", "private.example.com"], step)
    assert done.op("look").result == "ok" and done.op("connect").result == "EPERM", done
    assert f"{PRIVATE4}:80" in done.err and "always-denied" in done.err, done
    lifted = ["--allow", "private.example.com", "--allow-private", PRIVATE4]
    assert place.run(lifted, step).op("connect").result == "ok"
    other = ["--allow", "v4.example.com", "--allow-private", PRIVATE4]
    assert place.run(other, steps(f"tcp {PRIVATE4} 80 x")).op("connect").result == "EPERM"

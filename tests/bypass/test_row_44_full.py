# SPDX-License-Identifier: MIT
"""Row 44: one sandbox fills whatever a sandbox may fill; another one notices nothing."""

import json
import threading
import time

import pytest

from captive import Captive
from crafted import RESOLVER4
from dnsrows import GOOD, NAMED, TO4, assert_reached, assert_shut, learn, questions_seen
from dnswire import QNAME, address, query
from internet import PORT
from wait import until

NAMES = 3000
LEASES = 2048  # of a sandbox
QUESTIONS = 512  # that wait
MINE = [f"93.184.1.{n}" for n in range(1, 51)]


def answer_by_number(asked):
    """n12.wild.example.com is 93.184.(100 + 12 / 250).(12 % 250 + 1); GOOD is the victim's."""
    if not asked.name.startswith("n"):
        return [asked.reply([address(QNAME, one) for one in MINE])]
    n = number(asked)
    return [asked.reply([address(QNAME, f"93.184.{100 + n // 250}.{n % 250 + 1}")])]


def number(asked):
    return int(asked.name.split(".")[0][1:])


def numbered(count):
    return [query(f"n{n}.wild.example.com", n * 7 % 65536).hex() for n in range(count)]


@pytest.fixture
def victim(net, dns):
    with Captive(net, NAMED) as box:
        learn(dns, box, *MINE)
        yield box


def assert_whole(net, victim):
    """All that it could reach it reaches, and it learns anew."""
    assert victim.knock_all(to=[[one, PORT] for one in MINE], data="78") == {"ok": len(MINE)}
    assert set(victim.leases()) >= set(MINE)
    assert_reached(net, victim, MINE[0])
    quota = victim.quota()
    assert not quota["leases_refused"] and not quota["questions_refused"] and not quota["names_displaced"], quota


def test_names_and_addresses(net, dns, free, named, victim):
    dns.answer = answer_by_number
    results = []

    def keep_on():
        while not results:
            assert victim.knock_all(to=[[one, PORT] for one in MINE], data="78") == {"ok": len(MINE)}
        results.append("whole")

    during = threading.Thread(target=keep_on)
    during.start()
    try:
        answered = named.ask_all(data=numbered(NAMES), to=TO4)
    finally:
        results.append("over")
        during.join(30)
    assert "whole" in results and answered == NAMES
    leases, quota = named.leases(), named.quota()
    assert len(leases) <= LEASES
    assert len(leases) > LEASES * 9 // 10, "it was filled"
    assert quota["leases_refused"] >= NAMES - LEASES, quota
    refused = next(f"93.184.{100 + n // 250}.{n % 250 + 1}" for n in range(NAMES - 1, 0, -1)
                   if f"93.184.{100 + n // 250}.{n % 250 + 1}" not in leases)
    assert_shut(net, named, free, refused)
    assert_whole(net, victim)
    learn(dns, victim, "93.184.2.2")
    assert_reached(net, victim, "93.184.2.2")


def test_questions_that_nobody_answers(net, dns, named, victim):
    dns.answer = lambda asked: ()
    named.open_socket(bind=["0.0.0.0", 0])
    since = net.mark()
    results = named.send_all(data=[query(GOOD, n).hex() for n in range(5000)], to=TO4)
    # What was refused is refused by name; and no more than the places let pass.
    assert set(results) <= {"ok", "EPERM"}, results
    if net.kind.has_errors:
        assert results["ok"] <= QUESTIONS and results["EPERM"] >= 4000, results
    net.fence()
    assert 0 < len(questions_seen(net, since)) <= QUESTIONS, results
    assert_whole(net, victim)
    learn(dns, victim, "93.184.2.3")


def test_replies_of_many_addresses(net, dns, named, victim):
    """64 of a reply count; 100 replies of 90 fill what there is, and no more."""
    def many(asked):
        n = number(asked)
        return [asked.reply([address(QNAME, f"93.184.{100 + n}.{m}") for m in range(1, 87)])]

    dns.answer = many
    assert named.ask_all(data=numbered(100), to=TO4) == 100
    assert LEASES * 9 // 10 < len(named.leases()) <= LEASES
    assert_whole(net, victim)


def test_many_names_of_one_address(net, dns, free, named, victim):
    """Four names stand with an address; a fifth takes the place of one of this sandbox's."""
    target = "93.184.3.3"
    dns.answer = lambda asked: [asked.reply([address(QNAME, target)])]
    assert named.ask_all(data=numbered(1000), to=TO4) == 1000
    assert len(named.leases()[target]) == 4
    assert named.quota()["names_displaced"] == 996
    assert_reached(net, named, target)
    assert_shut(net, named, free, "93.184.3.4")
    assert_whole(net, victim)


def test_room_comes_back(net, dns, tmp_path):
    """What has ended makes room by itself, as it is needed: three times as many as there is room for, one after another."""
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"allowOut": [f"*.wild.example.com:{PORT}"], "denyOut": ["0.0.0.0/0"],
                                "dns": {"minTtl": 1, "maxTtl": 1, "resolvers": [RESOLVER4]}}))
    with Captive(net, ["--policy", path]) as box:
        for turn in range(3):
            dns.answer = lambda asked, t=turn: [asked.reply([address(QNAME, f"93.184.{150 + t * 10 + number(asked) // 250}."
                                                                             f"{number(asked) % 250 + 1}")])]
            assert box.ask_all(data=[query(f"n{n}.t{turn}.wild.example.com", n).hex() for n in range(2000)], to=TO4) == 2000
            fresh = {one for one in box.leases() if one.startswith(f"93.184.{150 + turn * 10 + 7}.")}
            assert len(fresh) == 250, (turn, len(fresh), box.quota())
            end = max(box.lease_ends().values())
            until(lambda e=end: time.clock_gettime_ns(time.CLOCK_BOOTTIME) > e, "the leases have ended")
        assert not box.quota()["leases_refused"], box.quota()

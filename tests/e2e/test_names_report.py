# SPDX-License-Identifier: MIT
"""What a run with names says: before it starts, in its summary and in its report."""

import json

import pytest

from internet import PRIVATE4
from names import Place, place_of, steps
from postern import POSTERN
from resolver import ADDRESSES, CHAIN, HUNDRED, V4

RESOLVER = ADDRESSES["unbound"]["public"]
POLICY = {"denyOut": ["0.0.0.0/0"], "allowOut": ["v4.example.com", "web.example.com:22", "chain0.example.com"],
          "dns": {"minTtl": 1, "maxTtl": 1}}


@pytest.fixture
def place(net, resolvers, tmp_path):
    return place_of(net, tmp_path)


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    return path


def rows(done):
    """Destination -> the rest of its row of the summary."""
    split = [line.split(None, 2) for line in done.err.splitlines() if line.strip()[:1].isdigit()]
    return {row[2].split("  ")[0]: (int(row[0]), row[1], row[2].split("  ", 1)[1].strip()) for row in split}


def explained(place, policy, dest):
    done = place.plain([POSTERN, "explain", "-o", "json", "--policy", str(policy), dest])
    assert done.code == 10, done
    return done.json()


ASK = steps("look off.v4.example.com", "look v4.example.com", f"tcp {V4} 22 x", "look chain0.example.com",
            "until chain0.example.com 80 EPERM")


def test_the_summary_names_names_and_says_what_helps(web, place, policy):
    done = place.run(["--policy", policy], ASK)
    found = rows(done)
    assert done.op("look").result == "ok", f"the control: {done}"
    count, verdict, why = found[f"dns off.v4.example.com ({RESOLVER})"]
    assert verdict == "deny" and count >= 1 and why.startswith("name-gate: "), done
    assert why.endswith('; nearest rule "v4.example.com" does not cover subdomains'), done
    assert found[f"v4.example.com:22/tcp ({V4})"][2].endswith(
        '; nearest rule "v4.example.com" covers the name on tcp 80 and 443 only'), done
    why = found[f"chain0.example.com:80/tcp ({CHAIN})"][2]
    assert why.startswith("lease-expired: allowOut[2] chain0.example.com; "), done
    assert "your program keeps DNS answers longer than 1 s" in why, done


def test_the_report_has_the_words_of_explain(web, place, policy, tmp_path):
    report = tmp_path / "report.json"
    done = place.run(["--policy", policy, "--report", report], ASK)
    events = {(row["name"], row["reason"]): row for row in json.loads(report.read_text())["events"]}
    gate = events[("off.v4.example.com", "name-gate")]
    told = explained(place, policy, "off.v4.example.com")
    assert (gate["nearest"], gate["fix"]) == (told["nearest"], told["fix"]), f"{told}\n{done}"
    assert (gate["address"], gate["port"], gate["protocol"], gate["step"]) == (RESOLVER, 53, "udp", 6), gate
    port = events[("v4.example.com", "default-deny")]
    told = explained(place, policy, "v4.example.com:22/tcp")
    assert (port["nearest"], port["fix"]) == (told["nearest"], told["fix"]), f"{told}\n{port}"
    expired = events[("chain0.example.com", "lease-expired")]
    assert expired["rule"] == "allowOut[2] chain0.example.com" and 1 <= expired["age"] < 20, expired
    assert '"minTtl"' in expired["fix"], expired


def test_the_report_counts_replies(web, place, tmp_path):
    """Cut short without EDNS; learned, negative and empty ones with."""
    report = tmp_path / "report.json"
    script = ("dig +noedns +ignore +tries=1 A hundred.example.com >/dev/null; "
              "for n in v4 nodata; do dig +tries=1 A $n.example.com >/dev/null; done; "
              "dig +tries=1 A no.v4.example.com >/dev/null; true")
    done = place.run(["--allow", "*.example.com", "--report", report], ["bash", "-c", script])
    dns = json.loads(report.read_text())["dns"]
    assert dns == {"leasesRefused": 0, "namesDisplaced": 0, "questionsRefused": 0,
                   "replies": {"unasked": 0, "learned": 1, "empty": 1, "truncated": 1, "malformed": 0, "oversize": 0,
                               "error": 1, "untrusted": 0}}, f"{dns}\n{done}"
    assert done.err == "postern: DNS: 1 reply not learned: truncated, and TCP needs the relay\n", done


def test_an_answer_that_goes_to_a_private_address_says_who_can_open_it(place):
    done = place.run(["--allow", "private.example.com"], steps("look private.example.com", f"tcp {PRIVATE4} 80 x"))
    assert done.op("look").result == "ok" and done.op("connect").result == "EPERM", done
    assert "always-denied" in done.err and f"--allow-private {PRIVATE4}" in done.err, done


def test_names_without_a_resolver_are_warned_of(net, resolvers, tmp_path):
    nowhere = Place(net, tmp_path)
    done = nowhere.run(["--allow", "v4.example.com"], ["true"])
    assert done.code == 0 and "no name will resolve" in done.err and "--resolver" in done.err, done
    for policy in (["--allow", "v4.example.com", "--resolver", RESOLVER], ["--allow", HUNDRED[0]], []):
        done = nowhere.run(policy, ["true"])
        assert done.code == 0 and done.err == "", done
    done = place_of(net, tmp_path).run(["--allow", "v4.example.com"], ["true"])
    assert done.code == 0 and done.err == "", done


def test_a_search_list_ends_at_a_name_off_the_list(web, place):
    """As OPERATING.md says: glibc goes no further; a dot at the end helps."""
    place.conf.write_text(place.conf.read_text() + "search svc.example.net\noptions ndots:5\n")
    name = "v4.example.com"
    assert place.plain(steps("look " + name)).op("look").result == "ok"
    done = place.run(["--allow", name], steps("look " + name))
    assert done.op("look").result != "ok" and f"dns {name}.svc.example.net ({RESOLVER})" in rows(done), done
    done = place.run(["--allow", name], steps(f"look {name}."))
    assert done.op("look").result == "ok" and done.err == "", done

# SPDX-License-Identifier: MIT
"""
`postern run` and a relay of its own: its child, while CMD runs, and only where the policy needs one; of both kinds. The
oracles are the peers' logs and the wire before them.
"""

import json
import os
from pathlib import Path

import pytest

from postern import POSTERN, Running, cgroup2_mount, execute
from relaybox import children
from relaypeers import DNS4, ECHO, ECHO4, NGINX4, OPEN4, ORIGIN4, SOCKS

ONE, TWO, API = "one.example.org", "two.example.org", "api.example.com"
WAYS = {"cgroup": [], "netns": ["--netns"]}
SECRET = "pst-run-secret-71c4"
# The resolver of the host, as it is for `postern run` and CMD, is the peers'.
RESOLVING = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"'
CURL = "curl -sS -m 30 --noproxy '*'"


@pytest.fixture(params=WAYS)
def run(request, net, peers, tmp_path):
    """Runs argv under a policy that denies everything but `allow`: (result, report)."""
    assert peers

    def ran(argv, allow, options=(), **keys):
        policy, report, conf = (tmp_path / name for name in ("policy.json", "report.json", "resolv.conf"))
        conf.write_text(f"nameserver {DNS4}\n")
        policy.write_text(json.dumps({"allowOut": allow, "denyOut": ["0.0.0.0/0"], **keys}))
        done = execute(net, ["unshare", "-m", "sh", "-c", RESOLVING, str(conf), POSTERN, "run", *WAYS[request.param],
                             "--policy", str(policy), "--report", str(report), *options, "--", *argv], timeout=120)
        return done, json.loads(report.read_text())
    return ran


def test_the_name_decides_and_is_reported(run, peers):
    script = f"{CURL} http://{ONE}/; {CURL} -H 'Host: {TWO}' http://{ONE}/"
    done, report = run(["sh", "-c", script], [ONE], hostCheck="strict")
    assert done.out.startswith("one http \n") and "postern: blocked" in done.out and TWO in done.out, done
    assert "two http" not in done.out, done
    assert report["relayed"]["connections"] >= 1 and report["relayed"]["bytesIn"] > 0, report
    assert report["reasons"].get("host-check") == 1, report
    assert [e for e in report["events"] if e["reason"] == "host-check" and e["name"] == TWO], report
    assert "host-check" in done.err and "two http" not in peers.access_log()


def test_a_proxy_is_the_only_way(run, peers):
    since = peers.mark()
    done, report = run(["sh", "-c", f"{CURL} http://{NGINX4}/ -H 'Host: {ONE}'"], [NGINX4],
                       egressProxy={"address": f"{OPEN4}:{SOCKS}"})
    assert done.out == "one http \n", done
    # The proxy's own: it is beside the server, where no packet of ours is seen.
    assert not peers.seen(NGINX4, since=since), "it went direct"
    assert report["relayed"]["connections"] == 1, report
    # The control: the same without a proxy.
    done, _ = run(["sh", "-c", f"{CURL} http://{NGINX4}/ -H 'Host: {ONE}'"], [NGINX4])
    assert done.out == "one http \n" and peers.seen(NGINX4, since=since), done


def test_headers_are_injected_and_cmd_is_told_whom_to_trust(run):
    rules = {API: [{"transform": {"headers": {"X-Key": SECRET}}}]}
    script = f"cat $SSL_CERT_FILE | head -3; env; {CURL} http://{API}/"
    done, report = run(["sh", "-c", script], [API], rules=rules)
    assert f'["X-Key", "{SECRET}"]' in done.out, done
    names = {"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"}
    told = dict(line.split("=", 1) for line in done.out.splitlines() if line.split("=")[0] in names)
    assert set(told) == names and len(set(told.values())) == 1, done
    assert done.out.startswith("-----BEGIN CERTIFICATE-----"), done
    assert not os.path.exists(told["SSL_CERT_FILE"]), "it went with the run"
    assert SECRET not in json.dumps(report) and SECRET not in done.err


def test_the_real_server_is_verified_against_the_system_and_what_is_given(run, peers):
    rules = {API: [{"transform": {"headers": {"X-Key": SECRET}}}]}
    script = f"{CURL} https://{API}/"
    done, _ = run(["sh", "-c", script], [API], rules=rules)
    assert SECRET not in done.out and "certificate" in done.out, done
    done, _ = run(["sh", "-c", script], [API], options=["--ca-bundle", str(peers.ca.certificate)], rules=rules)
    assert f'["X-Key", "{SECRET}"]' in done.out, done
    done = execute(peers.net, [POSTERN, "run", "--ca-bundle", "/nowhere.pem", "--allow", API, "--", "true"], timeout=120)
    assert done.code == 0, "nothing of it is read where no relay is needed"


def test_the_relay_is_there_where_it_is_needed_and_while(net, peers, tmp_path):
    assert peers
    for keys, count in (({"hostCheck": "strict"}, 1), ({"egressProxy": {"address": f"{OPEN4}:{SOCKS}"}}, 1),
                        ({}, 0), ({"allowOut": [ECHO4], "hostCheck": "strict"}, 0)):
        policy = tmp_path / "policy.json"
        policy.write_text(json.dumps({"allowOut": [ONE], "denyOut": ["0.0.0.0/0"], **keys}))
        running = Running(net, [POSTERN, "run", "--policy", str(policy), "--resolver", DNS4, "--",
                                "sh", "-c", "echo up; read line"], stdin=-1)
        try:
            running.await_line(lambda line: line == "up", "CMD runs", 60)
            found = children(running.process.pid)
            assert len(found) == count, (keys, found)
        finally:
            running.stop()
        assert not [pid for pid in found if Path(f"/proc/{pid}").exists()], "it ends with the run"
    left = [path.name for path in Path(cgroup2_mount()).glob(f"postern-run/run-{running.process.pid}-*")]
    assert not left, left


def test_a_run_without_a_network_of_its_own_tells_of_ports_too(run, peers):
    """What is no web: opaque, by an address rule, and counted."""
    since = peers.mark()
    script = f"exec 3<>/dev/tcp/{ECHO4}/{ECHO}; echo hello >&3; head -c 5 <&3"
    done, report = run(["bash", "-c", script], [ECHO4], egressProxy={"address": f"{OPEN4}:{SOCKS}"})
    assert done.out == "hello" and not peers.seen(ECHO4, since=since), done
    assert report["relayed"]["connections"] == 1 and report["relayed"]["bytesOut"] >= 6, report
    assert ORIGIN4 not in done.err


def test_dns_over_tcp_is_answered_where_it_is_asked_for(run, peers):
    """By its own relay: the gate holds, and what was answered is open when the answer comes."""
    echo, off = "echo.example.org", "off.example.org"
    script = f"dig +tcp +tries=1 +time=10 @{DNS4} {off} | grep -E 'status|EDE'; " \
             f"dig +tcp +short +tries=1 +time=10 @{DNS4} {echo}; exec 3<>/dev/tcp/{ECHO4}/{ECHO} && echo hello >&3 && head -n 1 <&3"
    asked = len(peers.dns.asked)
    done, report = run(["bash", "-c", script], [f"{echo}:{ECHO}"], options=["--dns-tcp"])
    assert ECHO4 in done.out and "hello" in done.out and "NXDOMAIN" in done.out, done
    assert {q.protocol for q in peers.dns.asked_for(echo, asked)} == {"tcp"}
    assert not peers.dns.asked_for(off, asked)
    # The control: the same without the option, and nothing is asked or open.
    asked = len(peers.dns.asked)
    done, report = run(["bash", "-c", script], [f"{echo}:{ECHO}"])
    assert "hello" not in done.out and report["reasons"].get("dns-tcp"), (done, report)
    assert not peers.dns.asked[asked:]


def test_dns_over_tcp_costs_no_relay_where_nothing_is_gated(net, peers):
    assert peers
    done = execute(net, [POSTERN, "run", "--dns-tcp", "--allow", NGINX4, "--", "ps", "-e"], timeout=60)
    assert done.code == 0 and "postern-relay" not in done.out, done

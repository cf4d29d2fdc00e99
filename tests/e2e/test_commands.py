# SPDX-License-Identifier: MIT
"""check, explain, doctor, help: output and exit codes."""

import json
import shutil

import pytest

from internet import ALLOWED4, DENIED4, HOST4, PORT
from postern import POSTERN, assert_denied, execute, flow, sandboxed

POLICY = {"allowOut": ["93.184.216.0/24:7000", "10.0.0.0/8"], "denyOut": ["0.0.0.0/0"]}


@pytest.fixture
def write(tmp_path):
    def write_policy(document, name="policy.json"):
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)
    return write_policy


def command(net, *argv):
    return execute(net, [POSTERN, *argv])


def test_check_says_ok_and_warns(net, write):
    done = command(net, "check", write(POLICY))
    assert done.code == 0 and "ok" in done.out, done
    assert "warning" in done.err and "allowOut[1]" in done.err, done


def test_check_shows_no_control_characters_of_a_name(net, write):
    """Who names a file does not drive the terminal of who checks it."""
    for document in (POLICY, "[]"):
        done = command(net, "check", write(document, "a\x1b[31m.json"))
        assert "a?[31m.json" in done.out + done.err and "\x1b" not in done.out + done.err, done
    path = write(POLICY, "a\x1b\udcff.json")
    assert json.loads(command(net, "check", "-o", "json", path).out)[0]["file"].endswith("a\x1b?.json")


def test_check_rejects_with_a_place(net, write):
    done = command(net, "check", write('{"allowOut": ["1.1.1.1/40"]}'))
    assert done.code == 3 and "policy.json:1:" in done.err and "allowOut[0]" in done.err, done


def test_check_judges_the_tests_in_a_document(net, write):
    tests = [{"to": f"{ALLOWED4}:7000", "expect": "allow"}, {"to": f"{DENIED4}:443", "expect": "deny"}]
    assert command(net, "check", write({**POLICY, "tests": tests})).code == 0
    tests[1]["expect"] = "allow"
    done = command(net, "check", write({**POLICY, "tests": tests}))
    assert done.code == 10, done
    assert sandboxed(net, ["--policy", write({**POLICY, "tests": tests})], ["true"]).code == 3


def test_check_in_json(net, write):
    good, bad = write(POLICY, "good.json"), write("{", "bad.json")
    done = command(net, "check", "-o", "json", good, bad)
    assert done.code == 3
    first, second = done.json()
    assert first["valid"] and first["rules"] == 2 and first["default"] == "deny" and first["warnings"]
    assert not second["valid"] and "bad.json" in second["error"]


@pytest.mark.parametrize("to,code,reason,step", [
    (f"{ALLOWED4}:7000", 0, "allow-rule", 8),
    (f"{ALLOWED4}:8080", 10, "default-deny", 11),
    (DENIED4, 10, "default-deny", 11),
    ("10.1.2.3:443", 10, "always-denied", 7),
    ("169.254.169.254:80", 10, "always-denied", 7),
    ("[::ffff:169.254.169.254]:80", 10, "always-denied", 7),
    ("http://93.184.216.1:7000/x", 0, "allow-rule", 8),
    ("[64:ff9b::a00:1]:443", 10, "always-denied", 7),
])
def test_explain(net, write, to, code, reason, step):
    done = command(net, "explain", "-o", "json", "--policy", write(POLICY), to)
    assert done.code == code, done
    answer = done.json()
    assert (answer["reason"], answer["step"]) == (reason, step), done
    assert bool(answer["fix"]) == (code == 10), done
    text = command(net, "explain", "--policy", write(POLICY), to)
    assert text.code == code and reason in text.out, text


def test_explain_agrees_with_the_kernel(net, write):
    path = write(POLICY)
    for address, port, code, result in ((ALLOWED4, 7000, 0, "ok"), (ALLOWED4, 8080, 10, "EPERM"),
                                        (DENIED4, 7000, 10, "EPERM"), ("10.1.2.3", 7000, 10, "EPERM")):
        told = command(net, "explain", "--policy", path, f"{address}:{port}")
        done = sandboxed(net, ["--policy", path], flow("tcp", address, port, "x"))
        assert (told.code, done.op("connect").result) == (code, result), f"{told}\n{done}"


def test_explain_names_the_nearest_rule(net, write):
    done = command(net, "explain", "-o", "json", "--policy", write(POLICY), f"{ALLOWED4}:8080")
    assert "93.184.216.0/24:7000" in done.json()["nearest"], done


NAMES = {"denyOut": ["0.0.0.0/0"], "allowOut": ["github.com", "git.example.com:22"],
         "dns": {"resolvers": ["192.0.2.53"]}}


@pytest.mark.parametrize("to,code,words", [
    ("github.com", 0, ["step     9", "rule     allowOut[0] github.com"]),
    ("api.github.com", 10, ["step     6", "name-gate", "allowOut[0] github.com: does not cover subdomains",
                            'add "api.github.com" to allowOut']),
    ("git.example.com", 10, ["step     11", "default-deny", "git.example.com:22: covers the name on other ports only"]),
    ("192.0.2.53:53/udp", 0, ["udp 53: gate", "each question is held against the names"]),
    ("192.0.2.53:53/tcp", 10, ["dns-tcp", "over UDP"]),
    ("192.0.2.54:53/udp", 10, ["untrusted-resolver", "--resolver 192.0.2.54"]),
])
def test_explain_of_names_and_resolvers(net, write, to, code, words):
    done = command(net, "explain", "--policy", write(NAMES), to)
    assert done.code == code, done
    for word in words:
        assert word in done.out, done


@pytest.mark.parametrize("to,code,words", [
    ("github.com", 0, ["tcp 443: relay", "host-name", "rule     allowOut[0] github.com"]),
    ("140.82.112.5", 0, ["tcp 443: relay", "when a rule covers the name in SNI or Host"]),
    ("github.com:443/udp", 10, ["quic", "clients use TCP instead"]),
    ("git.example.com:22", 0, ["tcp 22: allow", "rule     allowOut[1] git.example.com:22"]),
    ("192.0.2.53:53/tcp", 0, ["tcp 53: relay"]),
])
def test_explain_under_the_host_check(net, write, to, code, words):
    done = command(net, "explain", "--policy", write({**NAMES, "hostCheck": "strict"}), to)
    assert done.code == code, done
    for word in words:
        assert word in done.out, done


def test_explain_knows_the_hosts_own_addresses(net, write):
    done = command(net, "explain", "-o", "json", "--policy", write({"allowOut": [HOST4], "denyOut": ["0.0.0.0/0"]}),
                   f"{HOST4}:22")
    assert done.code == 10 or done.json()["step"] == 5, done


@pytest.mark.parametrize("argv,code", [
    (["explain", "nobody", DENIED4], 5), (["explain", DENIED4], 2), (["check"], 2), (["check", "/nowhere"], 3),
    (["no-such-command"], 2), ([], 2), (["explain", "--policy", "/nowhere", DENIED4], 3),
    (["doctor", "extra"], 2), (["check", "-o", "xml", "/nowhere"], 2),
])
def test_mistakes(net, argv, code):
    done = command(net, *argv)
    assert done.code == code and done.err.strip() and not done.out, done


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["check", "-h"], ["explain", "--help"],
                                  ["doctor", "--help"]])
def test_help(net, argv):
    done = command(net, *argv)
    assert done.code == 0 and "Usage" in done.out and not done.err, done


def test_doctor_finds_this_host_able(net):
    done = command(net, "doctor", "-o", "json")
    lines = done.json()
    failures = [line for line in lines if line["level"] == "failure"]
    assert done.code == (6 if failures else 0), done
    assert not failures, failures
    what = {line["what"]: line for line in lines}
    for hook in ("cgroup/connect4", "cgroup/connect6", "cgroup/sendmsg4", "cgroup/sendmsg6", "cgroup_skb/egress",
                 "cgroup_skb/ingress", "cgroup/setsockopt"):
        assert what[hook]["level"] == "ok", what[hook]
    assert what["postern-relay"]["found"].startswith("there, "), what["postern-relay"]
    for line in lines:
        assert (line["fix"] == "") == (line["level"] == "ok"), line
    text = command(net, "doctor")
    assert text.code == done.code and "cgroup/connect4" in text.out, text


def test_doctor_misses_the_relay(net, tmp_path):
    alone = tmp_path / "postern"
    shutil.copy(POSTERN, alone)
    done = execute(net, [alone, "doctor", "-o", "json"])
    line, = [line for line in done.json() if line["what"] == "postern-relay"]
    assert line["level"] == "warning" and "there is no postern-relay" in line["found"], line
    assert "make install" in line["fix"]


def test_doctor_without_root_says_what_to_do(net):
    done = execute(net, ["setpriv", "--reuid=65534", "--clear-groups", POSTERN, "doctor"])
    assert done.code == 6, done


def test_the_summary_and_explain_use_the_same_words(net, write):
    path = write(POLICY)
    done = assert_denied(net, flow("tcp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=["--policy", path],
                         op="connect")
    told = command(net, "explain", "--policy", path, f"{DENIED4}:{PORT}")
    sentence = next(line.split(":", 1)[1].strip() for line in told.out.splitlines() if "default-deny" in line)
    assert sentence in done.err, f"{told}\n{done}"

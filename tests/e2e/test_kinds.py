# SPDX-License-Identifier: MIT
"""The table of what runs for which kind of sandbox, and the words in which the netdev kind tells of a denial."""

import fnmatch

import pytest

import kinds
import kindtable
from internet import ALLOWED4, DENIED4, DENIED6, PORT
from postern import ROOT, Op, flow, tool


def test_every_file_stands_in_the_table_once():
    files = {f"{where}/{path.name}" for where in ("e2e", "bypass") for path in (ROOT / "tests" / where).glob("test_*.py")}
    rows = [*kindtable.WAYS, *kindtable.CGROUP_ALONE, *kindtable.OTHERWISE]
    found = {file: [row for row in rows if fnmatch.fnmatchcase(file, row)] for file in files}
    assert not {file: rows for file, rows in found.items() if len(rows) != 1}, "say in tests/lib/kindtable.py for which kind"
    assert {row for row in rows if "*" not in row} <= files


def test_every_exception_is_one(request):
    """Of the files that were collected as a whole."""
    config = request.config
    if config.option.keyword or any("::" in argument for argument in config.args):
        pytest.skip("a part of the tests was asked for")
    collected = {kindtable.name_of(item.nodeid).split("::")[0] for item in request.session.items}
    unused = [pattern for pattern in kindtable.EXCEPT
              if kindtable.USED and pattern.split("::")[0] in collected and pattern not in kindtable.USED]
    assert not unused, unused


def ops(*pairs):
    return [Op(name, result, 1.0) for name, result in pairs]


@pytest.mark.parametrize("raw,told", [
    ([("connect", "ECONNREFUSED")], [("connect", "EPERM")]),
    ([("connect", "ok"), ("send", "ECONNREFUSED")], [("connect", "EPERM"), ("send", "EPERM")]),
    ([("sendto", "ok"), ("recv", "EHOSTUNREACH")], [("sendto", "EPERM"), ("recv", "EPERM")]),
    ([("connect", "ok"), ("send", "ok"), ("recv", "EACCES")], [("connect", "EPERM"), ("send", "EPERM"), ("recv", "EPERM")]),
    ([("connect", "ok"), ("send", "ok"), ("recv", "ok"), ("connect", "ECONNREFUSED")],
     [("connect", "ok"), ("send", "ok"), ("recv", "ok"), ("connect", "EPERM")]),
    ([("sendto", "ok"), ("recv", "ETIMEDOUT")], [("sendto", "ok"), ("recv", "ETIMEDOUT")]),
])
def test_a_refusal_is_the_word_of_the_tests(raw, told):
    assert kinds.Netdev(None).told(ops(*raw)) == ops(*told)
    assert kinds.Cgroup(None).told(ops(*raw)) == ops(*raw)


@pytest.mark.parametrize("argv,word", [
    (flow("tcp", DENIED4, PORT, "x"), "ECONNREFUSED"), (flow("tfo-connect", DENIED6, PORT, "x"), "ECONNREFUSED"),
    (flow("udp", DENIED4, PORT, "x"), "EHOSTUNREACH"), (flow("udp", "::ffff:" + DENIED4, PORT, "x"), "EHOSTUNREACH"),
    (flow("udp-connected", DENIED6, PORT, "x"), "EACCES"), (tool("uring", "async", "tcp", DENIED4, PORT, "x"), "ECONNREFUSED"),
    (flow("-n", "udp", DENIED4, PORT, "x"), None), (tool("raw", "ping", DENIED4, "x"), None),
    (flow("sendmmsg", ALLOWED4, PORT, DENIED4, PORT, "x"), None),
])
def test_which_program_hears_of_its_denial(argv, word):
    assert kinds.expected(argv) == word
    kind = kinds.Netdev(None)
    if word:
        assert kind.tells(argv, ops(("recv", word)))
        with pytest.raises(AssertionError):
            kind.tells(argv, ops(("recv", "ETIMEDOUT")))
    else:
        assert not kind.tells(argv, ops(("sendto", "ok")))


def test_a_policy_of_options_as_a_document():
    options = ["--keep-privs", "--allow", "1.1.1.1", "--resolver", "9.9.9.9", "--allow-private", "10.0.0.0/8"]
    assert kinds.document(options) == {"allowOut": ["1.1.1.1"], "denyOut": ["0.0.0.0/0"], "allowPrivate": ["10.0.0.0/8"],
                                       "dns": {"resolvers": ["9.9.9.9"]}}
    assert kinds.document(["--deny", "1.1.1.1"]) == {"denyOut": ["1.1.1.1"]}
    assert kinds.document([]) == {}

# SPDX-License-Identifier: MIT
"""
`existing: keep` spares flows, not sockets: what was allowed before lends nothing to another connection, to another
peer, or to a policy that does not keep.
"""

import socket

import pytest

from daemon import DENY_ALL
from insider import inside
from internet import ALLOWED4, DENIED4, PORT, canary

OTHER4 = "93.184.217.8"  # denied by all of these
BOTH = {**DENY_ALL, "allowOut": [ALLOWED4, DENIED4]}
ONE = {**DENY_ALL, "allowOut": [ALLOWED4]}
KEEP = {**BOTH, "existing": "keep"}
KEPT = {**ONE, "existing": "keep"}
RECHECK = {**ONE, "existing": "recheck"}

FLOW = """
s = sockets["s"] = socket.socket(socket.AF_INET, kind)
s.settimeout(3)
s.bind(("0.0.0.0", bound))
s.connect((to, port))
s.send(b"first")
out = s.getsockname()[1] if s.recv(99) else 0
"""
SEND = "out = tried(sockets['s'].send, bytes.fromhex(data))"
AGAIN = """
s = sockets["s"]
out = [connect(None, "s")]
for where in to:
    out.append(tried(s.connect, (where, port)))
    out.append(tried(s.send, bytes.fromhex(data)))
"""
ANEW = """
s = sockets["s"] = socket.socket(socket.AF_INET, kind)
s.settimeout(1)
out = [tried(s.connect, (to, port)), tried(s.send, bytes.fromhex(data))]
"""
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def leaves(net, since, token):
    net.fence()
    return {str(frame.dst) for frame in net.seen(token=token, since=since)}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def kept(net, daemon, kind):
    """Who holds a kept flow to DENIED4, which really is kept."""
    box = daemon.attach("keeper", daemon.cgroup("keeper"), KEEP)
    with inside(box) as who:
        assert who.script(code=FLOW, kind=kind, bound=0, to=DENIED4, port=PORT)
        box.put(KEPT)
        token, since = canary(), net.mark()
        assert who.script(code=SEND, data=token.encode().hex()) == "ok"
        assert leaves(net, since, token) == {DENIED4}, "the control: the flow is kept"
        yield box, who


def test_a_socket_that_had_a_kept_flow_has_none_to_others(net, kept):
    _, who = kept
    token, since = canary(), net.mark()
    result = who.script(code=AGAIN, to=[OTHER4], port=PORT, data=token.encode().hex())
    assert leaves(net, since, token) == set(), result


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM], ids=["tcp"])
def test_to_the_same_peer_anew_is_another_flow(net, kept):
    """UDP to the same peer from the same port is the same flow."""
    _, who = kept
    token, since = canary(), net.mark()
    result = who.script(code=AGAIN, to=[DENIED4], port=PORT, data=token.encode().hex())
    assert leaves(net, since, token) == set(), result


def test_another_socket_has_no_part_in_it(net, kept, kind):
    _, who = kept
    token, since = canary(), net.mark()
    result = who.script(code=ANEW, kind=kind, to=DENIED4, port=PORT, data=token.encode().hex())
    assert leaves(net, since, token) == set(), result


def test_kept_ends_with_the_first_policy_that_rechecks(net, kept):
    box, who = kept
    for policy in (RECHECK, KEPT):
        box.put(policy)
        token, since = canary(), net.mark()
        result = who.script(code=SEND, data=token.encode().hex())
        assert leaves(net, since, token) == set(), result


def test_a_restart_keeps_what_is_kept_and_no_more(net, kept, kind):
    box, who = kept
    box.daemon.restart()
    token, since = canary(), net.mark()
    assert who.script(code=SEND, data=token.encode().hex()) == "ok"
    assert leaves(net, since, token) == {DENIED4}
    token, since = canary(), net.mark()
    result = who.script(code=ANEW, kind=kind, to=DENIED4, port=PORT, data=token.encode().hex())
    assert leaves(net, since, token) == set(), result


def test_what_was_allowed_before_keep_stood_there_is_not_kept(net, daemon, kind):
    box = daemon.attach("late", daemon.cgroup("late"), BOTH)
    with inside(box) as who:
        assert who.script(code=FLOW, kind=kind, bound=0, to=DENIED4, port=PORT)
        box.put(KEPT)
        token, since = canary(), net.mark()
        result = who.script(code=SEND, data=token.encode().hex())
        assert leaves(net, since, token) == set(), result

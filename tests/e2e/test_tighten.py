# SPDX-License-Identifier: MIT
"""A tighter policy is enforced when its reply comes: for flows that live, too. PST_LONG=1: 200 runs."""

import itertools

import pytest

from captive import Captive
from daemon import Daemon
from dnswire import query
from far import KEPT, LONG, NEVER, TIGHT, Far, Streams, now_ns, percentiles
from internet import PORT, canary
from postern import assert_silence
from resolver import ADDRESSES, V4
from wait import until
from wire import Wire

RUNS = 200 if LONG else 30
# By kind of sandbox: flows, ticks, and rounds of all.
FLOWS = {"cgroup": ([("tcp", TIGHT)] * 11 + [("udp", TIGHT)] * 11 + [("connected", TIGHT)] * 10, 1000, RUNS),
         "netdev": ([("tcp", TIGHT)] * 11 + [("udp", TIGHT), ("connected", TIGHT)], 25000, RUNS // 3)}
BESIDE = [("tcp", KEPT), ("udp", KEPT), ("connected", KEPT), ("udp", NEVER), ("tcp", NEVER)]
ENDED = ("ECONNABORTED", "ECONNRESET")
CLOSED = {"denyOut": ["0.0.0.0/0"]}
LATE_MS = 5000  # the aim is 100; what is measured is printed


@pytest.fixture(scope="module", name="far")
def far_fixture():
    with Far() as far:
        yield far


@pytest.fixture
def daemon(far):
    with Daemon(far) as running:
        yield running


def ways(daemon, box):
    """The policy that has TIGHT, and one that has not, by every route in turn."""
    def many(policy):
        reply = daemon.request("PUT", "/v1/policies", {"ids": [box.id], "policy": policy})
        assert reply.status == 200, reply

    def e2b(policy):
        assert box.network(policy).status == 204
    allowing = {**CLOSED, "allowOut": [KEPT, TIGHT]}
    return itertools.cycle([
        (box.put, allowing, {**CLOSED, "allowOut": [KEPT]}),
        (box.put, {"denyOut": [NEVER]}, {"denyOut": [NEVER, "93.184.217.0/24"]}),
        (e2b, allowing, {**CLOSED, "allowOut": [KEPT]}),
        (many, allowing, {"denyOut": [TIGHT, NEVER]}),
        (box.put, {**CLOSED, "allowOut": [KEPT, f"{TIGHT}:7000"]}, {**CLOSED, "allowOut": [KEPT, f"{TIGHT}:7001"]}),
    ])


def late_frames(far, since):
    return [seen for seen in far.dump(since) if seen.dst == TIGHT and seen.payload_ns > since]


@pytest.fixture(name="box", params=["cgroup", "netdev"])
def box_fixture(far, daemon, request):
    if request.param == "cgroup":
        yield daemon.create({})
        return
    with Wire(far) as wire:
        yield wire.attach(daemon)


def test_no_byte_leaves_after_the_reply(far, daemon, box, capsys):
    forms = ways(daemon, box)
    flows, tick_us, runs = FLOWS[box.kind]
    times = []
    box.network({**CLOSED, "allowOut": [KEPT]})
    with Streams(box, flows + BESIDE, tick_us) as streams:
        tight, kept = streams.numbers(TIGHT), streams.numbers(KEPT)
        streams.await_results(kept, ("ok",))
        for run in range(runs):
            put, open_policy, tight_policy = next(forms)
            put(open_policy)
            streams.await_results(tight, ("ok",))
            ports = {streams.states()[n].sport for n in tight}
            before = streams.mark()
            put(tight_policy)
            replied = now_ns()
            streams.await_denied(tight)
            ended = {change.flow: change for change in reversed(streams.errors(streams.numbers(TIGHT, "tcp"), before))}
            assert set(ended) == set(streams.numbers(TIGHT, "tcp"))
            assert {change.result for change in ended.values()} <= set(ENDED), f"run {run}: {ended}"
            times += [max(0, change.ns - replied) / 1e6 for change in ended.values()]
            far.fence()
            seen = {flow.sport for flow in far.dump() if flow.dst == TIGHT and flow.payload}
            assert ports <= seen, "the control: each of them arrived before"
            assert not late_frames(far, replied), f"run {run}, {tight_policy}: {late_frames(far, replied)}"
        assert not streams.errors(kept), streams.errors(kept)
    with capsys.disabled():
        print(f"\n  tightening a {box.kind}, TCP dead after the reply: {percentiles(times)}")
    assert far.frames_to(NEVER) == 0
    assert max(times) < LATE_MS


RESOLVER = ADDRESSES["unbound"]["public"]
NAME = "v4.example.com"
NAMED = {**CLOSED, "allowOut": [f"{NAME}:*"], "dns": {"minTtl": 1, "maxTtl": 1}}
WITHOUT = {**CLOSED, "allowOut": ["chain0.example.com:*"], "dns": {"minTtl": 1, "maxTtl": 1}}


@pytest.fixture
def inside(net, resolvers):
    """Somebody in a sandbox of a daemon that trusts the resolver; with its Box."""
    with Daemon(net, resolvers=[RESOLVER]) as running:
        box = running.create({})
        box.put(NAMED)
        with Captive(net, None, prefix=box.argv([])) as captive:
            yield box, captive


RECEIVE = "sockets[sock].settimeout(5); out = sockets[sock].recv(64).hex()"


def carries(box, captive, sock):
    """Whether what is sent arrives and is answered."""
    net, token = box.daemon.net, canary()
    since, data = net.mark(), token.encode().hex()
    if captive.send(data=data, sock=sock) == "ok":
        assert captive.script(code=RECEIVE, sock=sock) == data
        return bool(net.await_seen(token=token, since=since))
    assert_silence(net, since, token)
    return False


def test_a_flow_of_a_name_outlives_its_lease_and_an_unrelated_change(inside):
    box, captive = inside
    assert captive.knock(to=[V4, PORT], data="00") == "EPERM"
    assert captive.ask(data=query(NAME).hex(), to=[RESOLVER, 53])[1]
    for kind in ("tcp", "udp"):
        assert captive.open_socket(sock=kind, kind=kind) == "ok"
        assert captive.connect(sock=kind, to=[V4, PORT]) == "ok"
        assert carries(box, captive, kind)
    until(lambda: captive.call(to=[V4, PORT]) == "EPERM", "the lease ends")
    for unrelated in ({"denyOut": ["0.0.0.0/0", NEVER]}, {"allowOut": [f"{NAME}:*", KEPT]}, {"audit": False}):
        box.put({**NAMED, **unrelated})
        assert carries(box, captive, "tcp") and carries(box, captive, "udp"), unrelated
        assert captive.call(to=[V4, PORT]) == "EPERM", "the lease has ended still"
    box.put(WITHOUT)
    assert not carries(box, captive, "udp")
    assert captive.send(data="00", sock="tcp") in ENDED

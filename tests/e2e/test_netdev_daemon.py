# SPDX-License-Identifier: MIT
"""
Sandboxes behind devices, through posternd: attached, probed from inside with the far side as the witness, changed by every
route, killed under traffic, found again; and what becomes of them when their device goes, moves, or is called otherwise.
"""

import errno
import json
import os
import signal
import socket
import subprocess

import pytest

from daemon import DENY_ALL, Daemon
from far import KEPT, LONG, NEVER, Far, Streams, now_ns
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, canary
from netns import Namespace, shell
from postern import POSTERN, assert_silence, execute, flow
from reach import is_answered, reaches
from wait import until
from wire import Wire

POLICY = {**DENY_ALL, "allowOut": [ALLOWED4, ALLOWED6]}
TURNED = {**DENY_ALL, "allowOut": [DENIED4, DENIED6]}
SECONDS = 5  # the aim is one; a busy machine needs more


@pytest.fixture(name="wire", params=["veth"])
def wire_fixture(net, request):
    with Wire(net, request.param) as wire:
        yield wire


@pytest.fixture(name="lasting", scope="module")
def lasting_fixture(net):
    """One daemon for the tests that do not end it: a start takes longer than such a test."""
    with Daemon(net, start=False) as running:
        # Its environment is not that of what ends with a test.
        yield running.start(env={"PST_TEST": "lasting"})


@pytest.fixture(name="steady")
def steady_fixture(lasting):
    yield lasting
    for box in lasting.boxes():
        lasting.request("DELETE", f"/v1/sandboxes/{box['id']}")


def open_to(box, address, mode="tcp"):
    return reaches(box, address, mode=mode)


def assert_policy(box, policy=POLICY):
    """As `policy`: POLICY or TURNED; asked by TCP and UDP, IPv4 and IPv6."""
    for mode in ("tcp", "udp-connected"):
        for yes, no in ((ALLOWED4, DENIED4), (ALLOWED6, DENIED6)):
            if policy is TURNED:
                yes, no = no, yes
            assert open_to(box, yes, mode), f"{yes} by {mode}\n{box.daemon.log()}"
            assert not open_to(box, no, mode), f"{no} by {mode}"


def refused(daemon, status, **fields):
    reply = daemon.request("POST", "/v1/sandboxes", {"id": "refused", **fields})
    assert reply.status == status, f"{fields}: {reply}"
    assert "refused" not in {box["id"] for box in daemon.boxes()}
    return reply.json["message"]


def await_state(box, state):
    until(lambda: box.show()["state"] == state, f"{box.id} is {state}\n{box.daemon.log()}", SECONDS)


# ---- attached and changed ----

@pytest.mark.parametrize("wire", ["veth", "tap"], indirect=True)
def test_what_is_behind_a_device_is_held_and_let_go(net, steady, wire):
    for address in (DENIED4, DENIED6):
        token, since = canary(), net.mark()
        assert wire.run(flow("tcp", address, PORT, token)).code == 0, "the control: nobody holds it yet"
        net.await_seen(token=token, since=since)
    box = wire.attach(steady, POLICY)
    assert_policy(box)
    shown = box.show()
    assert (shown["kind"], shown["netdev"], shown["cgroup"]) == ("netdev", wire.device, "")
    expected = [] if wire.kind == "tap" else ["network-admin"]
    assert [hole["name"] for hole in shown["assurance"]["holes"]] == expected, shown["assurance"]
    device = shown["device"]
    assert device["ifindex"] == wire.index and device["attached"] in ("tcx", "clsact")
    assert {wire.addr4, wire.addr6} <= set(device["addresses"]) and device["macs"] == [wire.mac]
    assert (device["dhcp"], device["denySilently"], device["flows"]["max"]) == (False, False, 1024)
    assert set(device["programs"]) == {"pst_from_device", "pst_to_device"}
    box.delete()
    assert wire.run(flow("tcp", DENIED4, PORT, "x")).code == 0
    assert not box.pins().exists()


def test_a_policy_is_changed_by_every_route(steady, wire):
    box = wire.attach(steady, POLICY, name="0123456789abcdef01234567")
    routes = (
        lambda policy: steady.request("PUT", f"/v1/sandboxes/{box.id}/policy", policy).status == 200,
        lambda policy: box.network(policy).status == 204,
        lambda policy: steady.request("PUT", "/v1/policies", {"ids": [box.id], "policy": policy}).status == 200,
    )
    for route in routes:
        assert route(TURNED)
        assert open_to(box, DENIED4) and not open_to(box, ALLOWED4)
        assert route(POLICY)
        assert open_to(box, ALLOWED4) and not open_to(box, DENIED4)
    brimble = {"headers": {"x-brimble-key": "any"}}
    reply = steady.request("PUT", f"/sandboxes/{box.id}/egress", {"mode": "deny_all"}, **brimble)
    assert reply.status == 200, reply
    assert not open_to(box, ALLOWED4)
    reply = steady.request("PUT", f"/sandboxes/{box.id}/egress", {"mode": "open"}, **brimble)
    assert reply.status == 200, reply
    assert open_to(box, DENIED4)


def test_a_policy_that_is_tighter_ends_live_flows_at_their_next_packet(net, steady, wire):
    box = wire.attach(steady, {**DENY_ALL, "allowOut": [ALLOWED4, DENIED4]})
    flows = [("tcp", DENIED4), ("tcp", ALLOWED4), ("udp", DENIED4)]
    before = net.mark()
    with Streams(box, flows, 20000) as streams:
        streams.await_results([0, 1, 2], ("ok",))
        until(lambda: {(f["remote"], f["state"]) for f in listed_flows(box)} >= {(DENIED4, "open"), (ALLOWED4, "open")},
              "both are listed as open")
        one = next(f for f in listed_flows(box) if (f["remote"], f["protocol"]) == (DENIED4, "tcp"))
        assert (one["protocol"], one["remotePort"], one["direction"]) == ("tcp", PORT, "out")
        assert one["rule"] == f"allowOut[1] {DENIED4}" and one["localPort"] > 0
        tried = steady.request("PUT", f"/v1/sandboxes/{box.id}/policy?dry_run=1", POLICY).json
        assert [line for line in tried["flows"] if DENIED4 in line and "would end" in line], tried
        assert not [line for line in tried["flows"] if ALLOWED4 in line], tried
        mark = streams.mark()
        box.put(POLICY)
        replied = now_ns()
        net.fence()  # what was judged before the reply may still be on its way
        since = net.mark()
        streams.await_denied([0, 2])
        assert {f["state"] for f in listed_flows(box) if f["protocol"] == "udp"} == {"unjudged"}
        again = steady.request("PUT", f"/v1/sandboxes/{box.id}/policy?dry_run=1", POLICY).json
        assert again["flows"] == [], "what has ended would not end"
        assert streams.errors([0], mark)[0].result == "ECONNRESET"
        net.fence()
        assert written(net, before), "the control: their writes have a time"
        late = [ns for ns in written(net, before) if ns > replied] + written(net, since)
        assert not late, f"it left after the reply at {replied}: written at {late}"
        assert not streams.errors([1], mark)


def written(net, since):
    """When the streams wrote what has come to DENIED4 by TCP since then: the last word of each record."""
    frames = net.seen(dst=DENIED4, port=PORT, since=since, protocol=socket.IPPROTO_TCP)
    return [int.from_bytes(frame.payload[-8:], "little") for frame in frames if frame.payload]


def listed_flows(box):
    return box.daemon.get(f"/v1/sandboxes/{box.id}/flows").json["flows"]


def test_addresses_are_learned_from_what_the_host_knows_or_asked_for(net, steady):
    with Wire(net, known=True) as wire:
        box = wire.attach(steady, POLICY, addresses=None, macs=None)
        device = box.show()["device"]
        assert {wire.addr4, wire.addr6} <= set(device["addresses"]) and device["macs"] == [wire.mac]
        assert_policy(box)
    with Wire(net, "tap") as wire:
        message = refused(steady, 400, netdev=wire.device)
        assert "--addr" in message and wire.device in message, message
        message = refused(steady, 400, netdev=wire.device, addresses=[wire.addr4, "10.0.0.999"])
        assert message.startswith("addresses[1]: "), message


def test_what_is_no_sandboxs_device_is_refused(net, steady, wire):
    addresses = [wire.addr4]
    assert "nosuch0" in refused(steady, 400, netdev="nosuch0", addresses=addresses)
    assert "lo" in refused(steady, 400, netdev="lo", addresses=addresses)
    assert "default route" in refused(steady, 400, netdev="up0", addresses=addresses)
    for kind in (["type", "bridge"], ["link", "up1", "type", "macvtap", "mode", "bridge"], ["type", "dummy"]):
        made = subprocess.run(["ip", "-n", net.host.name, "link", "add", "pwk0", *kind], capture_output=True, check=False)
        if made.returncode:
            continue  # not a kind that this kernel has
        # Nothing that its user sends arrives at such a device: no verdict would ever be asked for.
        message = refused(steady, 400, netdev="pwk0", addresses=addresses, allowWeak=True)
        net.host.ip("link", "del", "pwk0")
        assert "a veth, tap or netkit" in message, message
    assert refused(steady, 400, netdev=wire.device, cgroup="x").startswith("expected exactly one")
    assert refused(steady, 400, cgroup="x", addresses=addresses) == "addresses: only with 'netdev'"
    assert refused(steady, 400, netdev=wire.device, addresses=["10.0.0.1"] * 9).startswith("addresses: 9 entries")
    assert refused(steady, 400, netdev=wire.device, addresses=addresses, flows=0).startswith("flows: 0 is out of range")
    assert refused(steady, 400, netdev=wire.device, addresses=[None]) == \
        "addresses[0]: expected a string, found null"
    assert refused(steady, 400, netdev=wire.device, addresses=addresses, macs=["02:00"]).startswith("macs[0]: ")
    box = wire.attach(steady, POLICY)
    reply = steady.request("POST", "/v1/sandboxes", {"id": "second", **wire.fields()})
    assert reply.status == 409 and box.id in reply.json["message"], reply
    assert_policy(box)


def test_there_is_nothing_to_freeze_behind_a_device(steady, wire):
    box = wire.attach(steady, POLICY)
    reply = steady.request("POST", f"/sandboxes/{box.id}/pause")
    assert reply.status == 409, reply
    assert box.show()["state"] == "running"
    assert steady.request("POST", f"/sandboxes/{box.id}/timeout", {"timeout": 0}).status == 204
    until(lambda: not steady.boxes(), "its time has run out")
    assert wire.run(flow("tcp", DENIED4, PORT, "x")).code == 0


# ---- the steady goes, and comes again ----

def test_a_killed_daemon_leaves_it_held_and_the_next_one_adopts_it(daemon, wire):
    box = wire.attach(daemon, POLICY)
    before = box.show()
    daemon.kill()
    assert_policy(box)
    daemon.start()
    after = box.show()
    for key in ("state", "generation", "netdev", "policyHash", "device"):
        if key != "device":
            assert after[key] == before[key], key
    assert {k: v for k, v in after["device"].items() if k != "flows"} == \
        {k: v for k, v in before["device"].items() if k != "flows"}
    assert_policy(box)
    box.put(TURNED)
    assert_policy(box, TURNED)


@pytest.fixture(name="far", scope="module")
def far_fixture():
    with Far() as far:
        yield far


def test_kills_under_traffic_let_nothing_out_and_cut_nothing_off(far):
    with Daemon(far) as daemon, Wire(far) as wire:
        box = wire.attach(daemon, {})
        flows = [("tcp", KEPT), ("connected", KEPT), ("tcp", NEVER), ("udp", NEVER)]
        with Streams(box, flows, 20000) as streams:
            streams.await_results(range(4), ("ok",))
            box.put({**DENY_ALL, "allowOut": [KEPT]})
            streams.await_denied([2, 3])
            far.fence()
            since, mark = now_ns(), streams.mark()
            for _ in range(20 if LONG else 3):
                daemon.kill()
                dead = now_ns()
                ports = {streams.states()[n].sport for n in (0, 1)}
                far.await_payload(ports, KEPT, dead)
                daemon.start()
                assert box.show()["state"] == "running"
                far.await_payload(ports, KEPT, now_ns())
            far.fence()
            assert not [seen for seen in far.dump(since) if seen.dst == NEVER]
            assert not streams.errors([0, 1], mark)
            box.put({})
            streams.await_results([2], ("ok",))
            assert far.frames_to(NEVER), "the control: it arrives when nothing denies it"


def test_pins_that_are_removed_come_back_while_the_daemon_runs(daemon, wire):
    box = wire.attach(daemon, POLICY)
    shell("rm", "-rf", str(box.pins()))
    until(box.pins().exists, "they are there again", 30)
    assert_policy(box)
    daemon.kill()
    assert_policy(box)
    daemon.start()
    await_state(box, "running")


def test_programs_that_are_taken_off_their_device_come_back_while_the_daemon_runs(daemon, wire):
    box = wire.attach(daemon, POLICY)
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        for path in sorted(box.pins().iterdir()):
            shell("bpftool", "link", "detach", "pinned", str(path))
        assert is_answered(box, DENIED4), "the control: nothing judges it"
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    until(lambda: not is_answered(box, DENIED4), "they are there again", 30)
    assert_policy(box)
    assert box.show()["state"] == "running"
    daemon.restart()
    assert_policy(box)


def test_a_state_file_that_is_cut_leaves_its_policy_in_force(daemon, wire):
    box = wire.attach(daemon, POLICY)
    daemon.kill()
    path = daemon.state / "sandboxes" / f"{box.id}.json"
    text = path.read_bytes()
    path.write_bytes(text[:len(text) // 2])
    daemon.start()
    shown = box.show()
    assert (shown["state"], shown["kind"], shown["netdev"]) == ("damaged", "netdev", wire.device)
    assert wire.addr4 in shown["device"]["addresses"]
    assert_policy(box)
    box.put(TURNED)
    assert box.show()["state"] == "running"
    assert_policy(box, TURNED)
    daemon.restart()
    assert box.show()["state"] == "running"
    assert_policy(box, TURNED)


# ---- the device ----

def test_a_device_that_goes_takes_its_sandbox_out_of_the_kernel(daemon, wire):
    box = wire.attach(daemon, POLICY)
    index = wire.index
    wire.remove()
    await_state(box, "gone")
    assert not box.pins().exists()
    assert "DELETE" in box.show()["advice"]
    assert box.daemon.request("PUT", f"/v1/sandboxes/{box.id}/policy", POLICY).status == 409
    # One of its name and number is another one.
    wire.make(index)
    assert wire.index == index
    assert wire.run(flow("tcp", DENIED4, PORT, "x")).code == 0, "nobody has attached this one"
    assert box.show()["state"] == "gone"
    daemon.restart()
    assert box.show()["state"] == "gone"
    assert wire.run(flow("tcp", DENIED4, PORT, "x")).code == 0
    fresh = wire.attach(daemon, TURNED, name="fresh")
    assert_policy(fresh, TURNED)
    box.delete()
    assert_policy(fresh, TURNED)


def test_a_device_that_is_made_anew_while_no_daemon_runs_is_another_one(daemon, wire):
    box = wire.attach(daemon, POLICY)
    daemon.kill()
    wire.remove()
    wire.make(wire.index)
    daemon.start()
    assert box.show()["state"] == "gone"
    assert wire.run(flow("tcp", DENIED4, PORT, "x")).code == 0
    box.delete()


def test_a_sandbox_follows_its_device_to_another_name(daemon, wire):
    box = wire.attach(daemon, POLICY)
    was, name = wire.device, f"{wire.device}x"
    wire.rename(name)
    until(lambda: box.show()["netdev"] == name, "it is shown under its new name", SECONDS)
    assert_policy(box)
    daemon.restart()
    assert (box.show()["netdev"], box.show()["state"]) == (name, "running")
    reply = daemon.request("POST", "/v1/sandboxes", {"id": "second", **wire.fields()})
    assert reply.status == 409, reply
    assert {box["netdev"] for box in daemon.boxes()} == {name} != {was}


def test_a_device_that_moves_away_is_gone_and_open_to_nobody(net, steady, wire):
    box = wire.attach(steady, POLICY)
    elsewhere = Namespace("elsewhere")
    try:
        net.host.ip("link", "set", wire.device, "netns", elsewhere.name)
        await_state(box, "gone")
        elsewhere.ip("addr", "add", f"{wire.gate4}/24", "dev", wire.device)
        elsewhere.ip("link", "set", wire.device, "up")
        token = canary()
        sock = elsewhere.call(listen_udp, wire.gate4)
        wire.run(flow("-n", "udp", wire.gate4, PORT, token))
        assert elsewhere.call(received, sock) is None, "what it sends is dropped there"
        box.delete()

        def comes():
            wire.run(flow("-n", "udp", wire.gate4, PORT, token))
            return elsewhere.call(received, sock) == token.encode()
        until(comes, "the control: until it is let go")
        sock.close()
    finally:
        elsewhere.close()


def listen_udp(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, PORT))
    sock.settimeout(1)
    return sock


def received(sock):
    try:
        return sock.recv(2048)
    except TimeoutError:
        return None


# ---- documents, commands, counts ----

def test_a_document_of_sandbox_dir_attaches_changes_and_detaches_a_device(daemon, wire):
    path = daemon.folder / "wire.json"

    def save(policy, **fields):
        new = path.with_name(".wire.json")
        new.write_text(json.dumps({"id": "wired", "allowWeak": True, **wire.fields(), "policy": policy, **fields}),
                       encoding="utf-8")
        new.rename(path)

    def is_there():
        return any(box["id"] == "wired" and box["state"] == "running" for box in daemon.boxes())
    box = wire.box_of(daemon, "wired")
    save(POLICY)
    until(is_there, "it is attached")
    assert_policy(box)
    save(TURNED)
    until(lambda: is_answered(box, DENIED4), "it is changed")
    assert_policy(box, TURNED)
    save(TURNED, addresses=["10.99.99.99"])
    until(lambda: not arrives(box, DENIED4), "its own address is not its own any more")
    save(TURNED)
    until(lambda: is_answered(box, DENIED4), "it is again")
    wire.remove()
    until(lambda: not is_there(), "it is gone")
    wire.make()
    assert is_answered(box, ALLOWED4), "one made anew is not attached by itself"
    save(POLICY)
    until(is_there, "it is attached at the next look")
    assert_policy(box)
    path.unlink()
    until(lambda: not is_there(), "it is detached")
    assert is_answered(box, ALLOWED4)


def arrives(box, address):
    """What is spoofed is told nothing: only the far side knows."""
    token, since, net = canary(), box.daemon.net.mark(), box.daemon.net
    box.run(flow("-n", "udp", address, PORT, token))
    net.fence()
    return bool(net.seen(token=token, since=since))


def test_the_command_line_attaches_and_shows_a_device(net, steady, wire, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY), encoding="utf-8")

    def postern(*argv):
        return execute(net, [POSTERN, *argv, "--socket", str(steady.socket)])
    done = postern("attach", "wired", *wire.options(), "--dhcp", "--flows", "64", "--policy", str(policy), "--allow-weak")
    assert done.code == 0 and f"attached to {wire.device}, " in done.out, done
    assert_policy(wire.box_of(steady, "wired"))
    shown = postern("show", "wired")
    for line in (f"where       {wire.device}", f"ifindex {wire.index}", f"macs        {wire.mac}",
                 "dhcp        may ask for its addresses", "denials     answered at once", "of 64"):
        assert line in shown.out, shown
    assert wire.device in postern("list").out
    done = postern("attach", "other", "--cgroup", "x", "--addr", "10.0.0.1")
    assert done.code == 2 and "only with --netdev" in done.err, done
    done = postern("attach", "other", "--netdev", "nosuch0", "--addr", "10.0.0.1")
    assert done.code == 1 and "nosuch0" in done.err, done
    assert postern("detach", "wired").code == 0
    assert is_answered(wire.box_of(steady, "wired"), DENIED4)


def test_what_is_denied_silently_gets_no_answer(net, steady, wire):
    box = wire.attach(steady, POLICY)
    assert wire.captive.call(answer_to, DENIED4, canary()) == "EHOSTUNREACH", "the control"
    box.delete()
    box = wire.attach(steady, POLICY, denySilently=True)
    token, since = canary(), net.mark()
    assert wire.captive.call(answer_to, DENIED4, token) == "silence"
    assert_silence(net, since, token, DENIED4, PORT)
    assert open_to(box, ALLOWED4)


def answer_to(address, token):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((address, PORT))
        sock.send(token.encode())
        try:
            return sock.recv(100).decode()
        except TimeoutError:
            return "silence"
        except OSError as error:
            return errno.errorcode[error.errno]


def test_metrics_tell_of_devices(steady, wire):
    box = wire.attach(steady, POLICY)
    steady.create({})
    with Streams(box, [("tcp", ALLOWED4)], 20000) as streams:
        streams.await_results([0], ("ok",))
        text = steady.get("/metrics").body.decode()
    for line in ('postern_sandboxes_by_kind{kind="cgroup"} 1', 'postern_sandboxes_by_kind{kind="netdev"} 1',
                 "postern_tracked_flows 1", f'postern_sandbox_tracked_flows{{sandbox="{box.id}"}} 1',
                 "postern_answers_held_back_total 0", 'postern_quota_refusals_total{quota="flows"} 0'):
        assert line in text.splitlines(), f"{line}\n{text}"


# ---- what could get around it ----

def hole_names(box):
    return [hole["name"] for hole in box.show()["assurance"]["holes"]]


def test_power_over_the_other_end_is_a_hole_of_a_veth_and_none_of_a_tap(net, steady):
    """By an ifb device there; who attaches a veth says so."""
    with Wire(net) as wire:
        reply = steady.request("POST", "/v1/sandboxes", {"id": "wire", **wire.fields()})
        assert reply.status == 409 and reply.json["holes"][0].startswith("network-admin: "), reply
    with Wire(net, "tap") as wire:
        box = wire.attach(steady, POLICY, allowWeak=False)
        assert box.show()["assurance"] == {"level": "strong", "holes": []}


FOREIGN = """
__attribute__((section("xdp"), used)) int pst_other(void *ctx) { return 2; }
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture(name="foreign", scope="module")
def foreign_fixture(tmp_path_factory):
    """Somebody else's XDP program, which passes everything."""
    source = tmp_path_factory.mktemp("foreign") / "foreign.c"
    source.write_text(FOREIGN, encoding="ascii")
    program = source.with_suffix(".o")
    shell("clang-14", "-O2", "-target", "bpf", "-c", str(source), "-o", str(program))
    return program


def test_a_foreign_program_ahead_of_ours_is_a_hole_and_told_when_it_comes(net, daemon, wire, foreign):
    def xdp(*argv):
        net.host.ip("link", "set", "dev", wire.device, "xdpgeneric", *argv)
    xdp("obj", str(foreign), "sec", "xdp")
    reply = daemon.request("POST", "/v1/sandboxes", {"id": "weak", **wire.fields()})
    assert reply.status == 409 and len(reply.json["holes"]) == 2, reply
    assert reply.json["holes"][0].startswith("foreign-program: program "), reply
    assert is_answered(wire.box_of(daemon, "weak"), DENIED4), "refused: nothing is attached"
    xdp("off")
    box = wire.attach(daemon, POLICY)
    assert hole_names(box) == ["network-admin"]
    xdp("obj", str(foreign), "sec", "xdp")
    holes = box.show()["assurance"]["holes"]
    assert hole_names(box) == ["foreign-program", "network-admin"] and "pst_other" in holes[0]["text"], holes
    until(lambda: "foreign-program" in daemon.log(), "it is logged", 20)
    assert daemon.log().count("foreign-program") == 1
    xdp("off")
    assert hole_names(box) == ["network-admin"]
    assert_policy(box)


def test_neighbours_on_its_bridge_are_told_where_names_are_learned(net, steady, wire):
    with Wire(net) as other:
        net.host.ip("link", "add", "pwbr0", "type", "bridge")
        try:
            for device in (wire.device, other.device):
                net.host.ip("link", "set", device, "master", "pwbr0")
            box = wire.attach(steady, POLICY)
            assert hole_names(box) == ["network-admin"], "no names, nothing to forge"
            box.put({**DENY_ALL, "allowOut": ["example.com"]})
            holes = box.show()["assurance"]["holes"]
            assert hole_names(box) == ["bridge-neighbours", "network-admin"], holes
            assert other.device in holes[0]["text"] and "pwbr0" in holes[0]["text"]
            other.attach(steady, POLICY)
            assert hole_names(box) == ["network-admin"]
        finally:
            net.host.ip("link", "del", "pwbr0")


def test_the_hosts_addresses_are_denied_behind_a_device_also_those_that_come_later(net, steady, wire):
    box = wire.attach(steady, {})
    assert open_to(box, DENIED4)
    fresh = "93.184.218.99"
    assert open_to(box, fresh)
    net.host.ip("addr", "add", f"{fresh}/32", "dev", "lo")
    try:
        until(lambda: not is_answered(box, fresh) and "always-denied" in explain(box, fresh), "it is followed")
    finally:
        net.host.ip("addr", "del", f"{fresh}/32", "dev", "lo")
    assert explain(box, wire.gate4).count("always-denied")


def explain(box, to):
    return json.dumps(box.daemon.get(f"/v1/explain?sandbox={box.id}&to={to}").json)

# SPDX-License-Identifier: MIT
"""
E2B's own JavaScript SDK against posternd, and after each of its calls real traffic out of the sandbox. It is given
nothing but the address of the API and a tenant's key.
"""

import subprocess
from datetime import datetime, timezone

import pytest

from daemon import DENY_ALL, OTHER_KEY, TENANT_KEY, Box, Daemon
from internet import ALLOWED4, ALLOWED4_NET, DENIED4, DENIED4_NET, DENIED6, PORT, PRIVATE4, canary
from names import steps
from postern import assert_silence, flow
from reach import reaches
from resolver import ADDRESSES, V4
from sdk import Sdk
from wait import until

# Says what it reads, on one connection, and how that went.
TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
for line in sys.stdin:
    try:
        s.settimeout(3)
        s.sendall(line.encode())
        print("echoed" if s.recv(999) else "closed", flush=True)
    except OSError as error:
        print("error", error, flush=True)
"""
ONLY_ALLOWED = f"{{ allowOut: ['{ALLOWED4}'], denyOut: [ALL_TRAFFIC] }}"


@pytest.fixture
def sdk(daemon):
    with Sdk(daemon) as running:
        yield running


def create(sdk, daemon, options="", name="box"):
    """Sandbox.create(options), kept as my.NAME."""
    sandbox_id = sdk.run(f"my.{name} = await Sandbox.create({options}); return my.{name}.sandboxId")
    assert daemon.cgroups.joinpath(sandbox_id).is_dir()
    return Box(daemon, sandbox_id)


def reached(box):
    """Which of the two addresses can be reached: "allowed", "denied"."""
    return {name for name, address in (("allowed", ALLOWED4), ("denied", DENIED4)) if reaches(box, address)}


RESOLVER = ADDRESSES["unbound"]["public"]
TAG = "a b&c=d%20/\u00e4"
BOTH, NONE = {"allowed", "denied"}, set()


def test_what_create_is_given_is_enforced_before_it_returns(sdk, daemon):
    for options, expected in (
            ("", BOTH),
            ("{ network: {} }", BOTH),
            (f"{{ network: {ONLY_ALLOWED} }}", {"allowed"}),
            (f"{{ network: {{ denyOut: ['{DENIED4}/32'] }} }}", {"allowed"}),
            (f"{{ network: {{ allowOut: () => ['{ALLOWED4_NET}'], denyOut: ({{ allTraffic }}) => [allTraffic] }} }}",
             {"allowed"}),
            ("{ network: { denyOut: [ALL_TRAFFIC] } }", NONE),
            ("{ allowInternetAccess: false }", NONE),
            (f"{{ allowInternetAccess: false, network: {{ allowOut: ['{DENIED4}'] }} }}", {"denied"}),
            ("{ allowInternetAccess: true }", BOTH)):
        box = create(sdk, daemon, options)
        assert reached(box) == expected, options
        assert sdk.run("return await my.box.kill()") is True


def test_an_update_is_the_whole_policy_and_is_in_force_when_it_returns(sdk, daemon):
    box = create(sdk, daemon)
    for network, expected in (
            ("{ denyOut: [ALL_TRAFFIC] }", NONE),
            (ONLY_ALLOWED, {"allowed"}),
            (f"{{ allowOut: ['{DENIED4}'], denyOut: [ALL_TRAFFIC] }}", {"denied"}),
            (f"{{ denyOut: ['{ALLOWED4_NET}'] }}", {"denied"}),
            # What is left out is cleared: without a denyOut the allowOut restricts nothing.
            (f"{{ allowOut: ['{ALLOWED4}'] }}", BOTH),
            (f"{{ allowOut: () => ['{ALLOWED4}'], denyOut: ({{ allTraffic }}) => [allTraffic] }}", {"allowed"}),
            ("{ denyOut: ({ allTraffic, rules }) => rules.size ? [] : [allTraffic] }", NONE),
            ("{ allowInternetAccess: false }", NONE),
            (f"{{ allowInternetAccess: false, allowOut: ['{ALLOWED4}'] }}", {"allowed"}),
            ("{ allowInternetAccess: true }", BOTH),
            ("{ allowOut: [], denyOut: [ALL_TRAFFIC] }", NONE),
            ("{}", BOTH)):
        sdk.run(f"await my.box.updateNetwork({network})")
        assert reached(box) == expected, network


def test_the_static_update_does_what_the_one_of_the_instance_does(sdk, daemon):
    box = create(sdk, daemon)
    assert reached(box) == BOTH
    for network, expected in ((ONLY_ALLOWED, {"allowed"}), ("{ denyOut: ({ allTraffic }) => [allTraffic] }", NONE),
                              ("{}", BOTH)):
        sdk.run(f"await Sandbox.updateNetwork(my.box.sandboxId, {network})")
        assert reached(box) == expected, network
    # Older clients know it by two names.
    sdk.run("await Sandbox.updateNetwork(my.box.sandboxId + '-client', { denyOut: [ALL_TRAFFIC] })")
    assert reached(box) == NONE


def test_an_update_is_about_connections_from_before_as_well(sdk, daemon):
    """E2B lets them go on; here each packet is asked about."""
    box = create(sdk, daemon)
    with box.start(["/usr/bin/python3", "-S", "-c", TALK, DENIED4, str(PORT)], stdin=subprocess.PIPE) as talk:
        def say():
            seen = len(talk.lines)
            talk.process.stdin.write(canary() + "\n")
            talk.process.stdin.flush()
            until(lambda: len(talk.lines) > seen, f"an answer: {talk.text()}", 30)
            return talk.lines[seen]
        assert say() == "echoed"
        sdk.run(f"await my.box.updateNetwork({{ denyOut: ['{DENIED4_NET}'] }})")
        assert say() != "echoed"


def test_what_is_always_denied_cannot_be_allowed(sdk, daemon):
    box = create(sdk, daemon, f"{{ network: {{ allowOut: ['{PRIVATE4}', '10.0.0.0/8', '169.254.169.254'] }} }}")
    assert not reaches(box, PRIVATE4)
    assert not reaches(box, "169.254.169.254", 8080)
    assert reached(box) == BOTH


def test_all_traffic_is_that_of_ipv6_and_udp_as_well(sdk, daemon):
    box = create(sdk, daemon)
    assert reaches(box, DENIED6) and reaches(box, DENIED4, mode="udp")
    sdk.run("await my.box.updateNetwork({ denyOut: [ALL_TRAFFIC] })")
    assert not reaches(box, DENIED6)
    assert not reaches(box, DENIED4, mode="udp")


def fetches(box, address, name=None):
    """Whether curl gets an answer from port 80 there, by that name; the sniffer's word as well. A refusal (403) is none."""
    token, since = canary(), box.daemon.net.mark()
    done = box.run(["curl", "-s", "-S", "-f", "--noproxy", "*", "--max-time", "20", "--resolve", f"{name}:80:{address}",
                    f"http://{name or address}/{token}"])
    if done.code == 0:
        box.daemon.net.await_seen(token=token, since=since)
        return True
    assert_silence(box.daemon.net, since, token, address, 80)
    return False


@pytest.mark.usefixtures("web")
def test_a_name_is_reached_once_it_has_been_asked_for(net, resolvers):
    assert resolvers
    with Daemon(net, resolvers=[RESOLVER]) as daemon, Sdk(daemon) as sdk:
        box = create(sdk, daemon, "{ network: { allowOut: ['v4.example.com'], denyOut: [ALL_TRAFFIC] } }")
        assert box.run(steps(f"ask {RESOLVER} v4.example.com")).op("answer").result == "ok"
        assert fetches(box, V4, "v4.example.com")
        assert not fetches(box, ALLOWED4)
        assert not reaches(box, V4), "E2B's names are those of ports 80 and 443"
        sdk.run("await my.box.updateNetwork({ denyOut: [ALL_TRAFFIC] })")
        assert not fetches(box, V4)
        sdk.run("await my.box.updateNetwork({})")
        assert fetches(box, V4) and fetches(box, ALLOWED4)


def test_get_info_tells_the_network_as_it_was_given(sdk, daemon):
    before = datetime.now(timezone.utc).timestamp() - 1
    options = (f"{{ network: {{ allowOut: ['{ALLOWED4}', 'api.example.com'], denyOut: [ALL_TRAFFIC], "
               "allowPublicTraffic: false, maskRequestHost: 'localhost:${PORT}' }, metadata: { user: 'ann' }, "
               "timeoutMs: 600_000 }")
    box = create(sdk, daemon, options)
    info = sdk.run("return await my.box.getInfo()")
    assert info["sandboxId"] == box.id and info["templateId"] == "base" and info["state"] == "running"
    assert info["metadata"] == {"user": "ann"}
    assert info["network"] == {"allowOut": [ALLOWED4, "api.example.com"], "denyOut": ["0.0.0.0/0"],
                               "allowPublicTraffic": False, "maskRequestHost": "localhost:${PORT}"}
    started, ends = (datetime.fromisoformat(info[key].replace("Z", "+00:00")).timestamp()
                     for key in ("startedAt", "endAt"))
    assert before <= started and 595 <= ends - started <= 605
    sdk.run(f"await my.box.updateNetwork({{ denyOut: ['{DENIED4_NET}'], allowInternetAccess: true }})")
    info = sdk.run("return await Sandbox.getInfo(my.box.sandboxId)")
    assert info["network"] == {"denyOut": [DENIED4_NET], "allowPublicTraffic": False,
                               "maskRequestHost": "localhost:${PORT}"}
    assert info["allowInternetAccess"] is True
    sdk.run("await my.box.updateNetwork({ allowInternetAccess: false })")
    assert sdk.run("return (await my.box.getInfo()).allowInternetAccess") is False


LIST = """
const ids = [], pages = []
for (const p = Sandbox.list(%s); p.hasNext;) {
  const items = await p.nextItems()
  pages.push(items.length)
  ids.push(...items.map((item) => item.sandboxId))
}
return { ids, pages }
"""


def test_lists_are_in_pages_and_by_state_and_metadata(sdk, daemon):
    boxes = [create(sdk, daemon, f"{{ metadata: {{ n: '{n}', tag: {TAG!r} }} }}", f"box{n}").id for n in range(5)]
    sdk.use(OTHER_KEY)
    assert sdk.run(LIST % "") == {"ids": [], "pages": [0]}
    foreign = create(sdk, daemon, name="foreign").id
    assert sdk.run(LIST % "")["ids"] == [foreign]
    sdk.use(TENANT_KEY)
    newest_first = list(reversed(boxes))
    assert sdk.run(LIST % "")["ids"] == newest_first
    assert sdk.run(LIST % "{ order: 'asc' }")["ids"] == boxes
    assert sdk.run(LIST % "{ limit: 2 }") == {"ids": newest_first, "pages": [2, 2, 1]}
    started = sdk.run("return (await my.box3.getInfo()).startedAt")
    assert sdk.run(LIST % f"{{ query: {{ startedAfter: new Date('{started}') }} }}")["ids"] == newest_first[:2]
    assert sdk.run(LIST % "{ query: { template: 'base' } }")["ids"] == newest_first
    assert sdk.run(LIST % "{ query: { template: 'other' } }")["ids"] == []
    assert sdk.run("return await my.box3.pause()") is True
    assert sdk.run(LIST % "{ query: { state: ['paused'] } }")["ids"] == [boxes[3]]
    running = sdk.run(LIST % "{ query: { state: ['running'] } }")["ids"]
    assert sorted(running) == sorted(box for box in boxes if box != boxes[3])
    both = sdk.run(LIST % "{ query: { state: ['running', 'paused'] } }")["ids"]
    assert sorted(both) == sorted(boxes)
    assert sdk.run(LIST % "{ query: { metadata: { n: '2' } } }")["ids"] == [boxes[2]]
    assert sorted(sdk.run(LIST % f"{{ query: {{ metadata: {{ tag: {TAG!r} }} }} }}")["ids"]) == sorted(boxes)
    assert sdk.run(LIST % "{ query: { metadata: { n: '2', tag: 'x' } } }")["ids"] == []


def test_pause_stops_what_runs_and_connect_lets_it_go_on_under_the_same_policy(sdk, daemon):
    box = create(sdk, daemon, f"{{ network: {ONLY_ALLOWED} }}")
    assert reached(box) == {"allowed"}
    assert sdk.run("return await my.box.pause()") is True
    assert "frozen 1" in (box.cgroup / "cgroup.events").read_text("ascii")
    assert sdk.run("return (await my.box.getInfo()).state") == "paused"
    assert sdk.run("return await my.box.pause()") is False, "it was paused already"
    error = sdk.error("await my.box.updateNetwork({})")
    assert (error.classes[0], error.status) == ("SandboxError", 409)
    assert error.message == f'409: Sandbox "{box.id}" is in paused state'

    token, since = canary(), daemon.net.mark()
    with box.start(flow("tcp", ALLOWED4, PORT, token)) as waiting:
        until(lambda: str(waiting.pid) in (box.cgroup / "cgroup.procs").read_text("ascii").split() or
              (box.cgroup / "cgroup.procs").read_text("ascii").strip(), "it is inside")
        daemon.net.fence()
        assert not daemon.net.seen(token=token, since=since) and waiting.process.poll() is None
        assert sdk.run("my.same = await Sandbox.connect(my.box.sandboxId); return my.same.sandboxId") == box.id
        assert waiting.wait() == 0, waiting.text()
        daemon.net.await_seen(token=token, since=since)
    assert sdk.run("return (await my.same.getInfo()).state") == "running"
    assert reached(box) == {"allowed"}
    # Of a running one, too.
    assert sdk.run("return (await Sandbox.connect(my.box.sandboxId)).sandboxId") == box.id
    sdk.run("await my.same.updateNetwork({})")
    assert reached(box) == BOTH


def test_a_sandbox_ends_when_its_time_is_up(sdk, daemon):
    box = create(sdk, daemon, "{ timeoutMs: 3_600_000 }")
    left = "return (await my.box.getInfo()).endAt.getTime() - Date.now()"
    assert 3_500_000 < sdk.run(left) <= 3_601_000
    sdk.run("await my.box.setTimeout(100_000)")
    assert 90_000 < sdk.run(left) <= 101_000
    with box.start(["sleep", "1000"]) as inside:
        until(lambda: (box.cgroup / "cgroup.procs").read_text("ascii").strip(), "it is inside")
        sdk.run("await Sandbox.setTimeout(my.box.sandboxId, 1000)")
        assert inside.wait(60) != 0
    until(lambda: not box.cgroup.exists(), "its cgroup is gone", 30)
    assert sdk.error("await my.box.getInfo()").classes[0] == "SandboxNotFoundError"
    assert sdk.error("await my.box.setTimeout(1000)").classes[0] == "SandboxNotFoundError"


def test_kill_ends_what_is_inside_and_is_true_once(sdk, daemon):
    box = create(sdk, daemon)
    with box.start(["sleep", "1000"]) as inside:
        until(lambda: (box.cgroup / "cgroup.procs").read_text("ascii").strip(), "it is inside")
        assert sdk.run("return await my.box.kill()") is True
        assert inside.wait() != 0
    assert not box.cgroup.exists()
    assert sdk.run("return await my.box.kill()") is False
    assert sdk.run(f"return await Sandbox.kill('{box.id}')") is False
    assert sdk.run("return await Sandbox.kill('neverwas')") is False


def test_errors_are_of_the_classes_and_words_of_e2b(sdk, daemon):
    box = create(sdk, daemon, f"{{ network: {ONLY_ALLOWED} }}")
    for call, classes, message in (
            ("await my.box.updateNetwork({ allowOut: ['example.com'] })", "SandboxError",
             "400: When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block "
             "all other traffic."),
            ("await my.box.updateNetwork({ denyOut: ['example.com'] })", "SandboxError",
             "400: invalid denied CIDR example.com"),
            ("await my.box.updateNetwork({ denyOut: ['::/0'] })", "SandboxError", "400: invalid denied CIDR ::/0"),
            ("await my.box.updateNetwork({ allowOut: ['0.0.0.0'] })", "SandboxError",
             "400: invalid allowed address 0.0.0.0"),
            ("await my.box.updateNetwork({ egressProxy: { address: 'proxy.example.com:0' } })", "SandboxError",
             '400: Invalid egress proxy config: egress proxy port "0" is not a valid 1-65535 value'),
            ("await my.box.updateNetwork({ egressProxy: { address: '10.1.2.3:1080' } })", "SandboxError",
             "400: Invalid egress proxy config: egress proxy endpoint resolves to an internal / denied IP range: "
             "10.1.2.3 resolves to 10.1.2.3"),
            ("await my.box.updateNetwork({ rules: { '*': [{ transform: { headers: { A: 'b' } } }] } })",
             "SandboxError", '400: Rule domain "*" is not a valid domain name.'),
            ("await Sandbox.create({ network: { egressProxy: { address: 'proxy.example.com:1080', password: 'x' } } })",
             "SandboxError",
             "400: Invalid egress proxy config: egress proxy password must be empty when username is empty"),
            ("await Sandbox.create({ network: { denyOut: ['nonsense'] } })", "SandboxError",
             "400: invalid denied CIDR nonsense"),
            ("await Sandbox.create({ network: { maskRequestHost: 'not a host' } })", "SandboxError",
             "400: mask request host is not valid: not a host"),
            ("await Sandbox.updateNetwork('No.Such', {})", "SandboxError", "400: Invalid sandbox ID"),
            ("await Sandbox.updateNetwork('nosuch', {})", "SandboxNotFoundError", "Sandbox nosuch not found"),
            ("await Sandbox.updateNetwork('nosuch', { denyOut: ['x'] })", "SandboxError",
             "400: invalid denied CIDR x"),
            ("await Sandbox.getInfo('nosuch')", "SandboxNotFoundError", "Sandbox nosuch not found"),
            ("await Sandbox.connect('nosuch')", "SandboxNotFoundError", "Paused sandbox nosuch not found"),
            ("await Sandbox.pause('nosuch')", "SandboxNotFoundError", "Sandbox nosuch not found"),
            ("await Sandbox.setTimeout('nosuch', 1000)", "SandboxNotFoundError", "Sandbox nosuch not found"),
            ("await Sandbox.updateNetwork(my.box.sandboxId, {}, { apiKey: 'e2b_wrong' })", "AuthenticationError",
             "Unauthorized, please check your credentials. - Invalid API key")):
        error = sdk.error(call)
        assert (error.classes[0], error.message) == (classes, message), call
        if classes == "SandboxError":
            assert error.status == int(message[:3]), call
    assert reached(box) == {"allowed"}, "what was refused changed nothing"
    assert len(daemon.boxes()) == 1


def test_nobody_elses_sandbox_is_there_for_the_sdk(sdk, daemon):
    box = create(sdk, daemon, f"{{ network: {ONLY_ALLOWED} }}")
    calls = [f"await Sandbox.{call.replace('ID', repr(box.id))}" for call in
             ("getInfo(ID)", "updateNetwork(ID, {})", "pause(ID)", "connect(ID)", "setTimeout(ID, 1000)")]
    sdk.use(OTHER_KEY)
    for call in calls:
        assert sdk.error(call).classes[0] == "SandboxNotFoundError", call
    assert sdk.run(f"return await Sandbox.kill('{box.id}')") is False
    sdk.use("e2b_nobody")
    for call in [*calls, f"await Sandbox.kill('{box.id}')", "await Sandbox.create()",
                 "await Sandbox.list().nextItems()"]:
        assert sdk.error(call).classes[0] == "AuthenticationError", call
    assert reached(box) == {"allowed"}
    sdk.use(TENANT_KEY)
    assert sdk.run(f"return await Sandbox.kill('{box.id}')") is True

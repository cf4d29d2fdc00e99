# SPDX-License-Identifier: MIT
"""
postern-relay by itself: the real program, its starter played by the test (lib/relaystub.py), no program of ours in the
kernel. Peers are crafted: what no real proxy, resolver or client would do. What it looks like together with the rest:
the other test_relay_*.py.
"""

import errno
import os
import socket
import struct
from contextlib import contextmanager

import pytest
from crafted_peers import (GRANTED, LOOPBACK, Resolver, answer, ask, client_hello, echo, hosts, is_reset, read_all,
                           read_exactly, server, socks)
from relaystub import (DEADLINE_S, GATED, HOST_NAME, LEASE, STEP_CIDR, STEP_NAME, STEP_RESOLVER, STRICT, Starter, event,
                       mapped, relay)
from wait import until

# pylint: disable=redefined-outer-name # pytest's fixtures
# PST_REASON_*
NO_ORIGIN, ALWAYS_DENIED, NO_NAME, HOST_CHECK, NOT_TLS = 12, 14, 48, 49, 51
RELAY_BUSY, HEAD_TIME, UNRESOLVED, UNREACHED, PROXY = 55, 57, 58, 59, 60


@pytest.fixture
def starter():
    with relay() as one:
        yield one


# ---- the process


def test_it_has_no_right_left_and_no_file(starter):
    with open(f"/proc/{starter.process.pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert status["Uid"].split() == ["65534"] * 4
    assert {status[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert os.stat(f"/proc/{starter.process.pid}/environ").st_uid == 0  # not dumpable: its /proc is root's
    with open(f"/proc/{starter.process.pid}/limits", encoding="ascii") as file:
        limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
    for kind in ("Max core file size", "Max file size", "Max processes"):
        assert limits[kind] == ["0", "0"], kind


def test_its_root_is_nothing(starter):
    with pytest.raises(OSError):
        os.listdir(f"/proc/{starter.process.pid}/root/")


def test_it_refuses_to_be_root():
    with pytest.raises((EOFError, BrokenPipeError, ConnectionResetError)):
        Starter(uid=0)


def test_it_ends_with_its_starter_and_resets_what_it_had(starter):
    with server(echo) as at:
        client = starter.sandbox(1, opened=LOOPBACK).connect(at)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        starter.end.close()
        assert is_reset(client)
    assert starter.process.wait(DEADLINE_S) == 0


def test_what_makes_no_sense_ends_it(starter):
    starter.raw(b"\xff" * 40)
    assert starter.process.wait(DEADLINE_S) == 1


# ---- origins


def test_each_origin_is_taken_once(starter):
    with server(echo) as at:
        sandbox = starter.sandbox(1, opened=LOOPBACK)
        client = sandbox.connect(at)
        source = client.getsockname()
        assert ask(client) == b"ping"
        assert not sandbox.origins.has(source)


def test_a_connection_without_origin_is_reset(starter):
    sandbox = starter.sandbox(1, opened=LOOPBACK)
    try:
        assert is_reset(socket.create_connection(sandbox.at, DEADLINE_S))
    except ConnectionResetError:
        pass  # before connect() had returned
    starter.event(reason=NO_ORIGIN, verdict=0)


def test_another_sandboxs_origin_is_none(starter):
    with server(echo) as at:
        client = starter.sandbox(1, opened=LOOPBACK).connect(at, sandbox=2)
        assert is_reset(client)
        starter.event(reason=NO_ORIGIN, verdict=0)


def test_a_device_s_connection_is_for_the_address_that_was_judged(starter):
    with server(echo) as at:
        sandbox = starter.sandbox(1, device=1, opened=LOOPBACK)
        assert is_reset(sandbox.connect(at))
        starter.event(reason=NO_ORIGIN)
        # The listener stands for the address itself there, as TPROXY's does.
        assert is_reset(sandbox.connect(sandbox.at)) or True
        starter.event(address=mapped(sandbox.at[0]), port=sandbox.at[1], verdict=1)


# ---- where to


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "64:ff9b::a00:1"])
def test_what_is_always_denied_is_not_dialled(starter, address):
    client = starter.sandbox(1, closed=["10.0.0.0/8", "169.254.0.0/16"]).connect((address, 8080))
    assert is_reset(client)
    told = starter.event(reason=ALWAYS_DENIED)
    assert event(told)["address"] == mapped(address)


def test_a_refused_connection_is_refused(starter):
    with server(echo) as at:
        pass
    assert is_reset(starter.sandbox(1, opened=LOOPBACK).connect(at))
    starter.event(reason=UNREACHED, verdict=0)


def test_bytes_are_counted_by_rule(starter):
    with server(echo) as at:
        assert ask(starter.sandbox(1, opened=LOOPBACK).connect(at, rule=9), b"12345") == b"12345"
    counted = [0, 0, 0]

    def all_there():
        rule, _, *more = struct.unpack("=IIQQQ", starter.wait("COUNT"))
        for i, value in enumerate(more):
            counted[i] += value if rule == 9 else 0
        return counted == [1, 5, 5]

    until(all_there, "the counters of rule 9", DEADLINE_S)


# ---- names


def by_name(starter, resolver, port, **said):
    said = {"resolvers": [resolver.address], "opened": LOOPBACK, "names": [(4, "*.example.com", 1, 65535)], **said}
    sandbox = starter.sandbox(1, **said)

    def connect(name="a.example.com", number=port):
        return sandbox.connect(("192.0.2.1", number), step=STEP_NAME, reason=LEASE, rule=4, name=name)

    return sandbox, connect


def test_port_53_is_dns_where_a_trusted_resolver_is_and_any_port_elsewhere(starter):
    with server(echo, port=53) as at:
        sandbox = starter.sandbox(1, flags=GATED, opened=LOOPBACK, names=[(4, "*.example.com", 1, 65535)])
        assert ask(sandbox.connect(at, step=STEP_CIDR)) == b"ping"
        question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\4evil\3net\0\0\1\0\1"
        reply = ask(sandbox.connect(at, step=STEP_RESOLVER), struct.pack("!H", len(question)) + question)
        assert reply[:6] == struct.pack("!3H", len(question), 7, 0x8183), "no such name; nobody was asked"


def test_a_name_is_asked_for_once_until_its_ttl_ends(starter):
    with server(echo) as at, Resolver(lambda query, _: [answer(query, [at[0]])]) as resolver:
        _, connect = by_name(starter, resolver, at[1])
        for _ in range(3):
            assert ask(connect()) == b"ping"
        assert sorted(resolver.asked) == ["a.example.com"] * 2  # A and AAAA
        assert ask(connect("b.example.com")) == b"ping"
        assert len(resolver.asked) == 4


def test_a_ttl_of_zero_is_asked_for_each_time(starter):
    with server(echo) as at, Resolver(lambda query, _: [answer(query, [at[0]], ttl=0)]) as resolver:
        _, connect = by_name(starter, resolver, at[1])
        for _ in range(2):
            assert ask(connect()) == b"ping"
        assert len(resolver.asked) == 4


def test_addresses_that_are_always_denied_are_not_dialled_whatever_the_name(starter):
    reached = []
    with server(reached.append) as at:
        closed = [at[0], "::ffff:127.0.0.1", "::1"]
        with Resolver(lambda query, _: [answer(query, closed)]) as resolver:
            _, connect = by_name(starter, resolver, at[1], opened=())
            assert is_reset(connect())
            starter.event(reason=UNRESOLVED, name="a.example.com")
    assert not reached


def test_of_several_addresses_one_that_answers_is_found(starter):
    with server(echo) as at:
        dead = [next(hosts) for _ in range(3)]
        with Resolver(lambda query, _: [answer(query, [*dead, at[0]])]) as resolver:
            _, connect = by_name(starter, resolver, at[1])
            assert ask(connect()) == b"ping"


def test_a_truncated_answer_is_asked_for_again_by_tcp(starter):
    with server(echo) as at:
        with Resolver(lambda query, tcp: [answer(query, [at[0]], truncated=not tcp)]) as resolver:
            _, connect = by_name(starter, resolver, at[1])
            assert ask(connect()) == b"ping"


def test_forged_answers_are_passed_over(starter):
    def reply(query, _):
        other_id = bytes([query[0] ^ 1]) + query[1:]
        other_name = query.replace(b"\1a\7example", b"\1b\7example")
        return [answer(other_id, ["192.0.2.66"]), answer(other_name, ["192.0.2.66"]), b"", b"x", query,
                answer(query, [at[0]])]

    with server(echo) as at, Resolver(reply) as resolver:
        _, connect = by_name(starter, resolver, at[1])
        assert ask(connect()) == b"ping"


def test_a_resolver_that_fails_is_followed_by_the_next(starter):
    def fails(query, _):
        return [query[:2] + b"\x81\x82" + query[4:]]  # SERVFAIL

    with server(echo) as at, Resolver(fails) as first, Resolver(lambda query, _: [answer(query, [at[0]])]) as second:
        _, connect = by_name(starter, first, at[1], resolvers=[first.address, second.address])
        assert ask(connect()) == b"ping"
        assert first.asked and second.asked


def test_a_name_without_address_is_told(starter):
    with Resolver(lambda query, _: [query[:2] + b"\x81\x83" + query[4:]]) as resolver:
        _, connect = by_name(starter, resolver, 8080)
        assert is_reset(connect())
        starter.event(reason=UNRESOLVED)
        assert len(resolver.asked) == 2


# ---- the proxy


def test_addresses_and_names_reach_the_proxy_as_what_they_are(starter):
    asked = []
    with server(lambda c: socks(c, asked, echo)) as at:
        sandbox = starter.sandbox(1, opened=[f"{at[0]}/32"], proxy=at, names=[(4, "*.example.com", 1, 65535)])
        assert ask(sandbox.connect(("192.0.2.7", 22))) == b"ping"
        assert ask(sandbox.connect(("2001:db8::7", 22))) == b"ping"
        assert ask(sandbox.connect(("192.0.2.7", 22), step=STEP_NAME, reason=LEASE, name="a.example.com")) == b"ping"
        # Learned once, covered by no rule now: as an address.
        assert ask(sandbox.connect(("192.0.2.7", 22), step=STEP_CIDR, name="a.example.com")) == b"ping"
    assert [(kind, host) for _, _, kind, host, _ in asked] == [
        (1, bytes([192, 0, 2, 7])), (4, socket.inet_pton(socket.AF_INET6, "2001:db8::7")), (3, b"a.example.com"),
        (1, bytes([192, 0, 2, 7]))]


def test_the_password_is_said_to_the_proxy_and_to_nobody_else(starter):
    asked, secret = [], "Wenn-ist-das-Nunstueck"
    with server(lambda c: socks(c, asked, echo)) as at:
        sandbox = starter.sandbox(1, opened=LOOPBACK, proxy=(*at, "me", secret))
        assert ask(sandbox.connect(("192.0.2.7", 22))) == b"ping"
        for name in ("cmdline", "environ", "status", "comm"):
            with open(f"/proc/{starter.process.pid}/{name}", "rb") as file:
                assert secret.encode() not in file.read()
    assert asked[0][:2] == (b"me", secret.encode())
    starter.close()
    assert secret not in starter.stderr
    assert all(secret.encode() not in body for _, _, _, body in starter.heard)


def test_what_the_destination_says_first_may_come_with_the_proxys_reply(starter):
    def serve(connection):
        read_exactly(connection, 3)
        connection.sendall(b"\5\0")
        read_exactly(connection, 10)
        connection.sendall(GRANTED + b"220 hello\r\n")
        echo(connection)

    with server(serve) as at:
        client = starter.sandbox(1, opened=LOOPBACK, proxy=at).connect(("192.0.2.7", 25))
        assert read_exactly(client, 11) == b"220 hello\r\n"
        assert ask(client) == b"ping"


def test_a_proxy_that_says_its_replies_byte_by_byte_is_understood(starter):
    def slowly(connection, data):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.sendall(bytes([byte]))

    def serve(connection):
        read_exactly(connection, 3)
        slowly(connection, b"\5\0")
        read_exactly(connection, 10)
        slowly(connection, b"\5\0\0\3\4name\0\1")
        echo(connection)

    with server(serve) as at:
        assert ask(starter.sandbox(1, opened=LOOPBACK, proxy=at).connect(("192.0.2.7", 25))) == b"ping"


WRONG = {"another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n", "no method": b"\5\xff", "a method not offered": b"\5\2",
         "version 4": b"\0\x5a" + bytes(6), "refused": b"\5\0\5\5\0\1" + bytes(6), "cut": b"\5", "nothing": b"",
         "an odd address": b"\5\0\5\0\0\2" + bytes(6)}


@pytest.mark.parametrize("what", WRONG)
def test_a_proxy_that_answers_wrongly_is_the_end_of_it(starter, what):
    reached = []
    with server(reached.append) as direct:

        def serve(connection):
            read_exactly(connection, 3)
            connection.sendall(WRONG[what])

        with server(serve) as at:
            assert is_reset(starter.sandbox(1, opened=LOOPBACK, proxy=at).connect(direct))
            starter.event(reason=PROXY, verdict=0)
    assert not reached  # nothing goes around it


def test_a_proxy_that_is_not_there_is_the_end_of_it(starter):
    reached = []
    with server(reached.append) as direct, server(echo) as proxy:
        pass
    with server(reached.append, *direct):
        assert is_reset(starter.sandbox(1, opened=LOOPBACK, proxy=proxy).connect(direct))
        starter.event(reason=PROXY, verdict=0)
    assert not reached


def test_a_proxy_that_says_nothing_is_waited_for_as_long_as_it_takes_to_dial():
    with relay(dial_ms=300) as starter, server(lambda c: c.recv(1) and c.recv(1000) and c.recv(1)) as at:
        assert is_reset(starter.sandbox(1, opened=LOOPBACK, proxy=at).connect(("192.0.2.7", 25)))
        starter.event(reason=PROXY, verdict=0)


def test_a_proxy_is_checked_like_a_destination(starter):
    reached = []
    with server(reached.append) as at:
        assert is_reset(starter.sandbox(1, proxy=at).connect(("192.0.2.7", 25)))
        starter.event(reason=ALWAYS_DENIED, verdict=0)
        with Resolver(lambda query, _: [answer(query, [at[0]])]) as resolver:
            sandbox = starter.sandbox(2, proxy=("proxy.example", at[1]), resolvers=[resolver.address])
            assert is_reset(sandbox.connect(("192.0.2.7", 25)))
            starter.event(reason=PROXY, verdict=0)
    assert not reached


def test_a_proxy_is_no_way_to_what_is_always_denied(starter):
    asked = []
    with server(lambda c: socks(c, asked, echo)) as at:
        sandbox = starter.sandbox(1, opened=[f"{at[0]}/32"], closed=["169.254.0.0/16"], proxy=at)
        assert is_reset(sandbox.connect(("169.254.169.254", 80)))
        starter.event(reason=ALWAYS_DENIED, verdict=0)
    assert not asked


def test_another_password_ends_what_went_by_the_old_one(starter):
    asked = []
    with server(lambda c: socks(c, asked, echo)) as at:
        said = {"opened": LOOPBACK}
        sandbox = starter.sandbox(1, proxy=(*at, "me", "one"), **said)
        client = sandbox.connect(("192.0.2.7", 22))
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert sandbox.apply(generation=2, proxy=(*at, "me", "one"), **said) == 0
        client.sendall(b"y")
        assert client.recv(1) == b"y"
        assert sandbox.apply(generation=3, proxy=(*at, "me", "two"), **said) == 1
        assert is_reset(client)
        assert ask(sandbox.connect(("192.0.2.7", 22))) == b"ping"
    assert [password for _, password, *_ in asked] == [b"one", b"two"]


# ---- limits


def test_one_too_many_is_reset_and_others_are_served():
    with relay(connections=3) as starter, server(echo) as at:
        sandbox, other = (starter.sandbox(n, opened=LOOPBACK) for n in (1, 2))
        held = [sandbox.connect(at) for _ in range(3)]
        for client in held:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert is_reset(sandbox.connect(at))
        starter.event(reason=RELAY_BUSY, verdict=0)
        assert ask(other.connect(at)) == b"ping"
        assert ask(held.pop()) == b"ping"
        until(lambda: not is_reset_now(sandbox, at), "a place is free again", DEADLINE_S)


def is_reset_now(sandbox, at):
    try:
        return ask(sandbox.connect(at)) != b"ping"
    except ConnectionResetError:
        return True


def test_a_greedy_sandbox_leaves_room_for_those_that_come_later():
    with relay(total=60, connections=60) as starter, server(echo) as at:
        greedy, late = (starter.sandbox(n, opened=LOOPBACK) for n in (1, 2))
        held = []
        for _ in range(60):
            client = greedy.connect(at)
            try:
                client.sendall(b"x")
                if client.recv(1):
                    held.append(client)
            except OSError:
                pass
        starter.event(reason=RELAY_BUSY, verdict=0)
        assert 16 <= len(held) < 60
        modest = [late.connect(at) for _ in range(10)]
        for client in [*modest, *held]:
            assert ask(client) == b"ping"


def test_an_idle_connection_ends():
    with relay(idle_ms=200) as starter, server(echo) as at:
        assert is_reset(starter.sandbox(1, opened=LOOPBACK).connect(at))


def test_dropping_a_sandbox_ends_its_connections_and_its_listeners(starter):
    with server(echo) as at:
        sandbox, other = (starter.sandbox(n, opened=LOOPBACK) for n in (1, 2))
        mine, others = sandbox.connect(at), other.connect(at)
        for client in (mine, others):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        sandbox.listener.close()
        starter.send("DROP", sandbox=1)
        assert is_reset(mine)
        with pytest.raises(OSError) as refused:
            socket.create_connection(sandbox.at, DEADLINE_S)
        assert refused.value.errno == errno.ECONNREFUSED
        assert ask(others) == b"ping"


# ---- the name in the first bytes


@contextmanager
def strict(starter, serve=echo):
    """connect() as the kernel sends a strict policy's port 443 to the relay; the name's address is the server's."""
    host = next(hosts)
    with server(serve, host, 443), Resolver(lambda query, _: [answer(query, [host])]) as resolver:
        sandbox = starter.sandbox(1, flags=STRICT, opened=LOOPBACK, resolvers=[resolver.address],
                                  names=[(4, "*.example.com", 0, 65535)])

        def connect():
            # What the sandbox resolved to is not what the name has.
            return sandbox.connect(("192.0.2.66", 443), step=STEP_NAME, reason=HOST_NAME, rule=0)

        yield connect


@pytest.mark.parametrize("piece", [1, 3, 100, 65536])
def test_a_covered_name_is_dialled_by_itself_however_it_comes(starter, piece):
    hello = client_hello("a.example.com")
    with strict(starter) as connect:
        client = connect()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(hello), piece):
            client.sendall(hello[at:at + piece])
        assert read_exactly(client, len(hello)) == hello
        starter.event(verdict=1, rule=4, name="a.example.com")


REFUSED = {"another name": (lambda: client_hello("evil.example"), HOST_CHECK), "no name": (lambda: client_hello(None), NO_NAME),
           "above the wildcard": (lambda: client_hello("example.com"), HOST_CHECK),
           "another protocol": (lambda: b"SSH-2.0-x\r\n", NOT_TLS)}


@pytest.mark.parametrize("what", REFUSED)
def test_other_names_none_and_other_protocols_are_refused(starter, what):
    first, reason = REFUSED[what]
    reached = []
    with strict(starter, reached.append) as connect:
        client = connect()
        client.sendall(first())
        starter.event(verdict=0, reason=reason)
        try:
            assert read_all(client)[:1] in (b"\x15", b"")  # an alert, where it is TLS
        except ConnectionResetError:
            pass
    assert not reached


def test_a_hello_that_does_not_end_is_not_waited_for():
    with relay(head_ms=300) as starter, strict(starter) as connect:
        client = connect()
        client.sendall(client_hello("a.example.com")[:50])
        starter.event(verdict=0, reason=HEAD_TIME)


def test_a_policy_without_the_name_ends_its_connections(starter):
    hello = client_hello("a.example.com")
    host = next(hosts)
    with server(echo, host, 443), Resolver(lambda query, _: [answer(query, [host])]) as resolver:
        said = {"flags": STRICT, "opened": LOOPBACK, "resolvers": [resolver.address]}
        sandbox = starter.sandbox(1, names=[(4, "*.example.com", 0, 65535)], **said)
        client = sandbox.connect(("192.0.2.66", 443), step=STEP_NAME, reason=HOST_NAME)
        client.sendall(hello)
        assert read_exactly(client, len(hello)) == hello
        assert sandbox.apply(generation=2, names=[(1, "a.example.com", 443, 443)], **said) == 0
        client.sendall(b"more")
        assert read_exactly(client, 4) == b"more"
        assert sandbox.apply(generation=3, names=[(1, "b.example.com", 443, 443)], **said) == 1
        assert is_reset(client)
        starter.event(verdict=0, reason=HOST_CHECK, name="a.example.com")

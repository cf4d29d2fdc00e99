# SPDX-License-Identifier: MIT
"""
Row 8: namespaces of the sandbox's own. There is no way out of them but by somebody inside who sends for them: a relay as
slirp is one, whose sockets are the sandbox's.
"""

import pytest

from evidence import NOW
from internet import ALLOWED4, DENIED4, PORT, canary
from matrix import POLICIES
from postern import enter, execute, kind_of, plain

# A child in a network of its own hands its bytes to its parent, who sends them.
RELAY = """
import ctypes, os, socket, sys
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
if not os.fork():
    CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        theirs.send(b"")
        os._exit(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        try:
            own.sendto(sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))
        except OSError:
            pass
    theirs.send(sys.argv[3].encode())
    os._exit(0)
data = ours.recv(999)
assert data, "no network namespace of its own"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    try:
        out.sendto(data, (sys.argv[1], int(sys.argv[2])))
        print("sent")
    except OSError as error:
        print("refused", error.errno)
"""
OPTIONS = {"open": [], "deny_all": ["--deny", "0.0.0.0/0"], "restricted": ["--allow", "93.184.216.0/24"]}


def relayed(to, token):
    return ["/usr/bin/python3", "-c", RELAY, to, str(PORT), token]


@pytest.mark.parametrize("mode", POLICIES)
def test_who_sends_for_it_is_inside(net, mode):
    to = "169.254.169.254" if mode == "open" else DENIED4
    token, since = canary(), net.mark()
    plain(net, relayed(to, token))
    net.await_seen(token=token, since=since)
    inside = enter(net, OPTIONS[mode])
    try:
        token, through, since = canary(), canary(), net.mark()
        done = execute(net, inside.argv(relayed(to, token)), kind=kind_of(net))
        assert done.out.strip(), done
        if mode != "deny_all":
            execute(net, inside.argv(relayed(ALLOWED4, through)))
            net.await_seen(token=through, since=since)
        net.fence()
        NOW.tried(2)
        assert not net.seen(token=token, since=since), done
    finally:
        inside.close()

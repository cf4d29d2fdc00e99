# SPDX-License-Identifier: MIT
"""
Programs that resolve a name and connect at once, each through another resolving library. client(name, port, token) is
a command line: exit status 0 after the token was sent.
"""

from postern import TOOLS

PYTHON = "/usr/bin/python3"
SEND = 'exec 3<>"/dev/tcp/$a/$2" && printf %s "$3" >&3'

PYTHON_CODE = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as s:
    s.sendall(sys.argv[3].encode())
"""
PYCARES_CODE = """
import pycares, select, socket, sys
found = []
channel = pycares.Channel()
channel.query(sys.argv[1], pycares.QUERY_TYPE_A, lambda result, error: found.append((result, error)))
while not found:
    reading, writing = channel.getsock()
    if reading or writing:
        done = select.select(reading, writing, [], channel.timeout())
        for fd in done[0] or [pycares.ARES_SOCKET_BAD]:
            channel.process_fd(fd, pycares.ARES_SOCKET_BAD)
        for fd in done[1]:
            channel.process_fd(pycares.ARES_SOCKET_BAD, fd)
result, error = found[0]
if error:
    sys.exit(pycares.errno.strerror(error))
with socket.create_connection((result[0].host, int(sys.argv[2])), 10) as s:
    s.sendall(sys.argv[3].encode())
"""
NODE_CONNECT = """
const [name, port, token] = process.argv.slice(1), net = require('net'), dns = require('dns');
const fail = e => { console.error(e.code || String(e)); process.exit(1); };
const connect = host => {
    const s = net.connect({host, port: +port}, () => s.write(token, () => process.exit(0)));
    s.on('error', fail);
};
"""


def getent(name, port, token):
    script = f'a=$(getent ahosts "$1" | awk "NR==1 {{ print \\$1 }}") && [ -n "$a" ] && {SEND}'
    return ["bash", "-c", script, "bash", name, str(port), token]


def dig(name, port, token):
    script = f'a=$(dig +short +tries=1 A "$1" | tail -n 1) && [ -n "$a" ] && {SEND}'
    return ["bash", "-c", script, "bash", name, str(port), token]


def python(name, port, token):
    return [PYTHON, "-c", PYTHON_CODE, name, str(port), token]


def pycares(name, port, token):
    return [PYTHON, "-c", PYCARES_CODE, name, str(port), token]


def curl(name, port, token):
    return ["curl", "-sS", "--max-time", "10", "--noproxy", "*", "-o", "/dev/null", "-A", token, f"http://{name}:{port}/"]


def node(name, port, token):
    return ["node", "-e", NODE_CONNECT + "connect(name);", name, str(port), token]


def node_cares(name, port, token):
    code = NODE_CONNECT + "dns.resolve4(name, (e, found) => e ? fail(e) : connect(found[0]));"
    return ["node", "-e", code, name, str(port), token]


def musl(name, port, token):
    return [str(TOOLS / "musl" / "resolve"), name, str(port), token]


CLIENTS = {client.__name__: client for client in (getent, python, curl, node, musl, pycares, node_cares, dig)}
# Those that ask for both families.
DUAL = ("getent", "python", "curl", "node", "musl")

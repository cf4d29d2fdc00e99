# SPDX-License-Identifier: MIT
"""Real programs against a real server: curl and Python, HTTP and HTTPS."""

import pytest

from internet import ALLOWED4, ALLOWED4_NET, ALLOWED6, ALLOWED6_NET, DENIED4, DENIED6
from postern import AT_ONCE_MS, plain, sandboxed
from web import BIG_BYTES

POLICY = ["--allow", ALLOWED4_NET, "--allow", ALLOWED6_NET]
CURL_CANNOT_CONNECT = 7
PORTS = {"http": 80, "https": 443}


@pytest.mark.parametrize("scheme", PORTS)
@pytest.mark.parametrize("address", [ALLOWED4, ALLOWED6])
def test_curl_fetches_from_an_allowed_address(net, web, scheme, address):
    done = sandboxed(net, POLICY, web.curl(address, scheme=scheme))
    assert done.code == 0, done
    assert done.out.startswith(f"{scheme} ") and done.out.strip().endswith(address), done


@pytest.mark.parametrize("scheme", PORTS)
@pytest.mark.parametrize("address", [DENIED4, DENIED6])
def test_curl_to_a_denied_address_fails_at_once(net, web, scheme, address):
    argv = web.curl(address, "-w", "%{time_total} %{errormsg}", scheme=scheme)
    assert plain(net, argv).code == 0
    net.fence()
    since = net.mark()
    done = sandboxed(net, POLICY, argv)
    assert done.code == CURL_CANNOT_CONNECT, done
    assert float(done.out.split()[0]) * 1000 < AT_ONCE_MS, done
    assert address in done.err and "default-deny" in done.err, done
    net.fence()
    assert not net.seen(dst=address, port=PORTS[scheme], since=since)


def test_a_large_download_comes_through_whole(net, web):
    done = sandboxed(net, POLICY, ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}",
                                   f"http://{ALLOWED4}/big"])
    assert done.code == 0 and int(done.out) == BIG_BYTES, done


def test_a_large_upload_comes_through_whole(net, web):
    script = ("import socket,sys\n"
              f"s=socket.create_connection(('{ALLOWED4}',7000),5); s.settimeout(10)\n"
              "n=3000000; got=0\n"
              "import threading\n"
              "t=threading.Thread(target=lambda: s.sendall(b'x'*n)); t.start()\n"
              "while got<n: got+=len(s.recv(65536))\n"
              "t.join(); print(got)\n")
    done = sandboxed(net, POLICY, ["/usr/bin/python3", "-c", script])
    assert done.code == 0 and done.out.strip() == "3000000", done


def test_python_sees_a_permission_error(net):
    script = ("import socket\n"
              "try: socket.create_connection(('%s',443),5)\n"
              "except PermissionError as e: print(e.errno)\n" % DENIED4)
    done = sandboxed(net, POLICY, ["/usr/bin/python3", "-c", script])
    assert done.out.strip() == "1", done

# SPDX-License-Identifier: MIT
"""
Whom relayed connections are for: a namespace one veth away from the host namespace with a resolver, web servers with
certificates of a CA of our own, echoes and SOCKS5 proxies. Proxies reach the others within it: of a sandbox whose
traffic goes through a proxy, no frame to any of the others ever comes over the veth. That is what the sniffer there tells.

    host namespace  up3 198.51.103.2 <-> 198.51.103.1 pe0  peers namespace: owns 185.199.108.0/22 and 2a0f:54::/48
"""

import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import frames
from internet import Sniffer, canary, send_from_cpu
from names import MOUNT
from netns import Namespace, shell
from relaydns import Dns
from relayorigin import Origin
from relaysocks import Socks
from wait import until

DEVICE, INNER = "up3", "pe0"
HOST4, GATE4 = "198.51.103.2", "198.51.103.1"
HOST6, GATE6 = "2001:db8:54::2", "2001:db8:54::1"
NET4, NET6 = "185.199.108.0/22", "2a0f:54::/48"

# Python's origin, nginx, echoes, a server that has a certificate for another name, one that nobody's name leads to.
ORIGIN4, ORIGIN6 = "185.199.108.10", "2a0f:54::10"
ASIDE4 = "185.199.108.11"  # the same server's, for a name of its own
NGINX4, NGINX6 = "185.199.108.20", "2a0f:54::20"
ECHO4, ECHO6 = "185.199.108.30", "2a0f:54::30"
WRONG4 = "185.199.108.40"
STRANGE4 = "185.199.108.50"
CATCH4 = "185.199.108.70"  # whoever wants it
DNS4, DNS6 = "185.199.110.53", "2a0f:54::53"
OPEN4, AUTH4, DANTE4, CRAFTED4 = (f"185.199.109.{n}" for n in range(1, 5))
NOBODY4 = "185.199.111.1"  # an address where nothing listens
RACES = {f"r{n}.race.example.org": f"185.199.111.{n}" for n in range(2, 250)}
SOCKS = 1080
SYN = 2
ECHO, GREET, SINK, LAST, ANY = 7000, 7001, 7002, 7003, 7009
USER, PASSWORD = "sandbox", "pst-socks-password-8c1f"

ZONE = {
    "api.example.com": [ORIGIN4, ORIGIN6], "deep.api.example.com": [ORIGIN4], "plain.example.com": [ORIGIN4, ORIGIN6],
    "free.example.com": [ORIGIN4], "denied.example.com": [ASIDE4], "wrong.example.com": [WRONG4],
    "one.example.org": [NGINX4, NGINX6], "two.example.org": [NGINX4, NGINX6],
    "echo.example.org": [ECHO4, ECHO6], "off.example.org": [ECHO4],
    "private.example.org": ["10.9.0.5"], "loop.example.org": ["127.0.0.1"], "none.example.org": [], "mute.example.org": [ECHO4],
    "mixed.example.com": ["10.9.0.5", ORIGIN4],
    "socks.example.net": [AUTH4], "inner.example.net": ["10.9.0.5"],
    **{name: [address] for name, address in RACES.items()},
}
HOSTED = ("api.example.com", "deep.api.example.com", "plain.example.com", "free.example.com", "denied.example.com",
          "mixed.example.com")

NGINX = """
daemon off;
worker_processes 1;
user root;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 512; }}
http {{
    log_format names '$scheme $server_name $ssl_server_name $http_host $request';
    access_log {dir}/access.log names;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    ssl_certificate {dir}/nginx.pem;
    ssl_certificate_key {dir}/nginx.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    keepalive_requests 100000;
    server {{
        listen {v4}:80 default_server; listen {v4}:443 ssl default_server;
        listen [{v6}]:80 default_server; listen [{v6}]:443 ssl default_server;
        server_name default;
        location / {{ return 200 "default\\n"; }}
    }}
    server {{
        listen {v4}:80; listen {v4}:443 ssl; listen [{v6}]:80; listen [{v6}]:443 ssl;
        server_name one.example.org;
        location / {{ return 200 "one $scheme $http_x_token\\n"; }}
        location /big {{ root {dir}; }}
    }}
    server {{
        listen {v4}:80; listen {v4}:443 ssl; listen [{v6}]:80; listen [{v6}]:443 ssl;
        server_name two.example.org;
        location / {{ return 200 "two $scheme $http_x_token\\n"; }}
    }}
}}
"""
DANTE = """
logoutput: stderr
internal: {address} port = {port}
external: {inner}
socksmethod: username
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
}}
socks pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
    socksmethod: username
    log: connect error
}}
"""
# danted asks the system who its users are: in mounts of its own there is one more.
DANTE_MOUNT = """mount --make-rprivate / && for f in resolv.conf passwd shadow; do mount --bind "$0/$f" "/etc/$f" || exit; done
exec "$@" """
BIG = b"0123456789abcdef" * 65536


class Authority:
    """A CA of the test's own; `certificate` is what clients must trust."""

    def __init__(self, directory, name="Postern test CA"):
        self.dir = Path(directory)
        self._config = self.dir / "openssl.cnf"
        self._config.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        self.certificate, self.key = self.dir / "ca.pem", self.dir / "ca.key"
        self._make("ca", name, "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign",
                   "subjectKeyIdentifier=hash")

    def _make(self, role, name, *extensions, by=()):
        certificate, key = self.dir / f"{role}.pem", self.dir / f"{role}.key"
        shell("openssl", "req", "-x509", "-config", str(self._config), "-newkey", "ec", "-pkeyopt",
              "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(certificate),
              "-subj", f"/CN={name}", *by, *(word for one in extensions for word in ("-addext", one)))
        return certificate, key

    def issue(self, role, *names):
        """Certificate and key for these names; their paths."""
        return self._make(role, names[0], "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
                          by=("-CA", str(self.certificate), "-CAkey", str(self.key)))


class Program:
    """A program that serves in the namespace, with what it says in a file; killed with this process."""

    def __init__(self, namespace, argv, log, address, port):
        self.log_path = Path(log)
        with open(log, "wb") as output:
            self.process = subprocess.Popen(namespace.command(["setpriv", "--pdeathsig", "KILL", *map(str, argv)]),
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            until(lambda: namespace.call(answers, address, port), f"{argv[0]} answers", 30)
        except AssertionError as error:
            self.close()
            raise AssertionError(f"{error}\n{self.log()}") from None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


def answers(address, port):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


class Tcp:
    """
    Echoes on ECHO; speaks first on GREET and then echoes; reads to the end on SINK and then says how much it was; on LAST
    speaks, ends its own half, and reads on; echoes on ANY of every address. `seen` has an entry for each connection.
    """

    GREETING = b"220 welcome\r\n"

    def __init__(self, namespace, addresses):
        self.namespace, self.seen, self._open = namespace, [], []
        for address in addresses:
            for port in (ECHO, GREET, SINK, LAST):
                self._start(address, port)
        self._start("0.0.0.0", ANY)

    def _start(self, address, port):
        server = self.namespace.call(self._listen, address, port)
        threading.Thread(target=self._accept, args=(server, port), daemon=True).start()

    def _listen(self, address, port):
        server = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                                      backlog=512)
        self._open.append(server)
        return server

    def _accept(self, server, port):
        while True:
            try:
                client, peer = server.accept()
            except OSError:
                return
            self._open.append(client)
            entry = {"port": port, "source": peer[0], "bytes": 0, "data": b"", "ended": None}
            self.seen.append(entry)
            threading.Thread(target=self._talk, args=(client, port, entry), daemon=True).start()

    def _talk(self, client, port, entry):
        try:
            if port in (GREET, LAST):
                client.sendall(self.GREETING)
            if port == LAST:
                client.shutdown(socket.SHUT_WR)
            while data := client.recv(262144):
                entry["bytes"] += len(data)
                entry["data"] = (entry["data"] + data)[:4096]
                if port in (ECHO, GREET, ANY):
                    client.sendall(data)
            if port == SINK:
                client.sendall(b"%d" % entry["bytes"])
            if port != LAST:
                client.shutdown(socket.SHUT_WR)
            entry["ended"] = "eof"
        except OSError as error:
            entry["ended"] = str(error)
        client.close()

    def close(self):
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


class Peers:
    """All of them. close() leaves nothing. Without `sniff` nobody looks at what comes: measurements have it so."""

    def __init__(self, net, sniff=True):
        self.net = net
        self.namespace = Namespace("peers")
        self.dir = Path(tempfile.mkdtemp(prefix="pst-peers-"))
        self._parts, self._stop, self._reading = [], threading.Event(), threading.Lock()
        self._lost = {}  # mark -> frames that the sniffer had lost by then
        try:
            self._join()
            if sniff:
                self.sniffer = Sniffer(self.namespace, (INNER,))
                threading.Thread(target=self._read, daemon=True).start()
            self._serve()
        except BaseException:
            self.close()
            raise

    def _join(self):
        host, inner = self.net.host, self.namespace
        inner.sysctl(net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0,
                     net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__default__rp_filter=0,
                     net__ipv6__ip_nonlocal_bind=1)
        host.ip("link", "add", DEVICE, "type", "veth", "peer", INNER, "netns", inner.name)
        for namespace, device, v4, v6 in ((host, DEVICE, HOST4, HOST6), (inner, INNER, GATE4, GATE6)):
            namespace.ip("addr", "add", f"{v4}/24", "dev", device)
            namespace.ip("link", "set", device, "up")
            namespace.ip("addr", "add", f"{v6}/64", "dev", device, "nodad")
        inner.ip("route", "add", "default", "via", HOST4)
        inner.ip("-6", "route", "add", "default", "via", HOST6)
        inner.ip("route", "add", "local", NET4, "dev", "lo")
        inner.ip("-6", "route", "add", "local", NET6, "dev", "lo")
        inner.ip("addr", "add", f"{DANTE4}/32", "dev", "lo")  # danted wants its addresses on a device
        host.ip("route", "add", NET4, "via", GATE4, "dev", DEVICE)
        host.ip("-6", "route", "add", NET6, "via", GATE6, "dev", DEVICE)

    def _keep(self, part):
        self._parts.append(part)
        return part

    def _serve(self):
        self.dir.chmod(0o755)
        self.ca = Authority(self.dir)
        self.dns = self._keep(Dns(self.namespace, (DNS4, DNS6), ZONE))
        hosted = self.ca.issue("origin", *HOSTED)
        self.origin = self._keep(Origin(self.namespace, (ORIGIN4, ORIGIN6, ASIDE4), hosted))
        self.wrong = self._keep(Origin(self.namespace, (WRONG4,), self.ca.issue("wrong", "other.example.net")))
        self.tcp = self._keep(Tcp(self.namespace, (ECHO4, ECHO6, STRANGE4)))
        self.socks = self._keep(Socks(self.namespace, CRAFTED4, SOCKS, ZONE))
        self.quic = self.namespace.call(self._datagrams)
        self._start_nginx()
        self.microsocks = self._keep(self.start_microsocks(OPEN4))
        self.guarded = self._keep(self.start_microsocks(AUTH4, "-u", USER, "-P", PASSWORD))

    @staticmethod
    def _datagrams():
        """What would hear QUIC."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((ORIGIN4, 443))
        sock.setblocking(False)
        return sock

    def _start_nginx(self):
        self.ca.issue("nginx", "one.example.org", "two.example.org", "*.pass.example.org")
        (self.dir / "nginx.conf").write_text(NGINX.format(dir=self.dir, v4=NGINX4, v6=NGINX6))
        (self.dir / "big").write_bytes(BIG)
        self.nginx = self._keep(Program(
            self.namespace, ["nginx", "-p", self.dir, "-c", self.dir / "nginx.conf", "-e", self.dir / "error.log"],
            self.dir / "nginx.out", NGINX4, 443))

    def _asking(self, argv):
        """argv with our resolver."""
        conf = self.dir / "resolv.conf"
        conf.write_text(f"nameserver {DNS4}\n")
        return ["unshare", "-m", "sh", "-c", MOUNT, conf, *argv]

    def start_microsocks(self, address, *options):
        """Its log names whom it connected to, as it was asked for."""
        return Program(self.namespace, self._asking(["stdbuf", "-oL", "-eL", "microsocks", "-i", address, "-p", SOCKS,
                                                     *options]), self.dir / f"microsocks-{address}", address, SOCKS)

    def start_dante(self):
        """With USER and PASSWORD, as a user of the system that it sees."""
        mounts = self.dir / "dante"
        mounts.mkdir(exist_ok=True)
        secret = shell("openssl", "passwd", "-6", PASSWORD).strip()
        (mounts / "resolv.conf").write_text(f"nameserver {DNS4}\n")
        for name, line in (("passwd", f"{USER}:x:64999:64999::/:/usr/sbin/nologin"), ("shadow", f"{USER}:{secret}:19000::::::")):
            (mounts / name).write_text(Path("/etc", name).read_text() + line + "\n")
        (mounts / "shadow").chmod(0o600)
        conf = mounts / "danted.conf"
        conf.write_text(DANTE.format(address=DANTE4, port=SOCKS, inner=DANTE4))
        return Program(self.namespace, ["unshare", "-m", "sh", "-c", DANTE_MOUNT, mounts, "danted", "-f", conf, "-p",
                                        mounts / "pid"], mounts / "log", DANTE4, SOCKS)

    def access_log(self):
        """nginx's: lines of scheme, server name, SNI, Host and the request line."""
        return (self.dir / "access.log").read_text()

    # What came over the veth

    def _read(self):
        while not self._stop.wait(0.05):
            self._take()

    def _take(self):
        with self._reading:
            for sock in self.sniffer.sockets:
                self.sniffer.read(sock)

    def mark(self):
        """The present: what the host sends from now on comes behind it. What was lost before is nobody's witness."""
        self._await_fences()
        mark = len(self.sniffer.frames)
        self._lost.setdefault(mark, self.sniffer.count_drops())
        return mark

    def fence(self, since=0):
        """Returns when the sniffer has read all that the host sent before, and all since then."""
        self._await_fences()
        self.sniffer.check_drops(self._lost.get(since, 0))

    def _await_fences(self):
        for cpu in sorted(os.sched_getaffinity(0)):
            token = canary().encode()
            self.net.host.call(send_from_cpu, cpu, DEVICE.encode(), token, GATE4)
            until(lambda t=token: self._arrived(t), "a fence arrives", 60)

    def _arrived(self, token):
        self._take()
        return any(token in frame.raw for frame in self.sniffer.frames[-4000:])

    def seen(self, dst=None, port=None, *, since=0, token=None, protocol=frames.TCP):
        """
        Frames from the host since then: to dst and port, with that token in them. Of TCP those that open a connection or
        carry bytes: how a connection of before ends (that of a control) is nobody's way out.
        """
        self.fence(since)
        address = ipaddress.ip_address(dst) if dst else None
        return [f for f in self.sniffer.frames[since:]
                if (address is None or f.dst == address) and port in (None, f.dport) and protocol in (None, f.protocol) and
                (token is None or token in f.raw) and (f.protocol != frames.TCP or f.payload or f.flags & SYN)]

    def close(self):
        self._stop.set()
        for part in reversed(self._parts):
            part.close()
        self.namespace.close()
        shutil.rmtree(self.dir, ignore_errors=True)


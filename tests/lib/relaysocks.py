# SPDX-License-Identifier: MIT
"""
A SOCKS5 proxy (RFC 1928, 1929) that keeps what it was asked for, and does to its clients what the test says: serves them,
is silent, lies, or dies.
"""

import contextlib
import ipaddress
import socket
import struct
import threading

IPV4, NAME, IPV6 = 1, 3, 4
GREETING, AUTHENTICATION, REQUEST = "greeting", "authentication", "request"
# What it says at each of these when nothing else is wanted.
ANSWERS = {GREETING: b"\5\0", AUTHENTICATION: b"\1\0", REQUEST: b"\5\0\0\1\0\0\0\0\0\0"}


class Socks:
    """
    manners: for a step its answer: bytes; None, which is silence; "close". A step that is not there is served. users:
    name -> password; empty: whoever comes. asked: (ATYP, host, port); credentials: (user, password).
    """

    def __init__(self, namespace, address, port, zone):
        self.namespace, self.zone = namespace, zone
        self.manners, self.users, self.asked, self.credentials = {}, {}, [], []
        self.greetings, self.extra = [], []
        self._open, self._held = [], []
        server = namespace.call(self._listen, address, port)
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _listen(self, address, port):
        server = socket.create_server((address, port), backlog=512)
        self._open.append(server)
        return server

    def reset(self):
        """As new; what it still holds is let go."""
        self.drop()
        self.manners.clear()
        self.users.clear()
        for kept in (self.asked, self.credentials, self.greetings, self.extra):
            kept.clear()

    def drop(self):
        """Every connection ends, at once."""
        held, self._held = self._held, []
        for sock in held:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self, server):
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            self._held.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError, EOFError):
            client.settimeout(120)
            target = self._handshake(client)
            if target:
                self._relay(client, *target)

    @staticmethod
    def _take(client, size):
        data = b""
        while len(data) < size:
            more = client.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _say(self, client, step, answer):
        """Whether the handshake goes on as usual."""
        manner = self.manners.get(step, answer)
        if manner == "close":
            client.close()
        elif manner is not None:
            client.sendall(manner)
        # What a client sends after a lie, or into silence, is what the test asks about.
        if manner != answer and manner != "close":
            while more := client.recv(65536):
                self.extra.append(more)
        return manner == answer

    def _handshake(self, client):
        """The target, or None."""
        _, count = self._take(client, 2)
        methods = self._take(client, count)
        self.greetings.append(bytes([count]) + methods)
        wanted = 2 if self.users else 0
        if not self._say(client, GREETING, bytes([5, wanted if wanted in methods else 255])):
            return None
        if wanted and wanted not in methods:
            return None
        if wanted and not self._authenticate(client):
            return None
        _, command, _, kind = self._take(client, 4)
        if kind == NAME:
            host = self._take(client, self._take(client, 1)[0]).decode("latin-1")
        else:
            host = str(ipaddress.ip_address(self._take(client, 4 if kind == IPV4 else 16)))
        port = int.from_bytes(self._take(client, 2), "big")
        self.asked.append((kind, host, port))
        assert command == 1
        return (host, port) if self.manners.get(REQUEST) is None and REQUEST not in self.manners else \
            self._say(client, REQUEST, b"") and None

    def _authenticate(self, client):
        _, size = self._take(client, 2)
        user = self._take(client, size)
        password = self._take(client, self._take(client, 1)[0])
        self.credentials.append((user.decode("latin-1"), password.decode("latin-1")))
        is_right = self.users.get(user.decode("latin-1")) == password.decode("latin-1")
        return self._say(client, AUTHENTICATION, b"\1\0" if is_right else b"\1\1") and is_right

    def _relay(self, client, host, port):
        addresses = self.zone.get(host.lower(), [host])
        try:
            remote = self.namespace.call(socket.create_connection, (addresses[0], port), 10)
        except OSError:
            client.sendall(b"\5\5\0\1\0\0\0\0\0\0")
            client.close()
            return
        self._held.append(remote)
        remote.settimeout(None)
        client.settimeout(None)
        client.sendall(ANSWERS[REQUEST])
        back = threading.Thread(target=self._pump, args=(remote, client), daemon=True)
        back.start()
        self._pump(client, remote)
        back.join()
        client.close()
        remote.close()

    @staticmethod
    def _pump(source, to):
        with contextlib.suppress(OSError):
            while data := source.recv(262144):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    def close(self):
        self.drop()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

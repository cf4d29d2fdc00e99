# SPDX-License-Identifier: MIT
"""
A resolver whose zone and manners the test writes: UDP and TCP, every question kept as it came. What does not stand in
the zone does not exist.
"""

import contextlib
import socket
import struct
import threading

import dnswire

NXDOMAIN = 3


class Asked(dnswire.Question):
    """protocol: "udp" or "tcp"; client: the address that asked; raw: the message."""

    def __init__(self, raw, protocol, client):
        super().__init__(raw)
        self.protocol, self.client = protocol, client
        self.has_edns = raw[10:12] == b"\0\1"
        self.text = self.name.lower()


class Dns:
    """
    zone: name -> addresses. `truncated`: names whose UDP reply has TC and nothing else. `silent`: names that nobody
    answers for. `ttl`: of what it answers.
    """

    def __init__(self, namespace, addresses, zone):
        self.zone, self.asked, self.ttl = {name: list(found) for name, found in zone.items()}, [], 60
        self.truncated, self.silent = set(), set()
        self._open = []
        for address in addresses:
            udp, tcp = namespace.call(self._listen, address)
            threading.Thread(target=self._udp, args=(udp,), daemon=True).start()
            threading.Thread(target=self._tcp, args=(tcp,), daemon=True).start()

    def _listen(self, address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        for sock in (udp, tcp):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, 53))
            self._open.append(sock)
        tcp.listen(64)
        return udp, tcp

    def _udp(self, sock):
        while True:
            try:
                raw, client = sock.recvfrom(65536)
            except OSError:
                return
            if not client:
                return  # shut down
            reply = self._answer(raw, "udp", client[0])
            with contextlib.suppress(OSError):
                if reply:
                    sock.sendto(reply, client)

    def _tcp(self, server):
        while True:
            try:
                client, peer = server.accept()
            except OSError:
                return
            threading.Thread(target=self._stream, args=(client, peer[0]), daemon=True).start()

    def _stream(self, client, peer):
        with client, contextlib.suppress(OSError):
            client.settimeout(30)
            with client.makefile("rb") as reader:
                while len(head := reader.read(2)) == 2:
                    reply = self._answer(reader.read(int.from_bytes(head, "big")), "tcp", peer)
                    if reply:
                        client.sendall(struct.pack("!H", len(reply)) + reply)

    def _answer(self, raw, protocol, client):
        asked = Asked(raw, protocol, client)
        self.asked.append(asked)
        if asked.text in self.silent:
            return None
        found, extra = self.zone.get(asked.text), [dnswire.opt()] if asked.has_edns else []
        if found is None:
            return asked.reply(flags=dnswire.REPLY | NXDOMAIN, additional=extra)
        if protocol == "udp" and asked.text in self.truncated:
            return asked.reply(flags=dnswire.REPLY | 0x0200, additional=extra)
        rows = [a for a in found if asked.type == (dnswire.AAAA if ":" in a else dnswire.A)]
        return asked.reply([dnswire.address(dnswire.QNAME, a, ttl=self.ttl) for a in rows], additional=extra)

    def asked_for(self, name, since=0):
        """The questions for that name."""
        return [a for a in self.asked[since:] if a.text == name.lower().rstrip(".")]

    def close(self):
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

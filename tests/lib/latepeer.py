# SPDX-License-Identifier: MIT
"""Somebody at an address of the internet who is asked by UDP, and answers when the test says."""

import socket

IP_FREEBIND = 15


class LatePeer:
    def __init__(self, net, address, port):
        self.net, self.address, self.port, self.asker = net, address, port, None
        self._socket = net.internet.call(self._open)

    def _open(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.bind((self.address, self.port))
        sock.settimeout(30)
        return sock

    def await_question(self):
        """From now on it speaks to who asked."""
        self.asker = self._socket.recvfrom(2048)[1]

    def say(self, word):
        self._socket.sendto(word.encode(), self.asker)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._socket.close()

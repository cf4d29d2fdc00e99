# SPDX-License-Identifier: MIT
"""nginx in the internet namespace: plain HTTP on 80, TLS with a certificate of our own on 443, on every address."""

import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from netns import shell
from wait import until

CONFIG = """
daemon off;
worker_processes 1;
user root;
pid {dir}/pid;
error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log {dir}/access.log;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen [::]:80 ipv6only=off;
        listen [::]:443 ssl ipv6only=off;
        ssl_certificate {dir}/cert.pem;
        ssl_certificate_key {dir}/key.pem;
        location / {{ return 200 "$scheme $server_addr\\n"; }}
        location /big {{ root {dir}; }}
    }}
}}
"""
BIG_BYTES = 1 << 20


class Web:
    """A running nginx; `certificate` is what curl --cacert wants, its name is NAME."""

    NAME = "web.example.com"

    def __init__(self, net):
        self.dir = Path(tempfile.mkdtemp(prefix="pst-web-"))
        try:
            self._start(net)
        except BaseException:
            shutil.rmtree(self.dir)
            raise

    def _start(self, net):
        self.certificate = self.dir / "cert.pem"
        shell("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
              "-days", "2", "-keyout", str(self.dir / "key.pem"), "-out", str(self.certificate),
              "-subj", f"/CN={self.NAME}", "-addext", f"subjectAltName=DNS:{self.NAME}")
        (self.dir / "conf").write_text(CONFIG.format(dir=self.dir))
        (self.dir / "big").write_bytes(b"x" * BIG_BYTES)
        self.dir.chmod(0o755)
        self.process = subprocess.Popen(
            net.internet.command(["nginx", "-p", str(self.dir), "-c", str(self.dir / "conf"),
                                  "-e", str(self.dir / "error.log")]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: net.internet.call(self._answers), "nginx answers")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _answers():
        try:
            socket.create_connection(("127.0.0.1", 443), 1).close()
            return True
        except OSError:
            return False

    def curl(self, address, *options, scheme="https"):
        """The command line that fetches from this server at an address."""
        port = 443 if scheme == "https" else 80
        where = f"[{address}]" if ":" in address else address
        return ["curl", "-sS", "--max-time", "10", "--noproxy", "*", "--cacert", str(self.certificate),
                "--resolve", f"{self.NAME}:{port}:{where}", *options, f"{scheme}://{self.NAME}/"]

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

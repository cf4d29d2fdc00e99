# SPDX-License-Identifier: MIT
"""
A real guest: a stock kernel under QEMU (emulated, so that it works everywhere) with its virtio network card on a tap of the
host namespace. Inside is busybox, root, and a shell on the serial line that is told what to do. tools/vm.sh fetches kernels.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from netns import shell
from postern import BUILD, ROOT, TOOLS, Running, operations
from wait import until
from wire import Wire

MODULES = ("virtio_pci", "virtio_net")
BOOT_S = 120
INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/tools
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
while read -r module; do insmod "/modules/$module"; done </modules/order
ip link set lo up
ip link set eth0 up
ip addr add %(addr4)s/24 dev eth0
ip -6 addr add %(addr6)s/64 dev eth0
ip route add default via %(gate4)s
ip -6 route add default via %(gate6)s
stty -echo -icrnl -onlcr </dev/console
echo "guest up $(uname -r)"
while read -r line; do eval "$line" 2>&1; echo "done $?"; done
poweroff -f
"""


def kernel_tree(version="6.1"):
    """Where the unpacked kernel of tools/vm.sh is; None when it was not fetched."""
    for build in (Path(BUILD), ROOT / "build"):
        tree = (ROOT / build).resolve() / "vm" / version
        if (tree / "fetched").exists():
            return tree / "root"
    return None


def missing():
    """Why there can be no guest; "" when there can."""
    for program in ("qemu-system-x86_64", "busybox", "cpio"):
        if not shutil.which(program):
            return f"{program} is not installed (tools/deps.sh kernels)"
    return "" if kernel_tree() else "no kernel 6.1 was fetched (tools/vm.sh fetch)"


def module_files(tree):
    """The files of MODULES and of what they need, in the order in which to load them."""
    base = next((tree / "lib/modules").iterdir())
    if not (base / "modules.dep").exists():
        shell("busybox", "depmod", "-b", str(tree), base.name)
    needs = {Path(line.split(":")[0]).name: line.replace(":", "").split() for line in
             (base / "modules.dep").read_text("ascii").splitlines()}
    found = []
    for name in MODULES:
        found += [base / path for path in reversed(needs[f"{name}.ko"]) if base / path not in found]
    return found


class Guest(Wire):
    """A microVM on a tap. do() runs a line of shell in it."""

    def __init__(self, net, directory):
        self.directory, self.process = Path(directory), None
        super().__init__(net, "tap", known=True)

    def _make_taps(self):
        self.net.host.ip("tuntap", "add", "dev", self.device, "mode", "tap")
        self.net.host.ip("link", "set", self.device, "address", self.host_mac)

    def _configure(self):
        host = self.net.host
        host.ip("addr", "add", f"{self.gate4}/24", "dev", self.device)
        host.ip("link", "set", self.device, "up")
        host.ip("addr", "add", f"{self.gate6}/64", "dev", self.device, "nodad")
        for address in (self.addr4, self.addr6):
            host.ip("neigh", "replace", address, "lladdr", self.mac, "dev", self.device, "nud", "permanent")

    def _pack(self):
        root = self.directory / "root"
        for name in ("bin", "proc", "sys", "dev", "tmp", "modules", "tools"):
            (root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/busybox")
        for name in ("flow", "ring", "raw", "options", "vnet"):
            shutil.copy(TOOLS / name, root / "tools" / name)
        files = module_files(kernel_tree())
        for path in files:
            shutil.copy(path, root / "modules" / path.name)
        (root / "modules/order").write_text("".join(f"{path.name}\n" for path in files), "ascii")
        (root / "init").write_text(INIT % vars(self), "ascii")
        (root / "init").chmod(0o755)
        image = self.directory / "initramfs"
        with open(image, "wb") as out:
            names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=names, stdout=out,
                           check=True)
        return image

    def boot(self):
        kernel = next((kernel_tree() / "boot").glob("vmlinuz-*"))
        self.process = Running(self.net, [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,cx16=off", "-smp", "1", "-m", "192", "-nographic",
            "-no-reboot", "-nodefaults", "-serial", "stdio", "-monitor", "none", "-kernel", str(kernel), "-initrd",
            str(self._pack()), "-append", "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on mitigations=off",
            "-netdev", f"tap,id=net,ifname={self.device},script=no,downscript=no", "-device",
            f"virtio-net-pci,netdev=net,mac={self.mac},romfile="], env={"PST_TEST": "guest"}, stdin=subprocess.PIPE)
        self.process.await_line(lambda line: "guest up" in line, "the guest runs", BOOT_S)
        return self

    def do(self, line, deadline_s=60):
        """(exit code, output) of a line of shell in the guest."""
        lines, start = self.process.lines, len(self.process.lines)
        self.process.process.stdin.write(line + "\n")
        self.process.process.stdin.flush()

        def ended():
            assert self.process.process.poll() is None, f"the guest is gone: {self.process.text()}"
            return next((n for n in range(start, len(lines)) if lines[n].strip().startswith("done ")), None)
        end = until(lambda: (ended() or 0) + 1 if ended() is not None else None, f"the guest did: {line}", deadline_s) - 1
        return int(lines[end].split()[1]), "\n".join(text.strip() for text in lines[start:end])

    def flow(self, mode, address, port, token):
        """The last operation that tools/flow reports."""
        _, out = self.do(f"flow {mode} {address} {port} {token}")
        found = operations(out)
        assert found, out
        return found[-1]

    def close(self):
        if self.process:
            self.process.stop()
        super().close()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.directory)


def has_guest():
    return not missing() and os.path.exists("/dev/net/tun")

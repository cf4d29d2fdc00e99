#!/bin/sh
# SPDX-License-Identifier: MIT
# `unix`: held where the kernel has the hooks (Linux 6.7), refused where it does not. Runs in the VM of tools/vm.sh.
set -eu

echo '{"unix": "deny"}' >/tmp/deny.json
echo '{"unix": "allow"}' >/tmp/allow.json
# try POLICY: the send of a socket to a name where nobody listens, as the tool reports it
try()
{
	postern run --policy "/tmp/$1.json" -- unix sendto @pst-nobody x >/tmp/unix-out 2>/tmp/unix-err || true
	cat /tmp/unix-out /tmp/unix-err
}

try allow | grep -q '^sendto ECONNREFUSED ' || { cat /tmp/unix-out /tmp/unix-err; exit 1; }
if postern doctor | grep 'cgroup/connect_unix' | grep -q 'not available'; then
	try deny | grep -q 'unix other than allow: this kernel has no hook' || { cat /tmp/unix-out /tmp/unix-err; exit 1; }
	[ ! -s /tmp/unix-out ] || { echo "it ran all the same"; exit 1; }
	echo "unix: refused, this kernel has no hook"
else
	try deny | grep -q '^sendto EPERM ' || { cat /tmp/unix-out /tmp/unix-err; exit 1; }
	echo "unix: held"
fi

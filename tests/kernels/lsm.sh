#!/bin/sh
# SPDX-License-Identifier: MIT
# The LSM programs: Debian's kernels have BPF in their list of LSMs, so nothing of this may be skipped here. Runs in the
# VM of tools/vm.sh.
set -eu

/tests/bpf/test_lsm >/tmp/lsm-out 2>&1 || { cat /tmp/lsm-out; exit 1; }
if grep -q SKIPPED /tmp/lsm-out; then
	cat /tmp/lsm-out
	exit 1
fi
echo "lsm: other families, sockets from before, sockets handed in"

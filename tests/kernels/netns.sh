#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC1091,SC2086,SC2154 # what `internet` sets, and words that are to be split
# `postern run --netns` on this kernel: its own network, masqueraded, judged at the host's side of its device. Runs in the
# VM of tools/vm.sh, in busybox's sh.
set -eu
. /tests/kernels/internet

# One run for all: loading the programs is most of what it costs here.
cat >/tmp/netns-inside <<INSIDE
for address in $ALL; do
	for how in tcp udp-connected; do
		echo "\$how \$address \$(flow \$how \$address $PORT canary | tail -n 1)"
	done
done
/usr/sbin/ip -4 -o addr show dev eth0
INSIDE

# said WORDS HOW ADDRESS
said()
{
	grep -Eq "^$2 $3 $1 " /tmp/device-flow || fail "$2 $3: expected $1"
}

internet_open
seen >/tmp/device-before
within pst-host sh /tmp/netns-inside >/tmp/device-flow 2>/dev/null || true
for address in $ALL; do
	said "$arrives" tcp "$address"
	said "$arrives" udp-connected "$address"
done
seen >/tmp/device-after
oracle "$ALL" ""
mv /tmp/device-after /tmp/device-before
within pst-host postern run --netns --allow $ALLOWED4 --allow $ALLOWED6 -- sh /tmp/netns-inside >/tmp/device-flow 2>&1 || true
seen >/tmp/device-after
for address in $ALLOWED4 $ALLOWED6; do
	said "$arrives" tcp "$address"
	said "$arrives" udp-connected "$address"
done
for address in $DENIED4 $DENIED6; do
	said "$refused_tcp" tcp "$address"
	said "$refused_udp" udp-connected "$address"
done
oracle "$ALLOWED4 $ALLOWED6" "$DENIED4 $DENIED6"
grep -q 'eth0 *inet ' /tmp/device-flow || fail "no address inside"
! grep -q 192.0.2.2 /tmp/device-flow || fail "the host's address inside"
left=$(ip -n pst-host -o link show | grep -Evc ' (lo|up0)[:@]') || true
[ "$left" = 0 ] || fail "devices left: $(ip -n pst-host -o link show)"
tables=$(within pst-host nft list tables)
[ -z "$tables" ] || fail "tables left: $tables"
internet_close
echo "netns: allowed and denied, TCP and UDP, both families; nothing left"

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC1091,SC2086,SC2154 # what `internet` sets, and words that are to be split
# Netkit pairs (Linux 6.7), in L2 mode and in L3 mode, whose frames have no hardware addresses: the primary device is judged
# as the host's side of a veth is. Runs in the VM of tools/vm.sh, in busybox's sh.
set -eu
. /tests/kernels/internet

inside()
{
	within pst-captive "$@"
}

ip netns add pst-try
if ! netkit l2 pst-try0 pst-try1 /run/netns/pst-try >/tmp/device-flow 2>&1; then
	grep -q EOPNOTSUPP /tmp/device-flow || fail "no netkit"
	case $(uname -r) in
	6.[0-6].*) ;;
	*) fail "this kernel should have netkit" ;;
	esac
	echo "SKIPPED: netkit: Linux $(uname -r) has none"
	exit 0
fi
ip link del pst-try0
ip netns del pst-try

internet_open
proxy_open
daemon_config
echo "{\"allowOut\": [\"$ALLOWED4\", \"$ALLOWED6\"], \"denyOut\": [\"0.0.0.0/0\"]}" >/tmp/device-one
echo "{\"allowOut\": [\"$DENIED4\", \"$DENIED6\"], \"denyOut\": [\"0.0.0.0/0\"]}" >/tmp/device-other
daemon_start
for layer in l2 l3; do
	captive_open netkit-$layer
	judged "$ALL" "" inside
	postern attach box-$layer --netdev pst-dev --addr $CAPTIVE4 --addr $CAPTIVE6 --policy /tmp/device-one --allow-weak
	postern show box-$layer >/tmp/device-flow
	grep -Eq "^ *attached +tcx" /tmp/device-flow || fail "not by tcx"
	judged "$ALLOWED4 $ALLOWED6" "$DENIED4 $DENIED6" inside
	# An address that is not its own goes nowhere, and is told nothing.
	ip -n pst-captive addr add 10.77.1.9/24 dev eth0
	ip -n pst-inet route replace 10.77.1.9 via 192.0.2.2
	seen >/tmp/device-before
	inside flow -s 10.77.1.9 -n udp $ALLOWED4 $PORT canary >/tmp/device-flow 2>&1 || true
	grep -q '^sendto ok' /tmp/device-flow || fail "it was not sent"
	expect "$arrives" udp-connected $ALLOWED6 inside
	seen >/tmp/device-after
	oracle $ALLOWED6 $ALLOWED4
	# Tightening: a connection that sends all the time gets a RST.
	mkfifo /tmp/device-fifo-$layer
	exec 3<>/tmp/device-fifo-$layer
	nsenter --net=/run/netns/pst-captive streams 20000 tcp:$ALLOWED4:$PORT <&3 >/tmp/device-streams 2>&1 &
	streams=$!
	await "a connection" grep -q '^flow 0 ok' /tmp/device-streams
	postern apply box-$layer /tmp/device-other
	await "its end" grep -q '^flow 0 ECONNRESET' /tmp/device-streams
	kill $streams
	wait $streams || true
	exec 3>&-
	judged "$DENIED4 $DENIED6" "$ALLOWED4 $ALLOWED6" inside
	# Through the relay: its listener takes frames of this device, too.
	postern apply box-$layer /tmp/device-proxy
	by_proxy "$ALLOWED4 $ALLOWED6" inside
	expect "$refused_tcp" tcp $DENIED4 inside
	postern detach box-$layer
	judged "$ALLOWED6" "" inside
	captive_close
	ip -n pst-inet route del 10.77.1.9
	ip -n pst-inet route del 10.77.1.0/24
	ip -n pst-inet -6 route del fd77:1::/64
done
daemon_stop
internet_close
echo "netkit: held in L2 and in L3 mode, by the kernel and by the relay"

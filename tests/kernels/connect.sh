#!/bin/sh
# SPDX-License-Identifier: MIT
# Allowed and denied destinations, TCP and UDP, IPv4 and IPv6, first with enforcement off. Runs in the VM of
# tools/vm.sh, in busybox's sh, with the programs of tests/lib/tools.
set -eu

# busybox's sh takes its own ip before that of the PATH
ip()
{
	/usr/sbin/ip "$@"
}

ip netns add pst-peer
ip link add pst-a type veth peer name pst-b netns pst-peer
ip addr add 192.0.2.1/24 dev pst-a
ip addr add 2001:db8::1/64 dev pst-a nodad
ip link set pst-a up
ip -n pst-peer link set lo up
for address in 192.0.2.2/24 1.1.1.1/32 8.8.8.8/32; do
	ip -n pst-peer addr add $address dev pst-b
done
for address in 2001:db8::2/64 2606:4700::1/128 2001:4860::8/128; do
	ip -n pst-peer addr add $address dev pst-b nodad
done
ip -n pst-peer link set pst-b up
ip route add default via 192.0.2.2
ip -6 route add default via 2001:db8::2

# One server a protocol and address: a UDP answer comes from where it was asked. It is up when it says its port.
for address in 1.1.1.1 8.8.8.8 2606:4700::1 2001:4860::8; do
	for protocol in tcp udp; do
		out=/tmp/serve-$protocol-$address
		ip netns exec pst-peer serve $protocol $address 7000 >"$out" &
		waited=0
		until grep -q listening "$out"; do
			waited=$((waited + 1))
			[ $waited -lt 100 ] || { echo "no server at $address"; exit 1; }
			sleep 0.1
		done
	done
done

# expect WORDS ADDRESS [COMMAND...]: the flow by TCP and the one by UDP end with these words
expect()
{
	words=$1
	address=$2
	shift 2
	for protocol in tcp udp; do
		"$@" flow $protocol "$address" 7000 canary >/tmp/flow 2>/tmp/error || true
		if ! tail -n 1 /tmp/flow | grep -Eq "^$words "; then
			echo "$* $protocol $address: expected $words"
			cat /tmp/flow /tmp/error
			exit 1
		fi
	done
}

arrives='recv ok'
denied='(connect|sendto) EPERM'
for address in 1.1.1.1 8.8.8.8 2606:4700::1 2001:4860::8; do
	expect "$arrives" $address env
done
expect "$arrives" 1.1.1.1 postern run --allow 1.1.1.1 --
expect "$denied" 8.8.8.8 postern run --allow 1.1.1.1 --
expect "$denied" 2606:4700::1 postern run --allow 1.1.1.1 --
expect "$arrives" 2606:4700::1 postern run --allow 2606:4700::/32 --
expect "$denied" 2001:4860::8 postern run --allow 2606:4700::/32 --
expect "$denied" 1.1.1.1 postern run --allow 2606:4700::/32 --
echo "connect: allowed and denied, TCP and UDP, both families"

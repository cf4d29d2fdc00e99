#!/bin/sh
# SPDX-License-Identifier: MIT
# posternd on this kernel: a cgroup attached, its policy changed, the daemon killed and found again, the cgroup detached;
# with real traffic before, between and after. Runs in the VM of tools/vm.sh, in busybox's sh.
set -eu

# busybox's sh takes its own ip before that of the PATH
ip()
{
	/usr/sbin/ip "$@"
}

ip netns add pst-daemon
ip link add pst-da type veth peer name pst-db netns pst-daemon
ip addr add 198.51.100.1/24 dev pst-da
ip link set pst-da up
ip -n pst-daemon link set lo up
for address in 198.51.100.2/24 9.9.9.9/32 4.4.4.4/32; do
	ip -n pst-daemon addr add $address dev pst-db
done
ip -n pst-daemon link set pst-db up
ip route add 9.9.9.9/32 via 198.51.100.2
ip route add 4.4.4.4/32 via 198.51.100.2

await()
{
	what=$1
	shift
	waited=0
	until "$@" >/dev/null 2>&1; do
		waited=$((waited + 1))
		[ $waited -lt 300 ] || {
			echo "waited in vain: $what"
			cat /tmp/daemon.log
			exit 1
		}
		sleep 0.1
	done
}

for address in 9.9.9.9 4.4.4.4; do
	ip netns exec pst-daemon serve tcp $address 7001 >/tmp/daemon-serve-$address &
	await "a server at $address" grep -q listening /tmp/daemon-serve-$address
done

export POSTERN_SOCKET=/tmp/daemon.sock
cgroup=/sys/fs/cgroup/pst-daemon-box
mkdir $cgroup
cat >/tmp/daemon.json <<CONFIG
{"socket": "$POSTERN_SOCKET", "stateDir": "/tmp/daemon-state", "bpffsDir": "/sys/fs/bpf/pst-daemon",
 "sandboxDir": "/tmp/daemon-dir", "cgroupParent": "pst-daemon-own", "log": "text"}
CONFIG
echo '{"allowOut": ["9.9.9.9"], "denyOut": ["0.0.0.0/0"]}' >/tmp/daemon-nine
echo '{"allowOut": ["4.4.4.4"], "denyOut": ["0.0.0.0/0"]}' >/tmp/daemon-four

start()
{
	posternd -c /tmp/daemon.json >>/tmp/daemon.log 2>&1 &
	daemon=$!
	await "posternd" postern list
}

# expect WORDS ADDRESS: how a connection from inside ends
expect()
{
	sh -c "echo 0 >$cgroup/cgroup.procs && exec flow tcp $2 7001 canary" >/tmp/daemon-flow 2>&1 || true
	tail -n 1 /tmp/daemon-flow | grep -Eq "^$1 " || {
		echo "line $3: $2: expected $1"
		cat /tmp/daemon-flow /tmp/daemon.log
		exit 1
	}
}

arrives='recv ok'
denied='connect EPERM'
expect "$arrives" 9.9.9.9 1
expect "$arrives" 4.4.4.4 2
start
postern attach box --cgroup $cgroup --policy /tmp/daemon-nine --allow-weak
expect "$arrives" 9.9.9.9 3
expect "$denied" 4.4.4.4 4
postern apply box /tmp/daemon-four
expect "$denied" 9.9.9.9 5
expect "$arrives" 4.4.4.4 6
kill -9 $daemon
wait $daemon || true
expect "$denied" 9.9.9.9 7
expect "$arrives" 4.4.4.4 8
start
expect "$denied" 9.9.9.9 9
postern apply box /tmp/daemon-nine
expect "$arrives" 9.9.9.9 10
expect "$denied" 4.4.4.4 11
# More changes than there are slots ready: they come back.
i=0
while [ $i -lt 100 ]; do
	echo "{\"allowOut\": [\"9.9.9.9\", \"10.0.$((i / 256)).$((i % 256))\"], \"denyOut\": [\"0.0.0.0/0\"]}" >/tmp/daemon-many
	postern apply box /tmp/daemon-many >/dev/null
	i=$((i + 1))
done
expect "$arrives" 9.9.9.9 12
expect "$denied" 4.4.4.4 13
postern detach box
expect "$arrives" 4.4.4.4 14
kill $daemon
wait $daemon
rmdir $cgroup
echo "daemon: attached, changed, killed, found again, detached"

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC1091,SC2086,SC2154 # what `internet` sets, and words that are to be split
# The netdev kind on this kernel, through posternd: a veth attached, its policy changed under a live connection, names, the
# daemon killed and found again, the device deleted and made anew. Runs in the VM of tools/vm.sh, in busybox's sh.
set -eu
. /tests/kernels/internet

inside()
{
	within pst-captive "$@"
}

attach()
{
	postern attach "$1" --netdev pst-dev --addr $CAPTIVE4 --addr $CAPTIVE6 --policy "/tmp/device-$2" --allow-weak
}

one()
{
	judged "$ALLOWED4 $ALLOWED6" "$DENIED4 $DENIED6" inside
}

other()
{
	judged "$DENIED4 $DENIED6" "$ALLOWED4 $ALLOWED6" inside
}

state_is()
{
	postern show box | grep -Eq "^ *state +$1"
}

ask()
{
	inside ask $RESOLVER "$1" >/tmp/device-flow 2>&1 || true
}

is_answered()
{
	ask "$1"
	grep -q "^answer NOERROR $2" /tmp/device-flow
}

internet_open
captive_open veth
daemon_config
echo "{\"allowOut\": [\"$ALLOWED4\", \"$ALLOWED6\"], \"denyOut\": [\"0.0.0.0/0\"]}" >/tmp/device-one
echo "{\"allowOut\": [\"$DENIED4\", \"$DENIED6\"], \"denyOut\": [\"0.0.0.0/0\"]}" >/tmp/device-other
echo "{\"allowOut\": [\"good.example.com:$PORT\"], \"denyOut\": [\"0.0.0.0/0\"]}" >/tmp/device-names

# The control: nobody holds it.
judged "$ALL" "" inside
nsenter --net=/run/netns/pst-inet dnsmasq -k -u root -C /dev/null -R -h -a $RESOLVER -z --pid-file= \
	--address=/good.example.com/$DENIED4 --address=/other.example.com/$ALLOWED4 &
servers="$servers $!"
await "an answer" is_answered other.example.com $ALLOWED4

daemon_start
attach box one
case $(uname -r) in
6.[0-5].*) kind=clsact ;;
*) kind=tcx ;;
esac
postern show box >/tmp/device-flow
grep -Eq "^ *attached +$kind" /tmp/device-flow || fail "not by $kind"
filters=$(tc -n pst-host filter show dev pst-dev ingress)
case $kind in
clsact) echo "$filters" | grep -q pst_from_device || fail "no filter: $filters" ;;
tcx) [ -z "$filters" ] || fail "a filter: $filters" ;;
esac
one

# Tightening: a connection that sends all the time gets a RST.
mkfifo /tmp/device-fifo
exec 3<>/tmp/device-fifo
nsenter --net=/run/netns/pst-captive streams 20000 tcp:$ALLOWED4:$PORT <&3 >/tmp/device-streams 2>&1 &
streams=$!
await "a connection" grep -q '^flow 0 ok' /tmp/device-streams
postern apply box /tmp/device-other
await "its end" grep -q '^flow 0 ECONNRESET' /tmp/device-streams
kill $streams
wait $streams || true
exec 3>&-
other

# BRIEF: what a boot has time for that is part of `make test`.
finish()
{
	filters=$(tc -n pst-host filter show dev pst-dev ingress)
	[ -z "$filters" ] || fail "left behind: $filters"
	daemon_stop
	captive_close
	internet_close
	echo "device: by $kind: $1"
	exit 0
}

if [ -n "${BRIEF-}" ]; then
	postern detach box
	judged "$ALL" "" inside
	finish "held, changed, let go"
fi

# Killed: what is in force stays so, and is found.
kill -9 $daemon
wait $daemon || true
other
daemon_start
state_is running || fail "$(postern show box)"
other
postern apply box /tmp/device-one
one

# Names: the question for another one never leaves.
postern apply box /tmp/device-names
seen >/tmp/device-before
ask other.example.com
seen >/tmp/device-after
grep -q '^answer NXDOMAIN EDE 15$' /tmp/device-flow || fail "other.example.com: expected NXDOMAIN with EDE 15"
oracle "" $RESOLVER
judged "" "$DENIED4" inside
is_answered good.example.com $DENIED4 || fail "no answer"
judged "$DENIED4" "$ALLOWED4" inside

# The device goes, and another one of its name and number comes: nobody attached that.
index=$(ip -n pst-host -o link show dev pst-dev | cut -d : -f 1)
ip -n pst-host link del pst-dev
await "it is gone" state_is gone
device_make veth "$index"
judged "$ALL" "" inside
attach again other
other
postern detach box
other
postern detach again
judged "$ALL" "" inside
finish "held, changed, killed, found again, made anew, let go; names"

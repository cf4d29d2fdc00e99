#!/bin/bash
# SPDX-License-Identifier: MIT
# The measurements of docs/PERFORMANCE.md, in namespaces and cgroups of their own, as root. One table at the end,
# also in build/bench/results.txt; every sample in build/bench/samples.txt. A missed goal is a line, not a failure.
#   tests/bench/run.sh            ROUNDS=21 interleaved rounds, medians
#   tests/bench/run.sh report     the table again, from the samples that are there
#   tests/bench/run.sh first      first connections alone, their samples on stdout
#   tests/bench/run.sh tries      large policies alone, their table
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
ROUNDS=${ROUNDS:-21}
CIDRS=1000
MANY=99999  # with the entry that denies the rest: as many as a policy may have
NAMES=99997 # with that entry, one address and a resolver: likewise
FEW=100
RESOLVER=203.0.113.53
RACE_PORT=8443
RACES=3
TRIES="1000 2000 4000 8000 16000 100000 1000000"
FIRSTS=1000 # a sandbox has room for 2,048 addresses at a time
run=pst-bench-$$
samples=$B/bench/samples.txt
results=$B/bench/results.txt

# What runs in the background; each has left its number.
stop_all()
{
	local pid
	cat "$scratch"/*.pid 2>/dev/null | while read -r pid; do
		kill "$pid" 2>/dev/null || :
	done
	rm -f "$scratch"/*.pid
}

cleanup()
{
	local dir bpffs
	stop_all
	ip netns del "$run-client" 2>/dev/null || :
	ip netns del "$run-server" 2>/dev/null || :
	bpffs=$(mount_of bpf)
	rm -rf "${bpffs:?}/$run"-*
	for dir in "$(mount_of cgroup2)/$run"-*; do
		[ ! -d "$dir" ] || find "$dir" -depth -type d -exec rmdir {} \;
	done
	rm -rf "$scratch"
}

# mount_of TYPE: where the first file system of that type is
mount_of()
{
	awk -v type="$1" '$3 == type { print $2; exit }' /proc/self/mounts
}

# A client and a server that answers at every address, joined by a veth pair. Nothing else is in there.
make_namespaces()
{
	local side
	for side in client server; do
		ip netns add "$run-$side"
		ip -n "$run-$side" link set lo up
	done
	ip -n "$run-client" link add uplink type veth peer name downlink netns "$run-server"
	ip -n "$run-client" address add 198.18.0.1/30 dev uplink
	ip -n "$run-server" address add 198.18.0.2/30 dev downlink
	ip -n "$run-client" link set uplink up
	ip -n "$run-server" link set downlink up
	ip -n "$run-client" route add default via 198.18.0.2
	ip -n "$run-server" route add local default dev lo table main
}

in_netns()
{
	local side=$1
	shift
	nsenter --net="/run/netns/$run-$side" "$@"
}

# forwarder NAME ADDRESS [OPTION...]: a dnsmasq without a cache, so that each question is the resolver's as well. It is
# in the background when it listens.
forwarder()
{
	local name=$1 address=$2
	shift 2
	in_netns client dnsmasq --conf-file=/dev/null --no-resolv --no-hosts --user=root --cache-size=0 \
		--bind-interfaces --listen-address="$address" --server=$RESOLVER \
		--pid-file="$scratch/$name.pid" "$@"
}

# A resolver that gives every answer an address of its own, two forwarders, and the rules that one of them feeds.
start_resolvers()
{
	nsenter --net="/run/netns/$run-server" "$B/tests/tools/fastdns" $RESOLVER $RACE_PORT 101.64.0.1 \
		>"$scratch/fastdns" &
	echo $! >"$scratch/fastdns.pid"
	for _ in $(seq 500); do
		! grep -q listening "$scratch/fastdns" || break
		sleep 0.01
	done
	in_netns client nft -f - <<-'EOF'
		table inet pst {
			set seen { type ipv4_addr; size 65536; flags timeout; timeout 1h; }
			chain out {
				type filter hook output priority 0
			}
			chain refuse {
				ip daddr @seen accept
				meta l4proto tcp reject with tcp reset
				drop
			}
		}
	EOF
	forwarder forward 127.0.0.2
	forwarder nftset 127.0.0.3 --nftset=/race.example/4#inet#pst#seen
	in_netns client ipset create seen hash:ip timeout 3600 maxelem 65536
	forwarder ipset 127.0.0.4 --ipset=/race.example/seen
}

# first MODE RESOLVER CMD...: connections as soon as the answer is there, and how many failed
first()
{
	local mode=$1 resolver=$2
	shift 2
	in_netns client timeout 120 "$@" "$B/tests/tools/race" "$resolver" $RACE_PORT "$FIRSTS" 2>/dev/null | awk -v mode="$mode" '
		$1 == "resolved" { print "first." mode ".all", $2; print "first." mode ".lost", $4 + $6 + $8 + $10 }'
}

# refuse_unlisted -A|-D: by iptables, what dnsmasq has not put into ipset's set
refuse_unlisted()
{
	in_netns client iptables "$1" OUTPUT -d 101.64.0.0/10 -m set ! --match-set seen dst -j REJECT
}

# Every CPU is wanted by somebody else as well.
race()
{
	local cpu
	for cpu in $(seq 0 $(($(nproc) - 1))); do
		taskset -c "$cpu" sh -c 'while :; do :; done' >/dev/null &
		echo $! >"$scratch/hog$cpu.pid"
	done
	for _ in $(seq $RACES); do
		in_netns client nft flush chain inet pst out
		first none $RESOLVER env
		first postern $RESOLVER "$B/postern" run --resolver $RESOLVER --allow '*.race.example:*'
		first snoop $RESOLVER "$B/tests/race/snoop" "$B/tests/race/snoop.bpf.o" $RESOLVER
		refuse_unlisted -A
		first ipset 127.0.0.4 env
		refuse_unlisted -D
		in_netns client nft add rule inet pst out ip daddr 101.64.0.0/10 jump refuse
		first nftset 127.0.0.3 env
		FIRSTS=100 first unfed 127.0.0.2 env # all of them are refused, slowly
	done
}

# The larger a policy, the longer a round and the steadier its figures.
tries()
{
	local count
	for count in $TRIES; do
		"$B/bench/tries" "$B/bench/tries.bpf.o" "$count" $((count < 50000 ? ROUNDS : count < 500000 ? (ROUNDS + 1) / 2 : 3))
	done
}

# The programs move themselves into the namespaces: the mounts, and so the cgroup tree, stay those of the host.
measure()
{
	local nft_root cgroups
	cgroups=$(mount_of cgroup2)
	nft_root=${cgroups#/sys/fs/cgroup}
	"$B/bench/cidrs" $CIDRS "${nft_root#/}${nft_root:+/}$run-rates/nft" >"$scratch/ruleset.nft"
	"$B/bench/cidrs" $MANY >"$scratch/100k.json"
	"$B/bench/cidrs" 10 names >"$scratch/10-names.json"
	"$B/bench/cidrs" $NAMES names >"$scratch/100k-names.json"
	host_load
	echo "egress in a loop, $ROUNDS rounds" >&2
	"$B/bench/hot" "$run-hot" "$run-client" "$B/bench/egress.bpf.o" $CIDRS "$ROUNDS"
	echo "names in a loop, $ROUNDS rounds" >&2
	"$B/bench/names" "$run-names" "$run-client" "$B/bench/names.bpf.o" "$ROUNDS" $FEW $NAMES
	echo "names on real packets, $ROUNDS rounds" >&2
	"$B/bench/replies" "$run-replies" "$run-client" "$run-server" $NAMES "$ROUNDS"
	echo "beside a forwarder, $ROUNDS rounds" >&2
	start_resolvers
	"$B/bench/latency" "$run-latency" "$run-client" $RESOLVER 127.0.0.2 127.0.0.3 "$ROUNDS"
	firsts
	in_netns client nft delete table inet pst
	stop_all
	echo "large policies" >&2
	tries
	echo "hooks, $ROUNDS rounds" >&2
	"$B/bench/hooks" "$run-hooks" "$run-client" "$run-server" $CIDRS "$ROUNDS"
	echo "calls and packets, $ROUNDS rounds" >&2
	"$B/bench/rates" "$run-rates" "$run-client" "$run-server" $CIDRS "$ROUNDS" \
		nft "nft -f $scratch/ruleset.nft" "nft delete table inet pst"
	echo "loading, $ROUNDS rounds" >&2
	"$B/bench/load" "$run-load" "$run-client" 3 "$ROUNDS"
	"$B/bench/load" "$run-load" "$run-client" $MANY "$ROUNDS"
	"$B/bench/spawn" "$ROUNDS" true true \
		::: run "$B/postern" run --allow 93.184.216.0/24 --allow 10.9.0.0/24:5432 \
		--allow-private 10.9.0.0/24 true \
		::: run100k "$B/postern" run --policy "$scratch/100k.json" true \
		::: names10 "$B/postern" run --policy "$scratch/10-names.json" true \
		::: names100k "$B/postern" run --policy "$scratch/100k-names.json" true
	host_load
}

# A busy neighbour on the other half of a core makes everything slower, and what fits into the caches most of all.
host_load()
{
	echo "host.load $(cut -d ' ' -f 1 /proc/loadavg)"
}

# row WHAT SAMPLES BASE difference|ratio|alone GOAL UNIT: "" as GOAL: there is none. The result is the median of the
# rounds' results: a round's samples are neighbours in time, so that a host which changes its pace half way is in both.
row()
{
	awk -v what="$1" -v name="$2" -v base="$3" -v how="$4" -v goal="$5" -v unit="$6" '
	function median(v, n,    i, k, t)
	{
		for (i = 2; i <= n; i++)
			for (k = i; k > 1 && v[k] < v[k - 1]; k--) {
				t = v[k]
				v[k] = v[k - 1]
				v[k - 1] = t
			}
		return n ? (v[int((n + 1) / 2)] + v[int((n + 2) / 2)]) / 2 : "nan"
	}
	$1 == name { a[++n] = $2 * (unit == "MiB" ? 1 / 1024 : 1) }
	$1 == base { b[++m] = $2 }
	END {
		for (i = 1; i <= n; i++)
			r[i] = how == "difference" ? a[i] - b[i] : how == "ratio" ? a[i] / b[i] : a[i]
		result = median(r, n)
		printf "%-52s %10.1f %10s %9.*f %-4s", what, median(a, n), m ? sprintf("%.1f", median(b, m)) : "",
			how == "ratio" ? 3 : 1, result, unit
		if (goal != "")
			printf " %8s  %s", "<= " goal, result <= goal + 0 ? "met" : "missed"
		printf "\n"
	}' "$samples"
}

hot_row()
{
	row "$1" "hot.$2.postern" "hot.$2.empty" difference "$3" ns
}

hook_row()
{
	row "$1" "hook.$2.postern" "hook.$2.empty" difference "$3" ns
}

loop_row()
{
	row "$1" "names.$2.postern" "names.$2.arm" difference "$3" ns
}

loop_rows()
{
	loop_row "$1, $FEW names" "$FEW.$2" "$3"
	loop_row "$1, 100,000 names" "$NAMES.$2" "$3"
}

# packet_rows HOOK WHAT OPERATION GOAL
packet_rows()
{
	row "$2, $FEW names" "$1.$3.few" "$1.$3.empty" difference "$4" ns
	row "$2, 100,000 names" "$1.$3.many" "$1.$3.empty" difference "$4" ns
}

added_row()
{
	row "$1" "in.$2.many" "in.$2.cidr" difference 25 ns
}

call_rows()
{
	row "$1, an address rule" "op.$2.cidr" "op.$2.none" ratio "" x
	row "$1, leases" "op.$2.many" "op.$2.none" ratio "" x
	row "$1, leases over an address rule" "op.$2.many" "op.$2.cidr" ratio "" x
}

whole_rows()
{
	row "$1, empty programs" "op.$2.empty" "op.$2.none" ratio "" x
	row "$1, Postern" "op.$2.many" "op.$2.none" ratio "" x
}

name_rows()
{
	echo "names: a reply at ingress in a loop (BPF_PROG_TEST_RUN), ns over what arms a run"
	loop_rows "  a new address" new_addr 600
	loop_rows "  a new name and its address" new_name 600
	loop_rows "  the same address again" same 350
	loop_rows "  forged: not what was asked" forged ""
	loop_rows "  a question at egress, with the gate" gate ""
	echo "the same on real packets, ns a packet over an empty program"
	packet_rows in "  a new address" new_addr 600
	packet_rows in "  a new name and its address" new_name 600
	packet_rows in "  the same address again" same 350
	packet_rows out "  a question at egress, with the gate" new_name ""
	echo "what names add on ingress to a packet that is no DNS, ns a packet"
	added_row "  UDP without connect()" udp_in
	added_row "  connected UDP" udp_connected_in
	added_row "  TCP" tcp_in
	echo "calls with 100,000 names, ns an operation over no hook at all"
	whole_rows "  question and reply, new name" new_name
	whole_rows "  question and reply, nothing new" same
	call_rows "  UDP connect" connect
	call_rows "  TCP connect/accept/close" cycle
}

latency_row()
{
	row "$1, median" "latency.$2.p50" latency.direct.p50 difference "" us
	row "$1, 99 of 100" "latency.$2.p99" latency.direct.p99 difference "" us
}

first_row()
{
	row "$1" "first.$2.lost" "first.$2.all" alone "$3" ""
}

beside_rows()
{
	echo "beside a forwarder: from the question to the answer, us over the resolver itself"
	latency_row "  Postern" postern
	latency_row "  dnsmasq" forward
	latency_row "  dnsmasq --nftset" nftset
	echo "first connections at once, every CPU busy: how many of $((RACES * FIRSTS)) failed"
	first_row "  nothing" none ""
	first_row "  Postern" postern 0
	first_row "  dnsmasq --nftset" nftset ""
	first_row "  dnsmasq without --nftset, of $((RACES * 100))" unfed ""
	first_row "  learned in user space from a ring buffer" snoop ""
}

# trie_row WHAT FAMILY COUNT WHICH UNIT GOAL
trie_row()
{
	local name=trie.$2.$3.$4
	! grep -q "^$name.lpm " "$samples" || row "  $1, $3 $5" "$name.trie" "$name.lpm" ratio "$6" x
}

# The goals are of 100,000 IPv4 prefixes.
trie_rows()
{
	local family name count is
	echo "large policies: our trie over the kernel's LPM trie"
	for family in v4 v6; do
		name=IPv${family#v}
		for count in $TRIES; do
			is=${family#v}$count
			trie_row "$name, a lookup" $family "$count" lookup ns "$([ "$is" != 4100000 ] || echo 0.15)"
			trie_row "$name, memory" $family "$count" memory "bytes an entry" "$([ "$is" != 4100000 ] || echo 0.3)"
			trie_row "$name, rows to maps" $family "$count" load ms "$([ "$is" != 4100000 ] || echo 0.5)"
		done
	done
	row "1,000,000 IPv4 prefixes, rows to maps" trie.v4.1000000.load.trie "" alone 2000 ms
}

rate_row()
{
	row "$1" "rate.$2.$3" "rate.$2.none" ratio "$4" x
}

rate_rows()
{
	rate_row "$1, empty programs" "$2" empty ""
	rate_row "$1, Postern" "$2" postern "$3"
	rate_row "$1, nftables" "$2" nft ""
	rate_row "$1, nothing once more" "$2" again ""
}

load_rows()
{
	local part
	for part in parse compile places object always fill attach flip connect close; do
		row "  $part" "load.$1.$part" "" alone "" ms
	done
}

hook_rows()
{
	local op hook
	for op in udp_connect udp_sendto tcp_cycle; do
		for hook in egress ingress connect4 sendmsg4 sock_create sock_release; do
			grep -q "^hook.$op.$hook.postern " "$samples" || continue
			row "  $op: $hook" "hook.$op.$hook.postern" "hook.$op.$hook.empty" difference "" ns
			row "  $op: $hook, runs" "runs.$op.$hook.postern" "" alone "" ""
		done
	done
}

report()
{
	local load rounds
	load=$(awk '$1 == "host.load" { printf "%s%s", sep, $2; sep = " to " }' "$samples")
	rounds=$(grep -c '^true.ms ' "$samples")
	echo "Linux $(uname -r), $(nproc) CPUs, load average $load"
	printf '%-52s %10s %10s %9s      %8s\n' "median of $rounds rounds" figure base result goal
	echo "the egress program over an empty one, in a loop (BPF_PROG_TEST_RUN), ns a packet"
	hot_row "  cached TCP flow" tcp_cached 40
	hot_row "  not cached, TCP, $CIDRS prefixes" tcp 220
	hot_row "  not cached, UDP without connect(), $CIDRS prefixes" udp 220
	echo "the same on real packets, between which the caches forget, ns a packet"
	hook_row "  cached flow, connected UDP" udp_send.egress 40
	hook_row "  cached flow, TCP" tcp_stream.egress 40
	hook_row "  not cached, short TCP connections, $CIDRS prefixes" tcp_cycle.egress 220
	hook_row "  not cached, sendto() in turn, $CIDRS prefixes" udp_sendto.egress 220
	hook_row "  not cached, sendto() to one of $CIDRS prefixes" udp_same.egress 220
	name_rows
	beside_rows
	trie_rows
	echo "calls, $CIDRS prefixes, ns an operation over no hook at all"
	rate_rows "  UDP connect" udp_connect 1.10
	rate_rows "  TCP connect/accept/close" tcp_cycle 1.08
	rate_rows "  UDP sendto, all prefixes in turn" udp_sendto ""
	rate_rows "  UDP sendto, one address" udp_same ""
	rate_rows "  UDP send, connected" udp_send ""
	rate_rows "  TCP, one byte a packet" tcp_stream ""
	echo "commands, ms over \`true\` itself"
	row "  postern run true" run.ms true.ms difference 150 ms
	row "  the same with 100,000 entries" run100k.ms true.ms difference "" ms
	row "  postern run true, 10 names" names10.ms true.ms difference 300 ms
	row "  the same with 100,000 names" names100k.ms true.ms difference "" ms
	row "100,000 entries, from the text to the first verdict" load.$MANY.all "" alone 400 ms
	load_rows $MANY
	row "3 prefixes, the same" load.3.all "" alone "" ms
	load_rows 3
	echo "largest resident set, MiB"
	row "  postern run, 3 entries" run.kb "" alone 16 MiB
	row "  postern run, 100,000 entries" run100k.kb "" alone "" MiB
	row "  postern run, 100,000 names" names100k.kb "" alone "" MiB
	echo "one run of each hook over an empty program, ns; runs an operation"
	hook_rows
}

# firsts: a sum of each line
firsts()
{
	race | awk '{ sum[$1] += $2 } END { for (name in sum) print name, sum[name] }'
}

mkdir -p "$B/bench"
if [ "${1-}" != report ]; then
	[ "$(id -u)" -eq 0 ] || { echo "bench: needs root" >&2; exit 1; }
	scratch=$(mktemp -d)
	trap cleanup EXIT
	trap 'exit 130' INT TERM
	if [ "${1-}" = tries ]; then
		samples=$B/bench/tries.txt
		tries >"$samples"
		trie_rows
		exit
	fi
	make_namespaces
	if [ "${1-}" = first ]; then
		start_resolvers
		firsts
		exit
	fi
	measure >"$samples.new"
	mv "$samples.new" "$samples"
fi
report | tee "$results"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that the agreement of frames can fail: plants one mistake at a time in a copy of the programs of devices, and
# expects a difference from the model. One line each, one closing line. Minutes: each mistake is compiled and loaded.
#   tests/agree/frames/mutants.sh [PATTERN]   only the mistakes whose name has it
set -eu
cd "$(dirname "$0")/../../.."
cc=${CC:-gcc}
clang=${CLANG:-$(command -v clang-14 || command -v clang)}
bpftool=${BPFTOOL:-$(command -v bpftool || echo /usr/sbin/bpftool)}
frames=${FRAMES:-150000}
only=${1-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
caught=0 missed=0
flags=(-std=gnu11 -O1 -Iinclude -Iuser -I. -D_GNU_SOURCE=)
multiarch=$("$cc" -print-multiarch 2>/dev/null || true)
bpf_flags=(-g -O2 -target bpf -mcpu=v3 -fno-strict-aliasing -Iinclude
	${multiarch:+-idirafter "/usr/include/$multiarch"})
read -ra libs <<<"$(pkg-config --libs libbpf libidn2 libpsl)"

# What every mutant shares: all but load.c, which has the object in it. The other skeletons are those of this tree.
mkdir "$work/common" "$work/skel"
for name in members lsm; do
	[ -e "bpf/$name.bpf.c" ] || continue
	"$clang" "${bpf_flags[@]}" -Ibpf -c "bpf/$name.bpf.c" -o "$work/skel/$name.bpf.o"
	"$bpftool" gen skeleton "$work/skel/$name.bpf.o" name "${name}_bpf" >"$work/skel/$name.skel.h"
done
for source in user/base/*.c user/policy/*.c user/table/*.c user/dns/*.c user/events/*.c user/kern/*.c \
	tests/agree/generate.c tests/agree/options.c tests/agree/rows.c tests/agree/frames/*.c; do
	[ "$source" = user/kern/load.c ] ||
		"$cc" "${flags[@]}" -I"$work/skel" -c "$source" -o "$work/common/$(tr / _ <<<"$source").o"
done

# build FILE SED-EXPRESSION: 1 when the mistake does not apply, 2 when it does not compile.
build()
{
	dir=$work/mutant
	rm -rf "$dir" && mkdir "$dir" && cp -r bpf "$dir/bpf"
	sed -i -E "$2" "$dir/$1"
	[ -z "$2" ] || ! cmp -s "$1" "$dir/$1" || return 1
	"$clang" "${bpf_flags[@]}" -I"$dir/bpf" -c "$dir/bpf/postern.bpf.c" -o "$dir/postern.bpf.o" 2>"$dir/log" &&
		"$bpftool" gen skeleton "$dir/postern.bpf.o" name postern_bpf >"$dir/postern.skel.h" &&
		"$cc" "${flags[@]}" -I"$dir" -c user/kern/load.c -o "$dir/load.o" &&
		"$cc" "$work"/common/*.o "$dir/load.o" "${libs[@]}" -lelf -lz -o "$dir/frames" || return 2
}

# mutant NAME FILE SED-EXPRESSION
mutant()
{
	local r=0
	case $1 in *"$only"*) ;; *) return 0 ;; esac
	build "$2" "$3" || r=$?
	if [ $r -ne 0 ]; then
		echo "FAIL $1: the mistake does not $([ $r = 1 ] && echo "apply to $2" || echo compile)"
		missed=$((missed + 1))
	elif "$dir/frames" -s 1 -n "$frames" >"$dir/log" 2>&1; then
		echo "FAIL $1: not noticed"
		missed=$((missed + 1))
	elif grep -aq '^difference' "$dir/log"; then
		echo "ok   $1: $(grep -a -m 1 '^difference' "$dir/log" | cut -c1-100)"
		caught=$((caught + 1))
	else
		echo "FAIL $1: $(tail -n 1 "$dir/log")"
		missed=$((missed + 1))
	fi
}

build bpf/device.bpf.h ''
if ! "$dir/frames" -s 1 -n "$frames" >"$dir/log" 2>&1; then
	echo "FAIL without a mistake: $(tail -n 1 "$dir/log")"
	missed=1
fi

device=bpf/device.bpf.h
mutant "the record of another device is taken" $device 's/device->sandbox.ifindex != ifindex/0/'
mutant "the record of another generation is taken" $device 's/!PST_DEVICE_REF_IS\(word, device->sandbox.generation\)/0/'
mutant "802.1ad is no VLAN" $device 's/skb->protocol == bpf_htons\(PST_ETH_QINQ\)/0/'
mutant "hardware addresses are not looked at" $device 's/if \(!pst_frame_is_own\(skb, device\)\)/if (0)/'
mutant "sources are not looked at" $device 's/ \|\| !pst_is_own\(device, p.source\)\)/)/'
mutant "IPv4 in IPv6's notation is its own" $device 's/ \|\| pst_is_mapped_source\(skb, \&p\)//'
mutant "anybody's echo reply leaves" $device 's/if \(!known \&\& pst_is_pong\(p\)\)/if (0)/'
mutant "what is not understood is judged as if it were" $device 's/if \(p.query.broken \|\| pst_is_mapped/if (pst_is_mapped/'
mutant "denials are never silent" $device 's/if \(sandbox->flags \& PST_SANDBOX_SILENT \|\| p->query.broken\)/if (p->query.broken)/'
mutant "the peer gets no RST" $device 's/pst_answer_reset\(skb, sandbox, p, known \& PST_KNOWN\)/pst_answer_reset(skb, sandbox, p, 0)/'
mutant "the peer of every denied segment gets a RST" $device 's/pst_answer_reset\(skb, sandbox, p, known \& PST_KNOWN\)/pst_answer_reset(skb, sandbox, p, 1)/'
mutant "questions off the list get an ICMP" $device 's/if \(d.reason == PST_REASON_NAME_GATE\)/if (0)/'
mutant "questions pass unasked" $device 's/asks = pst_is_question\(p, d\) \&\& sandbox->learn;/asks = 0; if (pst_is_question(p, d)) d.verdict = PST_VERDICT_ALLOW;/'
mutant "UDP passes without state" $device 's/return p->query.protocol != PST_TCP \|\| /return /'
mutant "names pass without state" $device 's/ \|\| d.step == PST_STEP_NAME;/;/'
mutant "kept flows pass without state" $device 's/p->query.protocol != PST_TCP \|\| pst_keep_since\(sandbox\) \|\|/p->query.protocol != PST_TCP ||/'
mutant "a first SYN goes on with what was known" $device 's/if \(!p->query.broken \&\& !pst_is_first_syn\(p\)\)/if (!p->query.broken)/'
mutant "a denied flow is not forgotten" $device 's/if \(known \|\| pst_is_first_syn\(p\)\)/if (0)/'
mutant "a denied first SYN leaves what was there" $device 's/if \(known \|\| pst_is_first_syn\(p\)\)/if (known)/'
mutant "nothing is kept" $device 's/!\(known \& PST_KNOWN_KEPT\) \|\|/1 ||/'
mutant "everything is kept" $device 's/ \|\| !\(known \& PST_KNOWN_KEPT\) \|\|/ || !known ||/'
mutant "audit tells each frame" $device 's/\(d.verdict == PST_VERDICT_WOULD_DENY \&\& tracked != PST_TRACKED_OLD\)/(d.verdict == PST_VERDICT_WOULD_DENY)/'
mutant "audit tells nothing" $device 's/\(d.verdict == PST_VERDICT_WOULD_DENY \&\& tracked != PST_TRACKED_OLD\)/0/'
mutant "a RST without state makes some" $device 's/p->tcp_flags \& \(PST_TCP_FIN \| PST_TCP_RST\)\)/0)/'
mutant "relay: in the middle of a stream it takes over" $device 's/d = pst_answer\(PST_VERDICT_DENY, PST_STEP_RELAY, PST_REASON_NO_ORIGIN, d.rule\);/d.verdict = PST_VERDICT_ALLOW;/'
mutant "relay: what is sent back is judged without it" $device 's/pst_stays\(pst_judge_flow\(sandbox, p, known\), known\)/pst_judge_flow(sandbox, p, known)/'
mutant "relay: it is not asked for" $device 's/\(d.verdict == PST_VERDICT_RELAY \|\| known \& PST_KNOWN_RELAYED\)\)$/0)/'
mutant "relay: a refused SYN leaves what was there" $device 's/if \(known \|\| first\)/if (known)/'
mutant "calls are not asked about" $device 's/if \(!pst_inbound_admits\(sandbox, p->query.addr\)\)/if (0)/'
mutant "an admitted call leaves no state" $device 's/return pst_track\(sandbox, p, pst_pack\(d\), PST_FLOW_IN .*== PST_TRACKED_NOT/return 0/'
mutant "a datagram is never a call" $device 's/return p->query.protocol == PST_UDP \|\| p->icmp_type/return p->icmp_type/'
mutant "a ping is no call" $device 's/ \|\| p->icmp_type == PST_ECHO4 \|\|/ || 0 ||/'
mutant "a peer's SYN takes the sandbox's flow over" $device 's/if \(known \& PST_KNOWN \&\& !\(known \& PST_KNOWN_IN\)\)/if (0)/'
mutant "replies of a denied flow pass" $device '/Under another policy/,/^}/s/if \(pst_passes\(d\)\) \{/if (1) {/'
mutant "replies of a denied flow are dropped, not reset" $device 's/return pst_answer_reset_in\(skb, p, known \& PST_KNOWN_RELAYED\);/return PST_TC_DROP;/'
mutant "what comes without state passes" $device '/Under another policy/,/^}/s/if \(!known\)/if (!known) return PST_TC_NEXT; if (0)/'
mutant "an answer's mark stays" $device 's/^\t\tskb->mark = 0;//'
mutant "a mark opens the way out" $device '/int pst_frame_out/,/^}/s/if \(!device\)/if (skb->mark == PST_ANSWER_MARK) return PST_TC_NEXT; if (!device)/'
mutant "a mark of ours is kept" $device '/int pst_frame_out/,/^}/s/if \(skb->mark == PST_RELAY_MARK \|\| skb->mark == PST_ANSWER_MARK\)/if (skb->mark == PST_ANSWER_MARK)/'
mutant "an odd packet is a way around inbound" $device 's/sandbox->inbound == PST_INBOUND_ALLOW\)/1)/'
mutant "any resolver's datagrams pass" $device 's/pst_is_trusted\(\&device->sandbox, p.source\)/1/'
mutant "nothing is learned" $device 's/if \(device->sandbox.learn\)/if (0)/'
mutant "addresses are not turned" $device 's/^\tword = to\[1\], .*$//'
track=bpf/track.bpf.h
mutant "flows live for ever" $track 's/flow->last_ns \+ pst_track_idle_ns\(flow, (protocol|p->query.protocol)\) < now_ns/0/'
mutant "UDP lives as long as if it was answered" $track 's/return state == PST_TRACK_NEW \? PST_UDP_IDLE_NS : PST_UDP_IDLE_REPLIED_NS;/return PST_UDP_IDLE_REPLIED_NS;/'
mutant "a closing connection lives as an open one" $track 's/PST_TRACK_CLOSED_NS : PST_TRACK_CLOSING_NS/PST_TRACK_CLOSED_NS : PST_TRACK_OPEN_NS/'
mutant "a closed connection lives as a closing one" $track 's/\? PST_TRACK_CLOSED_NS : /? PST_TRACK_CLOSING_NS : /'
mutant "one FIN closes" $track 's/flow->fins == \(PST_TRACK_FIN_OUT \| PST_TRACK_FIN_IN\)/flow->fins/'
mutant "the opener alone opens" $track 's/state == PST_TRACK_NEW \&\& flow->kind != from/state == PST_TRACK_NEW/'
mutant "a denied flow of datagrams is forgotten: late ones count as calls" $track '/int pst_track_deny/,/^}/s/if \(p->query.protocol == PST_TCP\) \{/if (1) {/'
mutant "a denied flow of datagrams is not kept awake" $track '/int pst_track_deny/,/^}/s/flow->last_ns = bpf_ktime_get_coarse_ns\(\);/(void)flow;/'
mutant "hits are of any generation" $track '/int pst_track_hit/,/^}/s/!pst_track_is\(flow, sandbox->generation, at.hash\)/0/'
mutant "hits are of a SYN as well" $track 's/if \(!table \|\| pst_is_first_syn\(p\)\)/if (!table)/'
mutant "hits do not count as life" $track '/int pst_track_hit/,/^}/s/pst_track_touch\(flow, p, from, now_ns\);//'
mutant "full tables are not swept" $track 's/bpf_for_each_map_elem\(table, pst_sweep_tracked, .*;//'
mutant "full tables are swept each time" $track 's/sweep.quota->swept_ns \+ PST_SWEEP_INTERVAL_NS < now_ns/1/'
mutant "sweeps spare nobody" $track 's/if \(flow->last_ns \+ spare_ns >= sweep->quota->swept_ns\)/if (0)/'
mutant "sweeps take names' flows early" $track 's/if \(flow->name \|\| pst_keep_since/if (pst_keep_since/'
mutant "an admitted peer's flow is any peer's" $track 's/p->query.inbound = in \&\& pst_inbound_admits\(sandbox, p->query.addr\);/p->query.inbound = in;/'
mutant "replies to a peer are judged as calls" $track 's/p->query.inbound = in \&\& .*;/p->query.inbound = 0;/'
mutant "the gate's port is kept, and a peer's" $track '/uint pst_track_recall|__u32 pst_track_recall/,/^}/s/if \(pst_track_is_gates\(sandbox, \&p->query\)\)/if (0)/'
mutant "names of flows are forgotten" $track 's/^\t\tflow->name = name;/\t\tflow->name = 0;/'
mutant "a live flow's name counts for nothing" $track 's/p->query.live = ports;/p->query.live = 0;/'
mutant "audit's flows are the policy's" bpf/flow.bpf.h 's/return d.verdict == PST_VERDICT_ALLOW \&\& !gated \? sandbox->generation : 0;/return sandbox->generation;/'
mutant "kept: whatever the generation" bpf/flow.bpf.h '/int pst_is_kept_since/,/^}/s/generation >= pst_keep_since\(sandbox\)/1/'
neighbour=bpf/neighbour.bpf.h
mutant "own: the mask's second half is ignored" $neighbour 's/ \| \(\(a\[1\] \& mask\[1\]\) \^ own\[1\]\)//'
mutant "own: the last range is left out" $neighbour 's/if \(i >= device->n_own\)/if (i + 1 >= device->n_own)/'
mutant "ARP: any sender" $neighbour '/pst_arp_says/,/^}/s/\? !pst_is_own4\(device, arp.sender\)/? 0/'
mutant "ARP: any hardware address" $neighbour '/pst_arp_says/,/^}/s/if \(!pst_is_own_mac\(device, pst_mac_of\(arp.sender_mac\)\)\)/if (0)/'
mutant "ARP: replies without a sender" $neighbour 's/if \(sender \|\| arp.op != bpf_htons\(1\)/if (sender/'
mutant "ARP: RARP too" $neighbour 's/arp.op != bpf_htons\(2\)/arp.op != bpf_htons(3)/'
mutant "ARP: bytes behind it leave" $neighbour 's/if \(skb->len > PST_AT_FRAME \+ PST_ARP_SIZE \&\&/if (0 \&\&/'
mutant "neighbours: no bound" $neighbour 's/return quota \&\& pst_take_token.*$/return quota \&\& (1 ||/; s/(PST_NEIGHBOUR_BURST, PST_NEIGHBOUR_INTERVAL_NS\));/pst_take_token(\&quota->neighbours_next_ns, 0, \1);/'
mutant "ND: any hop limit" $neighbour 's/ip.hops != PST_HOP_LIMIT/0/'
mutant "ND: bytes behind it leave" $neighbour 's/skb->len != PST_AT_FRAME \+ sizeof\(ip\) \+ size/0/'
mutant "ND: any destination" $neighbour 's/if \(nd.code \|\| !pst_is_on_link\(p->query.addr\)\)/if (nd.code)/'
mutant "ND: any target is advertised" $neighbour 's/if \(\(probe \|\| advertises\) \&\& !pst_is_own\(device, target\)\)/if (probe \&\& !pst_is_own(device, target))/'
mutant "ND: options name anybody" $neighbour '/pst_nd_options_are_own/,/^}/s/!pst_is_own_mac\(device, pst_mac_of\(nd->option\[i\].mac\)\)/0/'
mutant "RS: any source" $neighbour '/pst_rs_says/,/^}/s/if \(!pst_is_zero\(p->source\) \&\& !pst_is_own\(device, p->source\)\)/if (0)/'
mutant "DHCP without its option" $neighbour 's/if \(!\(device->sandbox.flags \& PST_SANDBOX_DHCP\) \|\| p->query/if (p->query/'
mutant "DHCP to anybody" $neighbour 's/if \(!\(v4 \&\& pst_word\(to, 3\) == 0xffffffff\) \&\& !pst_is_on_link\(to\)\)/if (0)/'
packet=bpf/packet.bpf.h
mutant "fragments pass" $packet 's/bpf_htons\(takes \& PST_FIRST_FRAGMENTS \? PST_FRAGMENT_OFFSET : PST_FRAGMENT_BITS\)/bpf_htons(PST_FRAGMENT_OFFSET)/'
mutant "options pass" $packet 's/if \(\(ip.version_ihl \& 15\) != 5\)/if (0)/'
mutant "lengths may lie" $packet 's/length > size \|\| length < sizeof\(ip\) \+ sizeof\(struct pst_l4\)/0/'
mutant "routing headers are unknown protocols" $packet 's/^\tcase IPPROTO_ROUTING:$//'
mutant "the ICMP code is not looked at" $packet 's/return l4.source == bpf_htons\(at.echo << 8\)/return (l4.source \& bpf_htons(0xff00)) == bpf_htons(at.echo << 8)/'
decide=bpf/decide.bpf.h
mutant "the host is loopback for devices too" $decide 's/always->kind == PST_ALWAYS_HOST \&\& !sandbox->ifindex/always->kind == PST_ALWAYS_HOST/'
mutant "nobody's listener is the sandbox's own" $decide 's/d.verdict = owned \? PST_VERDICT_ALLOW : PST_VERDICT_DENY;/d.verdict = PST_VERDICT_ALLOW;/'
answer=bpf/answer.bpf.h
mutant "groups are answered" $answer 's/return !\(ethernet->to\[0\] \& 1\) \&\& /return /'
mutant "answers: no bound" $answer '/int pst_may_answer/,/^}/s/^\treturn 0;/\treturn 1;/'
mutant "RST: not behind the segment" $answer 's/ \+ !!\(tcp->flags \& PST_TCP_SYN\) \+$/ +/'

echo "mutants: $caught passed, $missed failed"
[ $missed -eq 0 ]

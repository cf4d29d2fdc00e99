#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that the agreement test can fail: plants one mistake at a time in a copy of the decider, of what it looks up in
# or of the table compiler, builds the legs that see it, and expects a difference. One line each, one closing line.
set -eu
cd "$(dirname "$0")/../.."
cc=${CC:-gcc}
clang=${CLANG:-$(command -v clang-14 || command -v clang)}
bpftool=${BPFTOOL:-$(command -v bpftool || echo /usr/sbin/bpftool)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source tests/agree/beside.sh
flags=(-std=gnu11 -O1 -Iinclude -Iuser -I. -D_GNU_SOURCE=)
multiarch=$("$cc" -print-multiarch 2>/dev/null || true)
bpf_flags=(-g -O2 -target bpf -mcpu=v3 -fno-strict-aliasing -Iinclude
	${multiarch:+-idirafter "/usr/include/$multiarch"})
read -ra libs <<<"$(pkg-config --libs json-c libidn2 libpsl)"

# What every mutant shares. Most leave the kernel leg out: it is the same text.
mkdir "$work/common" "$work/native"
cat >"$work/no_kernel.c" <<'C'
#include <errno.h>
#include "tests/agree/agree.h"
int agree_kernel_new(struct agree_kernel **k) { (void)k; return -ENOTSUP; }
void agree_kernel_free(struct agree_kernel *k) { (void)k; }
int agree_kernel_hide(struct agree_kernel *k, enum agree_map map, bool hidden)
{ (void)k; (void)map; (void)hidden; return -ENOTSUP; }
int agree_kernel(struct agree_kernel *k, const struct agree_tables *t, const struct pst_query *q,
		 struct pst_decision *d) { (void)k; (void)t; (void)q; (void)d; return -ENOTSUP; }
C
for source in user/base/*.c user/policy/*.c user/table/*.c user/events/words.c \
	tests/agree/agree.c tests/agree/closed.c tests/agree/generate.c tests/agree/options.c tests/agree/rows.c; do
	"$cc" "${flags[@]}" -c "$source" -o "$work/common/$(tr / _ <<<"$source").o"
done
"$cc" "${flags[@]}" -c "$work/no_kernel.c" -o "$work/native/no_kernel.o"

# copy NAME FILE SED-EXPRESSION: the mistake, in a copy beside copies of all that includes it, in $dir.
copy()
{
	mkdir "$dir/common"
	cp "$work"/common/*.o "$dir/common"
	cp bpf/agree.bpf.c bpf/maps.bpf.h bpf/trie.bpf.h bpf/lease.bpf.h bpf/decide.bpf.h tests/agree/native.c "$dir"
	cp "$2" "$dir/$(basename "$2")"
	sed -i -E "$3" "$dir/$(basename "$2")"
	if [ -n "$3" ] && cmp -s "$2" "$dir/$(basename "$2")"; then
		echo "FAIL $1: the mistake does not apply to $2"
		return 1
	fi
}

build_native()
{
	local object
	case $1 in
	*.c)
		object=$dir/common/$(tr / _ <<<"$1").o
		"$cc" "${flags[@]}" -c "$dir/$(basename "$1")" -o "$object"
		;;
	esac
	"$cc" "${flags[@]}" -I"$dir" "$dir/native.c" "$dir"/common/*.o "$work/native/no_kernel.o" \
		"${libs[@]}" -o "$dir/agree"
}

build_kernel()
{
	"$clang" "${bpf_flags[@]}" -c "$dir/agree.bpf.c" -o "$dir/agree.bpf.o"
	"$bpftool" gen skeleton "$dir/agree.bpf.o" name agree_bpf >"$dir/agree.skel.h"
	"$cc" "${flags[@]}" -I"$dir" tests/agree/kernel.c "$dir/native.c" "$dir"/common/*.o \
		"${libs[@]}" -lbpf -o "$dir/agree"
}

# expect_difference NAME COMMAND...
expect_difference()
{
	local name=$1
	shift
	if "$@" >"$dir/log" 2>&1; then
		echo "FAIL $name: not noticed"
	elif grep -q -e '^difference' -e ', expected ' "$dir/log"; then
		echo "ok   $name: $(tail -n 1 "$dir/log")"
	else
		echo "FAIL $name: $(tail -n 1 "$dir/log")"
	fi
}

# control NAME COMMAND...: without a mistake there is no difference.
control()
{
	local name=$1
	shift
	"$@" >"$dir/log" 2>&1 && return
	echo "FAIL $name without a mistake: $(tail -n 1 "$dir/log")"
	missed=$((missed + 1))
}

# native_leg NAME FILE SED-EXPRESSION
native_leg()
{
	copy "$@" || return 0
	build_native "$2"
	expect_difference "$1" "$dir/agree" -N -s 1 -n 300000
}

# The same for what only the kernel leg has.
kernel_leg()
{
	copy "$@" || return 0
	build_kernel
	expect_difference "$1" "$dir/agree" -s 1 -n 300000
}

mutant()
{
	beside native_leg "$@"
}

kernel_mutant()
{
	beside kernel_leg "$@"
}

dir=$work/control
mkdir "$dir"
copy control bpf/decide.bpf.h ''
build_native bpf/decide.bpf.h
control native "$dir/agree" -N -s 1 -n 300000
build_kernel
control kernel "$dir/agree" -s 1 -n 300000

decide=bpf/decide.bpf.h
mutant "the daemon's own port is as any other" $decide 's/query->port == sandbox->daemon_port/0/'
mutant "lifts are ignored" $decide 's/\(!\(cidr->flags \& PST_CIDR_LIFTED\) \|\|$/(1 ||/'
mutant "NAT64: IPv4 at the wrong bytes" $decide 's/pst_map4\(out, addr \+ 12\)/pst_map4(out, addr + 11)/'
mutant "NAT64: the well-known prefix is not looked into" $decide 's/0x0064ff9b/0x0064ff9c/'
mutant "deny beats allow between two readings" $decide 's/CIDR_ALLOW \&\& d->step != PST_STEP_CIDR_ALLOW/CIDR_ALLOW \&\& d->step == PST_STEP_NONE/'
mutant "::1 alone is loopback, not ::" $decide 's/pst_word\(addr, 3\) <= 1/pst_word(addr, 3) == 1/'
mutant "0.0.0.0 is not loopback" $decide 's/addr\[12\] == 127 \|\| !pst_word\(addr, 3\)/addr[12] == 127/'
mutant "host addresses are loopback for devices too" $decide 's/always->kind == PST_ALWAYS_HOST \&\& !sandbox->ifindex/always->kind == PST_ALWAYS_HOST/'
mutant "the daemon's port is lifted with its address" $decide 's/always->kind == PST_ALWAYS_HOST \&\& pst_is_daemons\(sandbox, query\)/0/'
mutant "host addresses are not loopback" $decide 's/always->kind == PST_ALWAYS_HOST \&\& !sandbox->ifindex/0/'
mutant "a resolver on loopback is judged as loopback" $decide 's/if \(!resolver \&\& \(/if ((/'
mutant "a resolver is trusted on every port" $decide 's/\(query->port == PST_DNS_PORT \&\& /(/'
mutant "ICMP is DNS" $decide 's/ \&\& query->protocol != PST_ICMP\)/)/'
mutant "the gate lets TCP in" $decide 's/if \(query->protocol == PST_UDP\)/if (query->protocol)/'
mutant "ports: the first of a range is outside" $decide 's/query->port >= r->first/query->port > r->first/'
mutant "ports: the last of a range is outside" $decide 's/query->port <= r->last/query->port < r->last/'
mutant "ports: protocols are ignored" $decide 's/if \(!\(r->protocols \& query->protocol\)\)/if (!r->protocols)/'
mutant "ports: ICMP needs port 0 in the range" $decide 's/if \(query->protocol == PST_ICMP \|\|/if (/'
mutant "audit: always-denied passes" $decide 's/int soft = /int soft = d.reason == PST_REASON_ALWAYS_DENIED || /'
mutant "audit: a deny rule still denies" $decide 's/int soft = d.reason == PST_REASON_DENY_RULE \|\|/int soft =/'
mutant "inbound before broken" $decide 's/if \(query->broken\)/if (query->broken \&\& !query->inbound)/'
mutant "no policy is no obstacle" $decide 's/if \(!sandbox->id \|\| !sandbox->generation\)/if (!sandbox->id)/'
mutant "a missing port set says nothing" $decide '/pst_cidr_says/,/^}/s/return pst_pack\(pst_failed\(\)\);/return 0;/'
mutant "an always-denied row of zeros is open" $decide 's/always->kind != PST_ALWAYS_OPEN \&\&/always->kind != PST_ALWAYS_OPEN \&\& always->kind \&\&/'
mutant "untrusted resolver is not named" $decide 's/pst_is_dns\(query\) \&\& !resolver/0/'
mutant "a resolver behind NAT64 is none" $decide '/^static __always_inline int pst_is_resolver/,/^}/s/return cidr \&\& .*;/return 0;/'
mutant "spoofed is not understood" $decide 's/\? PST_STEP_SPOOFED/? PST_STEP_PARSE/'
mutant "a translated resolver is no resolver" $decide 's/ \|\| query->dns;/;/'
mutant "names: an expired lease counts" $decide 's/^\t\tif \(!expired\)$/\t\tif (1)/'
mutant "names: an expired lease hides a live one" $decide 's/^\t\tif \(!expired\)$/\t\tif (!expired \&\& !n_expired)/'
mutant "names: the last expired lease is named" $decide 's/^\t\tif \(!n_expired\+\+\)$/\t\tif (1)/'
mutant "names: counted from 0" $decide 's/place \+ i \+ 1, query/place + i, query/'
mutant "names: the first of a lease alone" $decide 's/i < PST_LEASE_NAMES; i\+\+/i < 1; i++/'
mutant "names: the last of a lease is ignored" $decide 's/i < PST_LEASE_NAMES; i\+\+/i < PST_LEASE_NAMES - 1; i++/'
mutant "names: a live flow's is ignored" $decide 's/if \(query->live\)/if (0)/'
mutant "names: a live flow's is placed in the lease" $decide 's/query->live, PST_NAME_LIVE, query/query->live, 1, query/'
mutant "names: a translated address has no lease" $decide 's/^\tembedded = pst_judge_lease\(.*\);/\tembedded = 0;/'
mutant "names: the address as sent has no lease" $decide 's/^\tsays = pst_judge_lease\(.*\);/\tsays = 0;/'
mutant "names: a translated address's place is not told" $decide 's/PST_NAME_EMBEDDED, query/0, query/'
mutant "names: a lease that lives, of the address inside, loses to an expired one" $decide 's/return !says .. pst_unpack\(embedded\).verdict == PST_VERDICT_ALLOW/return !says/'
mutant "names: an expired lease of the address inside comes first" $decide 's/return !says \|\| pst_unpack\(embedded\).verdict == PST_VERDICT_ALLOW/return embedded/'
mutant "names: above the always-denied set" $decide 's/\(d.step == PST_STEP_CIDR_DENY \|\|/(d.step == PST_STEP_ALWAYS_DENIED || d.step == PST_STEP_CIDR_DENY ||/'
mutant "names: above loopback" $decide 's/\(d.step == PST_STEP_CIDR_DENY \|\|/(d.step == PST_STEP_LOOPBACK || d.step == PST_STEP_CIDR_DENY ||/'
mutant "names: above the gate" $decide 's/\(d.step == PST_STEP_CIDR_DENY \|\|/(d.step == PST_STEP_RESOLVER || d.step == PST_STEP_CIDR_DENY ||/'
mutant "names: above an address that is allowed" $decide 's/if \(d.verdict == PST_VERDICT_DENY \&\&$/if (1 \&\&/; s/\(d.step == PST_STEP_CIDR_DENY \|\|/(d.step == PST_STEP_CIDR_ALLOW || d.step == PST_STEP_CIDR_DENY ||/'
mutant "names: below a deny rule" $decide 's/\(d.step == PST_STEP_CIDR_DENY \|\| d.step == PST_STEP_DEFAULT\)/d.step == PST_STEP_DEFAULT/'
mutant "names: an expired lease is never the reason" $decide 's/return named.step == PST_STEP_NAME \?/return named.verdict == PST_VERDICT_ALLOW ?/'
mutant "names: looked up though the policy learns none" $decide 's/if \(!sandbox->learn\)/if (0)/'
mutant "names: a missing port set allows" $decide '/pst_name_says/,/^}/s/ports \? pst_port_line\(ports, query\) : 0;/ports ? pst_port_line(ports, query) : 1;/; /pst_name_says/,/^}/s/ports->range\[line\].rule/ports ? ports->range[line].rule : 1/'
mutant "names: the rule is the first of the set" $decide '/pst_name_says/,/^}/s/ports->range\[line\].rule/ports->range[0].rule/'
mutant "audit: an expired lease still denies" $decide 's/d.reason == PST_REASON_LEASE_EXPIRED \|\| d.reason == PST_REASON_QUIC;/d.reason == PST_REASON_QUIC;/'
mutant "audit: QUIC still denies" $decide 's/ \|\| d.reason == PST_REASON_QUIC;/;/'
mutant "audit: without a relay it passes" $decide '/pst_judge_relay/,/^}/s/d.verdict = PST_VERDICT_DENY;/d.verdict = flags \& PST_SANDBOX_AUDIT ? PST_VERDICT_WOULD_DENY : PST_VERDICT_DENY;/'
mutant "relay: a missing one lets pass" $decide 's/if \(d.verdict == PST_VERDICT_RELAY \&\& !sandbox->relay_port\)/if (0)/'
mutant "relay: egressProxy takes UDP along" $decide 's/if \(query->protocol == PST_TCP \&\& d.step >= PST_STEP_CIDR_ALLOW/if (query->protocol != PST_ICMP \&\& d.step >= PST_STEP_CIDR_ALLOW/'
mutant "relay: egressProxy takes loopback along" $decide 's/d.step >= PST_STEP_CIDR_ALLOW \&\&$/d.step >= PST_STEP_LOOPBACK \&\&/'
mutant "relay: egressProxy takes 80 and 443 alone" $decide 's/\(flags \& PST_SANDBOX_PROXIED \|\| /(/'
mutant "relay: rules take every port" $decide 's/\(flags \& PST_SANDBOX_RULES \&\& pst_is_web\(query\)\)/flags \& PST_SANDBOX_RULES/'
mutant "relay: rules take nothing" $decide 's/\(flags \& PST_SANDBOX_RULES \&\& pst_is_web\(query\)\)/0/'
mutant "relay: what audit lets through goes direct" $decide 's/d.verdict != PST_VERDICT_DENY \&\&$/d.verdict == PST_VERDICT_ALLOW \&\&/'
mutant "relay: what is denied goes there" $decide '/pst_judge_relay/,/^}/s/d.verdict != PST_VERDICT_DENY \&\&$/1 \&\&/'
mutant "relay: port 80 is no web port" $decide 's/query->port == PST_HTTP_PORT \|\| //'
mutant "strict: a lease lets out by itself" $decide 's/if \(strict \&\& query->protocol == PST_TCP \&\& pst_is_web\(query\)\)/if (0)/'
mutant "strict: every port goes to the relay" $decide 's/if \(strict \&\& query->protocol == PST_TCP \&\& pst_is_web\(query\)\)/if (strict \&\& query->protocol == PST_TCP)/'
mutant "strict: QUIC passes by a lease" $decide 's/^\tif \(strict\)$/\tif (0)/'
mutant "strict: every datagram is QUIC" $decide 's/query->protocol == PST_UDP \&\& query->port == PST_HTTPS_PORT \&\&/query->protocol == PST_UDP \&\&/'
mutant "strict: the default denies QUIC as anything else" $decide 's/ \|\| d.step == PST_STEP_DEFAULT\)\) \{/)) {/'
mutant "dns: the relay serves nobody" $decide '/pst_is_relays_dns/,/^}/s/return sandbox->flags \& PST_SANDBOX_RELAYED \&\&/return 0 \&\&/'
mutant "dns: names alone are sent to a relay that is not there" $decide 's/query->protocol != PST_UDP \&\& sandbox->relay_port/query->protocol != PST_UDP/'
mutant "dns: names alone have no relay" $decide 's/query->protocol != PST_UDP \&\& sandbox->relay_port/0/'
mutant "dns: names alone go there over UDP" $decide 's/query->protocol != PST_UDP \&\& sandbox->relay_port/sandbox->relay_port/'
mutant "dns: the relay serves devices over UDP" $decide 's/\(query->protocol != PST_UDP \|\| !sandbox->ifindex\)/1/'
mutant "dns: the relay serves TCP alone" $decide 's/\(query->protocol != PST_UDP \|\| !sandbox->ifindex\)/query->protocol != PST_UDP/'
compile=user/table/compile.c
mutant "compile: strict without names" $compile 's/ \&\& policy->default_deny \&\&$/ \&\&/; s/^\t    policy->has_names\)/\t    1)/'
mutant "compile: strict is left out" $compile 's/flags \|= PST_SANDBOX_STRICT;/flags |= 0;/'
mutant "compile: rules are left out" $compile 's/flags \|= PST_SANDBOX_RULES;/flags |= 0;/'
mutant "compile: egressProxy is left out" $compile 's/flags \|= PST_SANDBOX_PROXIED;/flags |= 0;/'
rows=user/table/rows.c
mutant "compile: deny lines before allow lines" $rows 's/(add_lines\(walk, group, parent, PST_VERDICT_)ALLOW/\1SWAP/; s/(add_lines\(walk, group, parent, PST_VERDICT_)DENY/\1ALLOW/; s/(add_lines\(walk, group, parent, PST_VERDICT_)SWAP/\1DENY/'
mutant "compile: nothing is inherited" $rows 's/return parent \? table_ports_add_lines.* : 0;/return 0;/'
mutant "compile: lifts are not inherited" $rows 's/flags \&= PST_CIDR_LIFTED \| PST_CIDR_INBOUND;/flags \&= PST_CIDR_INBOUND;/'
mutant "compile: rows that differ in the rule are dropped" $rows 's/return a->rule == b->rule \&\& /return /'
mutant "compile: siblings inherit" user/table/nest.c 's/outer->bits > inner->bits \|\| //; s/, whole\) != 0\)/, whole ? whole - 1 : 0) != 0)/'
mutant "compile: the last of equal prefixes is named" user/table/nest.c 's/a->rule < b->rule \? -1 : 1/a->rule < b->rule ? 1 : -1/'
mutant "ports: touching ranges count as covered" user/table/ports.c 's/r->first > next \|\| r->last < next/r->first > next + 1 || r->last < next/'
mutant "ports: covered across protocols" user/table/ports.c 's/if \(!\(r->protocols \& protocol\)\)/if (!r->protocols)/'
mutant "always: an exception ends at the next range" user/table/always.c 's/frame->excepted = parent \&\& parent->excepted;/frame->excepted = false;/'
mutant "always: host addresses are only ranges" user/table/always.c 's/frame->kind = PST_ALWAYS_HOST;/frame->kind = PST_ALWAYS_RANGE;/'
mutant "always: IPv6 ranges hold for mapped addresses" user/table/always.c 's/^\twalk->depth = 0;//'
trie=bpf/trie.bpf.h
mutant "trie: a node's path is not compared" $trie 's/if \(\(high >> 32 \^ PST_TRIE_PATH_OF\(node->path\)\) >> \(32 - path\)\)/if (0)/'
mutant "trie: the last bit of a path is not compared" $trie 's/PST_TRIE_PATH_OF\(node->path\)\) >> \(32 - path\)/PST_TRIE_PATH_OF(node->path)) >> (path ? 33 - path : 32)/'
mutant "trie: a leaf's path is not compared" $trie 's/if \(!\(\(high >> 32 \^ leaf->path\) >> \(32 - leaf->path_bits\)\)\)/if (1)/'
mutant "trie: the last bit of a leaf's path is not compared" $trie 's/\(32 - leaf->path_bits\)/(leaf->path_bits ? 33 - leaf->path_bits : 32)/'
mutant "trie: a leaf is left out" $trie 's/if \(is_leaf\)/if (0)/'
mutant "trie: a stride of one bit less" $trie 's/value = high << path >> \(64 - PST_TRIE_STRIDE\);/value = high << path >> (65 - PST_TRIE_STRIDE);/'
mutant "trie: the path is not passed over" $trie 's/path \+= PST_TRIE_STRIDE;/path = PST_TRIE_STRIDE;/'
mutant "trie: the marks of a value exclude its own" $trie 's/marks = node->rows \& upto;/marks = node->rows \& upto >> 1;/'
mutant "trie: children are counted from 1" $trie 's/node->first_child \+ pst_count_bits\(node->children \& upto\) - 1/node->first_child + pst_count_bits(node->children \& upto)/'
mutant "trie: leaves are counted from 1" $trie 's/node->first_leaf \+ pst_count_bits\(node->leaves \& upto\) - 1/node->first_leaf + pst_count_bits(node->leaves \& upto)/'
mutant "trie: rows are counted from 1" $trie 's/first \+ pst_count_bits\(marks\)/first + pst_count_bits(marks) + 1/'
mutant "trie: the low half of an address stays behind" $trie 's/\(high\) = \(high\) << \(bits\) \| \(low\) >> \(64 - \(bits\)\);  /(high) = (high) << (bits);/'
mutant "trie: both families have IPv4's root" $trie 's/family << PST_TRIE_ROOT_BITS \|/family * 0 |/'
mutant "trie: what nobody wrote says nothing" $trie 's/if \(row.says == PST_SAYS_UNKNOWN\)/if (0)/'
mutant "trie: what says nothing denies" $trie 's/cidr->decided = row.says != PST_SAYS_NOTHING;/cidr->decided = 1;/'
mutant "trie: deny is allow" $trie 's/row.says == PST_SAYS_ALLOW \?/row.says >= PST_SAYS_DENY ?/'
mutant "trie: flags are lost" $trie 's/cidr->flags = row.flags;/cidr->flags = 0;/'
mutant "trie: ports are lost" $trie 's/cidr->ports = row.ports;/cidr->ports = 0;/'
build=user/table/trie.c
mutant "trie: a prefix covers half of its slots" $build 's/1u << \(range->at \+ bits - len\); k/(1u << (range->at + bits - len)) \/ 2 + (range->at + bits == len); k/'
mutant "trie: a path goes on where prefixes part" $build 's/return end < alike \? end : alike;/return end;/'
mutant "trie: what is around a child is the node's outer" $build '/^static int build_children/,/^}/s/row_at\(slot, outer\)/outer/'
mutant "trie: rows around a prefix are not restored" $build 's/size_t row = row_at\(\&slots\[i\], outer\);/size_t row = slots[i].row ? slots[i].row - 1 : last;/'
kernel_mutant "trie: looked up in the state's slot" bpf/maps.bpf.h '/\*pst_trie_cidr\(/,/^}/s/sandbox->policy_slot/sandbox->state_slot/'
kernel_mutant "trie: IPv4 at the wrong half" bpf/maps.bpf.h 's/pst_half\(addr, 1\) << 32/pst_half(addr, 0) << 32/'
kernel_mutant "trie: IPv6 without its low half" bpf/maps.bpf.h 's/family \? pst_half\(addr, 1\) : 0/0/'
kernel_mutant "trie: asked though the record does not say so" bpf/maps.bpf.h 's/return !pst_options.no_trie \&\& sandbox->flags \& flag;/return !pst_options.no_trie;/'
names=user/table/names.c
mutant "patterns: nothing is inherited" $names 's/if \(!failed \&\& parent\)/if (0)/'
mutant "patterns: siblings inherit" $names 's/while \(walk->depth \&\& !covers/if (walk->depth \&\& !covers/'
mutant "patterns: a wildcard covers its apex" $names 's/\(d->kind == DOMAIN_ANY \? 0 : n \+ 1\)/(d->kind == DOMAIN_ANY ? 0 : n + (d->kind == DOMAIN_EXACT))/'
mutant "patterns: a name covers what is below it" $names "s/d->kind == DOMAIN_WILDCARD \? '.' : '.0'/'.'/"
mutant "patterns: keys are not reversed" $names 's/d->name\[n - 1 - i\]/d->name[i]/'
mutant "patterns: the last of equal ones is named" $names 's/\(a->rule > b->rule\) - \(a->rule < b->rule\)/(a->rule < b->rule) - (a->rule > b->rule)/'
mutant "ports: names cover ICMP" user/table/ports.c 's/line.protocols \&= PST_TCP \| PST_UDP;/;/'
mutant "ports: names without a port are tcp 80 alone" user/table/ports.c 's/second.first = second.last = 443;/second.first = second.last = 80;/'
lease=bpf/lease.bpf.h
kernel_mutant "lease: nothing expires" $lease 's/expires_ns <= bpf_ktime_get_boot_ns\(\)/0/'
kernel_mutant "lease: everything has expired" $lease 's/expires_ns <= bpf_ktime_get_boot_ns\(\)/1/'
kernel_mutant "lease: what an older policy said still holds" $lease 's/if \(!PST_DERIVED_IS_OF\(derived, sandbox->generation\)\)/if (0)/'
kernel_mutant "lease: written back without its ports" $lease 's/derived = PST_DERIVED\(sandbox->generation, ports\);/derived = PST_DERIVED(sandbox->generation, 0ULL);/'
kernel_mutant "lease: a place that is being written counts" $lease 's/if \(!derived \|\| derived == PST_CLAIMED\)/if (!derived)/'
kernel_mutant "lease: a free place counts" $lease 's/if \(!derived \|\| derived == PST_CLAIMED\)/if (derived == PST_CLAIMED)/'
kernel_mutant "lease: given to another address" $lease 's/pst_same_addr\(lease->addr, addr\)/1/'
kernel_mutant "lease: an id that is another name's" $lease 's/return pst_read_once\(\&learned->name\) == name \? ports : 0;/return ports;/'
kernel_mutant "lease: the first place for all" $lease 's/lease->by\[i \& \(PST_LEASE_NAMES - 1\)\]/lease->by[0]/'
kernel_mutant "lease: the rule's number for its port set" $lease 's/row \? row->ports : 0/row ? row->rule : 0/'
kernel_mutant "lease: looked up in the policy's slot" $lease '/pst_lease_table/,/^}/s/sandbox->names_slot/sandbox->policy_slot/'
kernel_mutant "lease: names looked up in the policy's slot" $lease '/pst_learned_table/,/^}/s/sandbox->names_slot/sandbox->policy_slot/'
kernel_mutant "names: looked up in the state's slot" bpf/maps.bpf.h '/pst_name_find/,/^}/s/sandbox->policy_slot/sandbox->state_slot/'

tell_all
echo "mutants: $caught passed, $missed failed"
[ $missed -eq 0 ]

#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that the agreement test can fail: plants one mistake at a time in a copy of the decider or of the table
# compiler, builds the oracle and native legs from it, and expects a difference. One line each, one closing line.
set -eu
cd "$(dirname "$0")/../.."
cc=${CC:-gcc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
caught=0 missed=0

# What every mutant shares. The kernel leg is left out: it is the same text.
mkdir "$work/common"
cat >"$work/common/no_kernel.c" <<'C'
#include <errno.h>
#include "tests/agree/agree.h"
int agree_kernel_new(struct agree_kernel **k) { (void)k; return -ENOTSUP; }
void agree_kernel_free(struct agree_kernel *k) { (void)k; }
int agree_kernel(struct agree_kernel *k, const struct agree_tables *t, const struct pst_query *q,
		 struct pst_decision *d) { (void)k; (void)t; (void)q; (void)d; return -ENOTSUP; }
C
flags=(-std=gnu11 -O1 -Iinclude -Iuser -I. -D_GNU_SOURCE=)
for source in user/base/*.c user/policy/*.c user/table/*.c user/events/words.c \
	tests/agree/agree.c tests/agree/closed.c tests/agree/generate.c "$work/common/no_kernel.c"; do
	"$cc" "${flags[@]}" -c "$source" -o "$work/common/$(tr / _ <<<"$source").o"
done
libs=$(pkg-config --libs json-c libidn2 libpsl)

# mutant NAME FILE SED-EXPRESSION
mutant()
{
	local dir=$work/mutant object
	rm -rf "$dir" && mkdir -p "$dir/common"
	cp "$work"/common/*.o "$dir/common"
	cp bpf/decide.bpf.h tests/agree/native.c "$dir"
	cp "$2" "$dir/$(basename "$2")"
	sed -i -E "$3" "$dir/$(basename "$2")"
	if cmp -s "$2" "$dir/$(basename "$2")"; then
		echo "FAIL $1: the mistake does not apply to $2"
		missed=$((missed + 1))
		return
	fi
	case $2 in
	*.c)
		object=$dir/common/$(tr / _ <<<"$2").o
		"$cc" "${flags[@]}" -c "$dir/$(basename "$2")" -o "$object"
		;;
	esac
	# shellcheck disable=SC2086 # $libs is a list
	"$cc" "${flags[@]}" -I"$dir" "$dir/native.c" "$dir"/common/*.o $libs -o "$dir/agree"
	if "$dir/agree" -N -s 1 -n 300000 >"$dir/log" 2>&1; then
		echo "FAIL $1: not noticed"
		missed=$((missed + 1))
	elif grep -q -e '^difference' -e 'expected a denial' "$dir/log"; then
		echo "ok   $1: $(tail -n 1 "$dir/log")"
		caught=$((caught + 1))
	else
		echo "FAIL $1: $(tail -n 1 "$dir/log")"
		missed=$((missed + 1))
	fi
}

decide=bpf/decide.bpf.h
mutant "lifts are ignored" $decide 's/ && !\(cidr->flags & PST_CIDR_LIFTED\)//'
mutant "NAT64: IPv4 at the wrong bytes" $decide 's/pst_map4\(out, addr \+ 12\)/pst_map4(out, addr + 11)/'
mutant "NAT64: the well-known prefix is not looked into" $decide 's/0x0064ff9b/0x0064ff9c/'
mutant "deny beats allow between two readings" $decide 's/CIDR_ALLOW \&\& d->step != PST_STEP_CIDR_ALLOW/CIDR_ALLOW \&\& d->step == PST_STEP_NONE/'
mutant "::1 alone is loopback, not ::" $decide 's/pst_word\(addr, 3\) <= 1/pst_word(addr, 3) == 1/'
mutant "0.0.0.0 is not loopback" $decide 's/addr\[12\] == 127 \|\| !pst_word\(addr, 3\)/addr[12] == 127/'
mutant "host addresses are not loopback" $decide 's/always->kind == PST_ALWAYS_HOST \|\| pst_is_loopback/pst_is_loopback/'
mutant "a resolver on loopback is judged as loopback" $decide 's/if \(!resolver \&\& \(/if ((/'
mutant "a resolver is trusted on every port" $decide 's/return query->port == PST_DNS_PORT \&\& /return /'
mutant "ICMP is DNS" $decide 's/ \&\& query->protocol != PST_ICMP;/;/'
mutant "the gate lets TCP in" $decide 's/if \(query->protocol == PST_UDP\)/if (query->protocol)/'
mutant "ports: the first of a range is outside" $decide 's/query->port >= r->first/query->port > r->first/'
mutant "ports: the last of a range is outside" $decide 's/query->port <= r->last/query->port < r->last/'
mutant "ports: protocols are ignored" $decide 's/if \(!\(r->protocols \& query->protocol\)\)/if (!r->protocols)/'
mutant "ports: ICMP needs port 0 in the range" $decide 's/if \(query->protocol == PST_ICMP \|\|/if (/'
mutant "audit: always-denied passes" $decide 's/int soft = /int soft = d.reason == PST_REASON_ALWAYS_DENIED || /'
mutant "audit: a deny rule still denies" $decide 's/int soft = d.reason == PST_REASON_DENY_RULE \|\|/int soft =/'
mutant "inbound before broken" $decide 's/if \(query->broken\)/if (query->broken \&\& !query->inbound)/'
mutant "no policy is no obstacle" $decide 's/if \(!sandbox->id \|\| !sandbox->generation\)/if (!sandbox->id)/'
mutant "a missing port set says nothing" $decide '/pst_cidr_says/,/^}/s/return pst_failed\(\);/return nothing;/'
mutant "an always-denied row of zeros is open" $decide 's/always->kind != PST_ALWAYS_OPEN \&\&/always->kind != PST_ALWAYS_OPEN \&\& always->kind \&\&/'
mutant "untrusted resolver is not named" $decide 's/!\(cidr->flags \& PST_CIDR_RESOLVER\)\)$/0)/'
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

echo "mutants: $caught passed, $missed failed"
[ $missed -eq 0 ]

#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that the DNS agreement test can fail: plants one mistake at a time in a copy of bpf/, compiles the native leg
# from it, or the kernel leg where there is no other, and expects a difference. One line each, one closing line.
set -eu
cd "$(dirname "$0")/../../.."
cc=${CC:-gcc}
clang=$(command -v clang-14 clang | head -n 1)
bpftool=$(command -v bpftool /usr/sbin/bpftool | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source tests/agree/beside.sh

# What every mutant shares.
mkdir "$work/common" "$work/stub"
cat >"$work/stub/no_kernel.c" <<'C'
#include <errno.h>
#include "tests/agree/dns/dns.h"
int dns_kernel_new(const struct dns_rules *r, size_t n, const struct dns_always *a,
		   struct dns_kernel **k) { (void)r; (void)n; (void)a; (void)k; return -ENOTSUP; }
bool dns_kernel_left(struct dns_kernel *k, size_t p, const struct dns_leases *l, bool *m)
{ (void)k; (void)p; (void)l; (void)m; return false; }
void dns_kernel_free(struct dns_kernel *k) { (void)k; }
int dns_kernel_question(struct dns_kernel *k, size_t r, const struct dns_wire *w, int lie,
			struct dns_leg_question *a) { (void)k; (void)r; (void)w; (void)lie; (void)a; return -ENOTSUP; }
struct agree_dns_reply *dns_kernel_batch(struct dns_kernel *k) { (void)k; return NULL; }
int dns_kernel_replies(struct dns_kernel *k) { (void)k; return -ENOTSUP; }
C
flags=(-std=gnu11 -O1 -Iinclude -Iuser -I. -D_GNU_SOURCE=)
for source in user/base/*.c user/policy/*.c user/table/*.c user/dns/*.c tests/lib/dns_wire.c \
	tests/agree/options.c tests/agree/dns/{agree,leases,names,questions,replies}.c; do
	"$cc" "${flags[@]}" -c "$source" -o "$work/common/$(tr / _ <<<"$source").o"
done
"$cc" "${flags[@]}" -c "$work/stub/no_kernel.c" -o "$work/stub/no_kernel.o"
"$cc" "${flags[@]}" -w -Ibpf -c tests/agree/dns/native.c -o "$work/stub/native.o"
read -ra libs < <(pkg-config --libs libidn2 libpsl)
read -ra kernel_libs < <(pkg-config --libs libbpf)

# plant NAME FILE SED-EXPRESSION: the copy is in $dir
plant()
{
	cp bpf/*.h "$dir"
	sed -i -E "$3" "$dir/$2"
	if cmp -s "bpf/$2" "$dir/$2"; then
		echo "FAIL $1: the mistake does not apply to $2"
		return 1
	fi
}

# judge NAME ARGUMENT...: $dir/agree finds a difference
judge()
{
	local name=$1
	shift
	if timeout 120 "$dir/agree" -s 1 "$@" >"$dir/log" 2>&1; then
		echo "FAIL $name: not noticed"
	elif grep -q '^difference' "$dir/log"; then
		echo "ok   $name: $(tail -n 1 "$dir/log")"
	else
		echo "FAIL $name: $(tail -n 1 "$dir/log")"
	fi
}

# native_leg NAME SED-EXPRESSION: of dns.bpf.h, natively
native_leg()
{
	plant "$1" dns.bpf.h "$2" || return 0
	"$cc" "${flags[@]}" -w -I"$dir" tests/agree/dns/native.c "$work"/common/*.o "$work/stub/no_kernel.o" \
		"${libs[@]}" -o "$dir/agree"
	judge "$1" -N -n 50000
}

# kernel_leg NAME FILE SED-EXPRESSION
kernel_leg()
{
	plant "$1" "$2" "$3" || return 0
	"$clang" -g -O2 -target bpf -mcpu=v3 -fno-strict-aliasing -Iinclude -I"$dir" \
		-idirafter "/usr/include/$("$cc" -print-multiarch)" -c tests/bpf/agree_dns.bpf.c -o "$dir/agree_dns.bpf.o"
	"$bpftool" gen skeleton "$dir/agree_dns.bpf.o" name agree_dns_bpf >"$dir/agree_dns.skel.h"
	"$cc" "${flags[@]}" -I"$dir" tests/agree/dns/kernel.c "$work"/common/*.o "$work/stub/native.o" \
		"${libs[@]}" "${kernel_libs[@]}" -o "$dir/agree"
	judge "$1" -n 20000
}

mutant()
{
	beside native_leg "$@"
}

kernel_mutant()
{
	beside kernel_leg "$@"
}

mutant "question: TC is let through" 's/ \| PST_DNS_TC \|/ |/'
mutant "question: Z is let through" 's/ \| PST_DNS_Z \|/ |/'
mutant "question: authority records are let through" 's/ \&\& !h->authorities//'
mutant "question: two additional records" 's/(h->additional\)) <= 1/\1 <= 2/'
mutant "question: labels of 64 bytes" 's/(#define PST_LABEL_MAX\s+)63/\164/'
mutant "question: any character" 's/good \&= pst_is_name_char\(c\);//'
mutant "question: dots inside of labels" 's/0x03ff2000/0x03ff6000/'
mutant "question: any class" 's/end\[2\] \|\| end\[3\] != PST_DNS_IN \|\| //'
mutant "question: the class of one byte" 's/end\[2\] \|\| end\[3\]/end[3]/'
mutant "question: IXFR passes" 's/ \&\& type != PST_DNS_IXFR//'
mutant "question: something behind it" 's/return !tail;/return 1;/'
mutant "question: something behind the OPT record" 's/== size - 11;/<= size - 11;/'
mutant "question: an OPT record with an owner" 's/!edns.root \&\& //'
mutant "question: the name's case is kept" 's/c = pst_lower\((q->wire\[from.*\])\);/c = \1;/'
mutant "question: ids without dots" "s/hash = pst_hash_char\(hash, '\.'\);//"
mutant "reply: questions are not counted" 's/ \|\| pst_m16\(r, 4\) != 1//'
mutant "reply: an error before a truncation" 's/if \(flags \& PST_DNS_TC\)/if (flags \& PST_DNS_TC \&\& !(flags \& PST_DNS_RCODE))/'
mutant "reply: a bad one is learned from" '/ pst_reply_read\(/,/^}/s/if \(r->bad\)/if (0)/'
mutant "record: labels with top bits 01 and 10" 's/if \(r->b \|\| length \& PST_POINTER\)/if (r->b)/'
mutant "record: its data may be cut" 's/if \(data \+ size > r->size\)/if (data > r->size)/'
mutant "record: any class" 's/pst_m16\(r, fields \+ 2\) == PST_DNS_IN/1/'
mutant "CNAME: data behind the name" 's/pst_reply_skip\(r, walk, data\) != end/!pst_reply_skip(r, walk, data)/'
mutant "CNAME: seven at the most" 's/n >= PST_DNS_MAX_CNAMES \|\| owner/n >= PST_DNS_MAX_CNAMES - 1 || owner/'
mutant "address: of any size" 's/size != \(type == PST_DNS_A \? 4 : 16\)/size < (type == PST_DNS_A ? 4 : 16)/'
mutant "address: the 65th spoils the reply" '/ pst_reply_address\(/,/^}/{/n >= PST_DNS_MAX_ADDRESSES/{n;s/1/0/}}'
mutant "address: of any owner" 's/if \(!pst_reply_is_target\(r, walk, r->address_owner\[i\]\)\)/if (0)/'
mutant "chain: an alias is used twice" 's/r->used \|= 1U << n;//'
mutant "chain: only in order" '/ pst_reply_link\(/,/^}/s/r->cname = 0;//'
mutant "chain: one link" '/ pst_reply_link\(/,/^}/s/return 0;$/return r->used != 0;/'
mutant "TTL: not of the chain" 's/if \(r->cname_ttl\[n\] < r->ttl\)/if (0)/'
mutant "TTL: the top bit is time" 's/return ttl >> 31 \? 0 : ttl;/return ttl;/'
mutant "TTL: no minimum" 's/ttl = ttl < r->min_s \? r->min_s : ttl;//'
mutant "names: with their case" 's/pst_lower\(\(__u8\)(pst_m8\(r, [ab] \+ 1 \+ j\))\)/\1/g'
mutant "names: pointers forwards, on one side" 's/\|\| to >= a\)/)/'
mutant "names: pointers forwards, on the other side" 's/\|\| to >= b\)/)/'
mutant "names: labels behind the end" 's/if \(a \+ 1 \+ x > r->size \|\| b \+ 1 \+ x > r->size\)/if (0)/'
mutant "names: steps are not counted" 's/if \(!r->steps \|\| a >=/if (a >=/'
mutant "names: an owner's pointer is a step" 's/return \(word \& 0x3fff\) < at \? word \& 0x3fff : ~0U;/return (word \& 0x3fff) < at ? at : ~0U;/'

kernel_mutant "packet: something behind the message" question.bpf.h 's/ \|\| end != skb->len//'
kernel_mutant "gate: the rule is not told" question.bpf.h 's/\*rule = name->rule;/*rule = 1;/'
kernel_mutant "reply: the end of the question is not compared" learn.bpf.h 's/return !\(\(x \^ y\) <<.*;/return 1;/'
kernel_mutant "lease: of any name" learn.bpf.h 's/if \(!ports \&\& sandbox->learn != PST_LEARN_ALL\)/if (0)/'
kernel_mutant "lease: always denied, but not here" learn.bpf.h 's/return cidr \&\& cidr->flags \& PST_CIDR_LIFTED;/return 1;/'
kernel_mutant "lease: nothing is lifted" learn.bpf.h 's/return cidr \&\& cidr->flags \& PST_CIDR_LIFTED;/return 0;/'
kernel_mutant "lease: a translated address is not looked into" learn.bpf.h 's/\(pst_embedded\(r->lease.addr, embedded\) \&\&/(0 \&\&/'
kernel_mutant "lease: the first time of an address is kept" learn.bpf.h '/ pst_lease_renew\(/,/^}/s/if \(by->expires_ns < expires_ns\)/if (0)/'

tell_all
echo "mutants of DNS: $caught passed, $missed failed"
[ $missed -eq 0 ]

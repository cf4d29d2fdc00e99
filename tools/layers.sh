#!/bin/bash
# SPDX-License-Identifier: MIT
# Holds the tree to its layers (docs/DESIGN.md): who may include whom, and which libraries and calls
# live in one place only. Reads the #include lines and the code with comments taken out.
#   tools/layers.sh [TREE]       one line for each violation: FILE:LINE: RULE: what
#   tools/layers.sh --self-test  plants one violation of each rule in a copy and expects it to be named
set -eu
cd "$(dirname "$0")/.."

check()
{
	local tree=$1 files
	files=$(cd "$tree" && find include bpf user -name '*.[ch]' 2>/dev/null | sort)
	[ -n "$files" ] || return 0
	# shellcheck disable=SC2086 # no name in the tree has a space
	(cd "$tree" && awk "$rules" $files)
}

# shellcheck disable=SC2016 # an awk program
rules='
BEGIN {
	may["base"] = "base"
	may["policy"] = "base policy"
	may["table"] = "base policy table"
	may["dns"] = "base policy dns"
	may["events"] = "base events"
	may["kern"] = "base policy table kern"
	may["api"] = "base api"
	may["relay"] = "base dns relay"
	may["supervise"] = "base policy table kern supervise"
	may["daemon"] = "base policy table dns kern events api net supervise daemon"
	may["net"] = "base net"
	may["cli"] = "base policy table events kern api net supervise cli"
	pure = " policy table dns events "
}
FNR == 1 {
	commented = 0
	split(FILENAME, part, "/")
	top = part[1]
	room = top == "user" ? part[2] : ""
	if (top == "user" && !(room in may))
		bad("direction", "the room " room " is not known to this check")
}
{
	line = strip($0)
	if (line ~ /^[ \t]*#[ \t]*include/)
		check_include(line)
	else
		check_code(line)
}
END { exit violations > 0 }

function bad(rule, what)
{
	printf "%s:%d: %s: %s\n", FILENAME, FNR, rule, what
	violations++
}

# The line without comments; `commented` carries an open one over to the next line.
function strip(text,    out, at)
{
	out = ""
	while (length(text)) {
		if (commented) {
			at = index(text, "*/")
			if (!at)
				return out
			text = substr(text, at + 2)
			commented = 0
			continue
		}
		at = index(text, "/*")
		if (!at)
			return out text
		out = out substr(text, 1, at - 1) " "
		text = substr(text, at + 2)
		commented = 1
	}
	return out
}

function check_include(text,    name, quoted)
{
	quoted = text ~ /"/
	name = text
	sub(/^[^<"]*[<"]/, "", name)
	sub(/[>"].*$/, "", name)
	if (top == "include")
		include_in_treaty(name)
	else if (top == "bpf")
		include_in_bpf(name, quoted)
	else
		include_in_room(name, quoted)
}

function include_in_treaty(name)
{
	if (name !~ /^(pst_[a-z]+\.h|linux\/[a-z_]+\.h|stdint\.h|stddef\.h)$/)
		bad("treaty", "include/ stands alone, yet includes " name)
}

function include_in_bpf(name, quoted)
{
	if (quoted && name !~ /^(pst_[a-z]+\.h|[a-z0-9_]+\.bpf\.h)$/)
		bad("bpf", name " is not of include/ or bpf/")
	if (!quoted && name !~ /^(linux\/[a-z0-9_]+\.h|bpf\/bpf_[a-z_]+\.h)$/)
		bad("bpf", name " is neither a kernel UAPI header nor one of the helpers of libbpf")
}

function include_in_room(name, quoted,    of)
{
	if (name ~ /json-c|^json\.h/)
		bad("json-c", "base/json.h reads JSON, strictly")
	if ((name ~ /^bpf\// || name ~ /\.skel\.h$/) && room != "kern")
		bad("libbpf", name " belongs to user/kern alone")
	if (name ~ /^microhttpd/ && room != "api")
		bad("http", name " belongs to the server, user/api")
	if (name ~ /^openssl\// && room != "api" && room != "daemon" && room != "relay")
		bad("crypto", name " belongs to user/api, user/daemon and user/relay: the command line is not linked to it")
	if (name ~ /^(event2|nghttp2)\// && room != "relay")
		bad("relay", name " belongs to user/relay, which has no privilege to lose")
	if (pure ~ " " room " " && name ~ /^base\/(log|io|loop)\.h$/)
		bad("pure", "the room " room " neither logs nor does I/O, yet includes " name)
	if (!quoted || name ~ /^pst_[a-z]+\.h$|\.skel\.h$/)
		return
	of = name
	sub(/\/.*/, "", of)
	if (name !~ /^[a-z]+\/[a-z0-9_]+\.h$/)
		bad("qualified", name " does not name its room")
	else if (index(" " may[room] " ", " " of " ") == 0)
		bad("direction", room " may not include " name)
}

function check_code(text)
{
	if (top != "user")
		return
	gsub(/\\"/, "", text)
	gsub(/"[^"]*"/, "\"\"", text)
	if (FILENAME != "user/base/loop.c" &&
	    text ~ /(^|[^a-zA-Z0-9_>.])(clock_gettime|clock_gettime64|gettimeofday|timespec_get|time)[ \t]*\(/)
		bad("clock", "only user/base/loop.c reads the clock")
	if (pure ~ " " room " " &&
	    text ~ /(^|[^a-zA-Z0-9_>.])(f?printf|puts|fputs|fopen|open|read|write|perror|socket|syslog)[ \t]*\(/)
		bad("pure", "the room " room " neither logs nor does I/O")
}
'

# plant RULE FILE TEXT: appends TEXT to FILE in a fresh copy; the check must fail and name both.
plant()
{
	local rule=$1 file=$2 text=$3 found
	rm -rf "$copy"
	mkdir -p "$copy/user/base" "$(dirname "$copy/$file")"
	cp -r include bpf user "$copy/"
	printf '%s\n' "$text" >>"$copy/$file"
	planted=$((planted + 1))
	if found=$(check "$copy"); then
		echo "layers: self-test: '$text' in $file passed unnoticed" >&2
	elif ! grep -q "^$file:[0-9]*: $rule: " <<<"$found"; then
		echo "layers: self-test: '$text' in $file is not named as '$rule': $found" >&2
	else
		return 0
	fi
	missed=$((missed + 1))
}

# innocent FILE TEXT: looks like a violation and is none.
innocent()
{
	rm -rf "$copy"
	mkdir -p "$copy/user/base" "$(dirname "$copy/$1")"
	cp -r include bpf user "$copy/"
	printf '%s\n' "$2" >>"$copy/$1"
	planted=$((planted + 1))
	check "$copy" >&2 && return 0
	echo "layers: self-test: '$2' in $1 was called a violation" >&2
	missed=$((missed + 1))
}

self_test()
{
	local scratch copy planted=0 missed=0
	scratch=$(mktemp -d)
	copy=$scratch/tree
	# shellcheck disable=SC2064 # the path of now
	trap "rm -rf '$scratch'" EXIT
	plant direction user/base/planted.c '#include "policy/policy.h"'
	plant direction user/policy/planted.c '#include "table/table.h"'
	plant direction user/table/planted.c '#include "kern/sandbox.h"'
	plant direction user/events/planted.c '#include "policy/policy.h"'
	plant direction user/kern/planted.h '#include "cli/command.h"'
	plant direction user/kern/planted.c '#include "events/record.h"'
	plant direction user/cli/planted.c '#include "daemon/registry.h"'
	plant direction user/attic/planted.c 'int planted;'
	plant qualified user/kern/planted.c '#include "sandbox.h"'
	plant qualified user/kern/planted.c '#include "../cli/command.h"'
	plant qualified user/table/planted.c '#include "decide.bpf.h"'
	plant json-c user/cli/planted.c '#include <json-c/json.h>'
	plant json-c user/policy/planted.c '#include <json.h>'
	plant direction user/api/planted.c '#include "policy/policy.h"'
	plant direction user/api/planted.c '#include "daemon/registry.h"'
	plant direction user/daemon/planted.c '#include "cli/command.h"'
	plant direction user/daemon/planted.c '#include "relay/session.h"'
	plant relay user/daemon/planted.c '#include <event2/event.h>'
	plant relay user/api/planted.c '#include <nghttp2/nghttp2.h>'
	plant direction user/relay/planted.c '#include "kern/relay.h"'
	plant direction user/supervise/planted.c '#include "daemon/daemon.h"'
	plant http user/daemon/planted.c '#include <microhttpd.h>'
	plant crypto user/cli/planted.c '#include <openssl/sha.h>'
	plant libbpf user/cli/planted.c '#include <bpf/libbpf.h>'
	plant libbpf user/table/planted.c '#include <postern.skel.h>'
	plant libbpf user/cli/planted.c '#include "postern.skel.h"'
	plant clock user/kern/planted.c 'static void planted(struct timespec *t) { clock_gettime(0, t); }'
	plant clock user/cli/planted.c 'static long planted(void) { return time(NULL); }'
	plant clock user/base/planted.c 'static int planted(void *t) { return gettimeofday(t, 0); }'
	plant pure user/policy/planted.c '#include "base/log.h"'
	plant pure user/table/planted.c 'static void planted(void) { printf("x"); }'
	plant bpf bpf/planted.bpf.h '#include "base/addr.h"'
	plant bpf bpf/planted.bpf.h '#include <stdlib.h>'
	plant bpf bpf/planted.bpf.h '#include <bpf/libbpf.h>'
	plant treaty include/planted.h '#include "base/addr.h"'
	plant treaty include/planted.h '#include <stdio.h>'
	innocent user/cli/planted.c '/* #include <bpf/libbpf.h> would be wrong, and so would time(NULL) */'
	innocent user/cli/planted.c 'static const char *planted = "time(s)"; /* the clock */'
	innocent user/cli/planted.c 'static long planted(struct x *x) { return up_time(x) + x->time(1); }'
	innocent user/events/planted.c 'static int planted(char *b) { return snprintf(b, 1, "x"); }'
	echo "layers: self-test: $planted planted, $missed missed"
	[ "$missed" -eq 0 ]
}

if [ "${1-}" = --self-test ]; then
	check . >/dev/null || echo "layers: self-test: the tree itself is not clean" >&2
	self_test
	exit
fi
if ! check "${1-.}"; then
	echo "layers: FAILED"
	exit 1
fi
echo "layers: $(cd "${1-.}" && find include bpf user -name '*.[ch]' | wc -l) files, no violation"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Every static check but the layers. Prints what is wrong, then one closing line.
#   tools/lint.sh              the whole tree
#   tools/lint.sh FILE...      only these files
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
jobs=$(nproc)
include=(-std=gnu11 -D_GNU_SOURCE= -Iinclude -Iuser -Ibpf -I. -isystem "$B")
bpf_include=(-g -O2 -target bpf -Iinclude -Ibpf -idirafter "/usr/include/$(gcc -print-multiarch)")
problems=0
checks=0
log=$(mktemp)
trap 'rm -f "$log" "$log.format"' EXIT

all_files()
{
	find include bpf user tests tools dist docs .ci Makefile README.md .clang-tidy -type f \
		-not -path '*/corpus/*' -not -name '*.pyc' 2>/dev/null | sort
}

mapfile -t files < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else all_files; fi)

# select REGEX: the files that match
select_files()
{
	printf '%s\n' "${files[@]}" | grep -E "$1"
}

mapfile -t c_files < <(select_files '\.[ch]$')
mapfile -t user_c < <(select_files '^(user|tests)/.*\.c$' | grep -v '\.bpf\.c$')
mapfile -t bpf_c < <(select_files '\.bpf\.c$')
mapfile -t pure_c < <(select_files '^user/(base|policy|table|dns|events)/.*\.c$')
mapfile -t python < <(select_files '\.py$')
mapfile -t scripts < <(printf '%s\n' "${files[@]}" | while read -r file; do
	case $file in
	*.sh | *.bash) echo "$file" ;;
	*) head -c 20 "$file" 2>/dev/null | grep -q '^#!.*sh' && echo "$file" ;;
	esac
done)

# check NAME COMMAND...: counts it as one problem when the command fails, and shows what it said
check()
{
	local name=$1 start
	start=$(date +%s%N)
	checks=$((checks + 1))
	shift
	if ! "$@" >"$log" 2>&1; then
		problems=$((problems + 1))
		sed "s|$PWD/||" "$log"
		echo "lint: $name: FAILED"
	fi
	[ -z "${V-}" ] || echo "lint: $name: $((($(date +%s%N) - start) / 1000000)) ms"
}

each()
{
	local count=$1
	shift
	[ "$#" -gt 0 ] && printf '%s\n' "${list[@]}" | grep . | xargs -r -P "$jobs" -n "$count" "$@"
}

# One line a file (`clang-format-14 -i FILE` mends it); V=1 shows each place.
formatted()
{
	local list=("${c_files[@]}") rc=0
	each 20 clang-format-14 --dry-run -Werror >"$log.format" 2>&1 || rc=1
	[ -z "${V-}" ] || cat "$log.format"
	sed -n 's/^\([^: ]*\):[0-9]*:[0-9]*: error: code should be clang-formatted.*/\1/p' "$log.format" |
		sort | uniq -c | awk '{ print $2 ": " $1 " places are not clang-formatted" }'
	return $rc
}

# The path to a finding is long: V=1 shows it.
tidy_one()
{
	# A tenth of the analyzer's usual budget for a function: it finds nearly the same in a fifth of the time.
	local more=(-Xclang -analyzer-config -Xclang max-nodes=22500)
	case $* in
	*target\ bpf* | *user/base/error.c\ *) ;;
	*) more+=(-include tools/lint-model.h) ;;
	esac
	clang-tidy-14 --quiet "$@" "${more[@]}" 2>&1 | grep -E "${V:+.|} (error|warning): "
	return "${PIPESTATUS[0]}"
}
export -f tidy_one

# Tests without the path-sensitive checks: they do not know that a failed assertion does not return.
tidy()
{
	local list
	mapfile -t list < <(printf '%s\n' "${user_c[@]}" | grep '^user/')
	# shellcheck disable=SC2016 # for the inner shell
	each 1 bash -c 'tidy_one "${@: -1}" -- "${@:1:$#-1}"' tidy "${include[@]}"
}

tidy_tests()
{
	local list
	mapfile -t list < <(printf '%s\n' "${user_c[@]}" | grep '^tests/')
	# shellcheck disable=SC2016 # for the inner shell
	each 1 bash -c 'tidy_one --checks=-clang-analyzer-\* "${@: -1}" -- "${@:1:$#-1}"' tidy "${include[@]}"
}

# Without the path-sensitive checks: they know neither the helpers nor the verifier, which proves more.
tidy_bpf()
{
	local list=("${bpf_c[@]}")
	# shellcheck disable=SC2016 # for the inner shell
	each 1 bash -c 'tidy_one --checks=-clang-analyzer-\* "${@: -1}" -- "${@:1:$#-1}"' tidy "${bpf_include[@]}"
}

analyzed()
{
	local list=("${pure_c[@]}")
	# The path to a finding is long here too. Leaks are for the leak sanitizer: this analyzer loses sight of
	# what is stored through a void pointer.
	each 1 gcc -fanalyzer -Wno-analyzer-malloc-leak -O1 -Werror "${include[@]}" \
		"-fdiagnostics-path-format=$([ -n "${V-}" ] && echo inline-events || echo none)" -o /dev/null -c
}

# memleak: knows nothing of __attribute__((cleanup)); the leak sanitizer runs over the same code.
# uninitvar: takes `chain[depth]` after `while (depth-- > 0)` for unset; both compilers and clang-tidy look too.
# unknownMacro, normalCheckLevelMaxBranches: about cppcheck itself, not about the code.
cppchecked()
{
	[ ${#user_c[@]} -eq 0 ] && return
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -j "$jobs" \
		--enable=warning,performance,portability --suppress=missingIncludeSystem --suppress=memleak \
		--suppress=normalCheckLevelMaxBranches --suppress=unknownMacro --suppress=uninitvar \
		-D_GNU_SOURCE= -Iinclude -Iuser "${user_c[@]}"
}

shellchecked()
{
	[ ${#scripts[@]} -eq 0 ] || shellcheck -s bash "${scripts[@]}"
}

python_compiles()
{
	[ ${#python[@]} -eq 0 ] || /usr/bin/python3 -W error - "${python[@]}" <<'PYTHON'
import sys
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as source:
        compile(source.read(), path, "exec")
PYTHON
}

# Shape: width (100 is clang-format's; comments may go to 120, a line with a string as far as it must), length of files, lines and functions, comment style, words that do not belong in a finished tree.
# clang-tidy measures functions and nesting too, but not what only a BPF build or a test sees.
# shellcheck disable=SC2016 # an awk program
shape='
FNR == 1 { in_function = commented = 0; lines[FILENAME] = 0 }
{
	lines[FILENAME] = FNR
	wide = $0
	gsub(/\t/, "        ", wide)
	if (length(wide) > 120 && wide !~ /"/)
		bad("longer than 120 columns")
	code = strip($0)
	if (code ~ /\/\//)
		bad("a // comment")
	if (code ~ /^\{/) {
		in_function = FNR
	} else if (code ~ /^\}/ && in_function) {
		if (FNR - in_function - 1 > 80)
			bad("a function of " FNR - in_function - 1 " lines, at most 80")
		in_function = 0
	} else if (in_function && match(code, /^\t\t\t\t\t*(if|for|while|switch|do)[ ({]/)) {
		bad("nested deeper than 3")
	}
}
END {
	for (file in lines)
		if (lines[file] > 800) {
			printf "%s: %d lines, at most 800\n", file, lines[file]
			found++
		}
	exit found > 0
}
function bad(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; found++ }
# Without strings, character constants and comments; `commented` carries an open one over.
function strip(text,    out, at)
{
	gsub(/\\["\\\047]/, "", text)
	if (!commented) {
		gsub(/"[^"]*"/, "\"\"", text)
		gsub(/\047[^\047]*\047/, "0", text)
	}
	out = ""
	while (length(text)) {
		at = index(text, commented ? "*/" : "/*")
		if (!at)
			return commented ? out : out text
		if (!commented)
			out = out substr(text, 1, at - 1)
		text = substr(text, at + 2)
		commented = !commented
	}
	return out
}
'

shaped()
{
	[ ${#c_files[@]} -eq 0 ] || awk "$shape" "${c_files[@]}"
}

# Source files say their licence in the first line (scripts: the second).
licensed()
{
	local list
	mapfile -t list < <({ select_files '\.([ch]|py|sh|bash)$|^Makefile$|^\.ci/'; printf '%s\n' "${scripts[@]}"; } |
		grep . | sort -u)
	[ ${#list[@]} -eq 0 ] || awk '
		FNR == 1 { seen[FILENAME] += 0 }
		FNR <= 2 && /SPDX-License-Identifier: MIT/ { seen[FILENAME] = 1 }
		END { for (file in seen) if (!seen[file]) { print file ": no SPDX line"; bad = 1 } exit bad }
	' "${list[@]}"
}

finished()
{
	# The words are put together here, so that this file does not find itself.
	! grep -nwE "TO""DO|FIX""ME|X""XX" -- "${files[@]}" /dev/null
}

check licence licensed
check words finished
check shape shaped
check clang-format formatted
check shellcheck shellchecked
check python python_compiles
check cppcheck cppchecked
check gcc-analyzer analyzed
check clang-tidy tidy
check clang-tidy-tests tidy_tests
check clang-tidy-bpf tidy_bpf
if [ $problems -gt 0 ]; then
	echo "lint: FAILED: $problems of $checks checks"
	exit 1
fi
echo "lint: ${#files[@]} files, $checks checks, nothing to say"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs test programs, one after the other if not told otherwise; one line each, the whole output of one that failed, one
# closing line. A run without a program or without a test fails: something that should be there is not.
#   tests/run.sh NAME PROGRAM...            cmocka and other programs, exit code 0 is a pass
#   tests/run.sh --beside NAME PROGRAM...   the same, as many at a time as there are processors
#   tests/run.sh --corpus NAME PROGRAM...   fuzz targets over tests/fuzz/corpus/<target without fuzz_>
#   tests/run.sh --fuzz SECONDS NAME PROGRAM...
#   tests/run.sh --pytest NAME DIRECTORY... three files at a time on two processors, as tests wait a lot: a test shares
#                                           nothing with another run, so also not with its own; AT_ONCE=1: one after the other
# Each writes what became of every test into $B/records/NAME.tsv, which tools/spec.py and tools/bypass.py read: OUTCOME, ID
# (FILE::TEST below tests/) and what else is known.
set -u
cd "$(dirname "$0")/.." || exit 1
export PYTHONDONTWRITEBYTECODE=1
export UBSAN_OPTIONS=print_stacktrace=1
limit_s=${TEST_LIMIT_S:-300}
mode=program
seconds=60
at_once=1
case ${1-} in
--beside) at_once=$(nproc); shift ;;
--corpus) mode=corpus; shift ;;
--fuzz) mode=fuzz; seconds=$2; shift 2 ;;
--pytest) mode=pytest; shift ;;
esac
name=$1
shift

work=$(mktemp -d)
log=$work/log
trap 'rm -rf "$work"' EXIT
records=${B:-build}/records
mkdir -p "$records"
rm -f "$records/$name.tsv"

command_of()
{
	local target corpus
	target=$(basename "$1")
	corpus=tests/fuzz/corpus/${target#fuzz_}
	case $mode in
	corpus) command=("$1" "$corpus") ;;
	fuzz)
		mkdir -p "${B:-build}/fuzz/found/$target" "$corpus"
		command=("$1" -max_total_time="$seconds" -timeout=10 -print_final_stats=1
			"-artifact_prefix=${B:-build}/fuzz/found/$target/"
			"${B:-build}/fuzz/found/$target" "$corpus")
		limit_s=$((seconds + 60))
		;;
	*) command=("$1") ;;
	esac
}

# The tests that a program's output tells of, and the program itself. PROGRAM OUTPUT CODE
record()
{
	local file=${1#"${B:-build}"/}
	file=${file#asan/}
	file=${file#tests/}
	sed -nE -e "s|^\[       OK \] (\w+).*|passed\t$file.c::\1|p" -e "s|^\[  FAILED  \] ([a-z]\w+).*|failed\t$file.c::\1|p" \
		-e "s|^\[  SKIPPED \] ([a-z]\w+).*|skipped\t$file.c::\1|p" "$2" | sort -u
	if [ "$3" -eq 0 ]; then printf 'passed\t%s\n' "$file"; else printf 'failed\t%s\n' "$file"; fi
}

# What there is to say of a program, in its own file: it may run beside others.
run_one()
{
	local start rc=0 log=$2
	start=$(date +%s%N)
	command_of "$1"
	timeout -k 5 "$limit_s" "${command[@]}" >"$log.all" 2>&1 </dev/null || rc=$?
	local took_ms=$((($(date +%s%N) - start) / 1000000))
	record "$1" "$log.all" $rc >"$log.tsv"
	if [ $rc -ne 0 ]; then
		cat "$log.all"
		echo "FAIL ${1#"${B:-build}"/} (exit $rc, ${took_ms} ms)"
		return
	fi
	echo "ok   ${1#"${B:-build}"/} (${took_ms} ms)"
	tail -n 1 "$log.all" | grep -v '^\['	# a closing line that is not cmocka's, such as a seed
	grep -h '\[  SKIPPED \] [^0-9]' "$log.all" | sort -u >"$log.skipped"
	cat "$log.skipped"
	touch "$log.passed"
}

run_all()
{
	local n=0 program
	for program; do
		n=$((n + 1))
		if [ "$at_once" -eq 1 ]; then # in the foreground, where ^C reaches it
			run_one "$program" "$work/$n"
			continue
		fi
		while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do
			wait -n
		done
		{ run_one "$program" "$work/$n" >"$work/$n.out"; cat "$work/$n.out"; } &
	done
	wait
	passed=$(find "$work" -name '*.passed' | wc -l)
	failed=$(($# - passed))
	find "$work" -name '*.tsv' -exec cat {} + >"$records/$name.tsv"
	skipped=$(find "$work" -name '*.skipped' -exec cat {} + | wc -l)
}

run_pytest()
{
	local directories=() directory rc
	for directory; do
		[ -n "$(find "$directory" -name 'test_*.py' -print -quit 2>/dev/null)" ] &&
			directories+=("$directory")
	done
	if [ ${#directories[@]} -eq 0 ]; then
		echo "$name: no tests in $*"
		return 1
	fi
	PST_RECORD=$records/$name.tsv timeout -k 10 "${TEST_LIMIT_S:-1200}" /usr/bin/python3 -m pytest -q -rs -p no:cacheprovider \
		-n "${AT_ONCE:-$(($(nproc) * 3 / 2))}" --dist loadfile --durations=5 "${directories[@]}" </dev/null 2>&1 | tee "$log"
	rc=${PIPESTATUS[0]}
	[ "$rc" -eq 0 ] || echo "$name: FAILED (pytest exit $rc)"
	echo "$name: $(tail -n 1 "$log")"
	return "$rc"
}

if [ $mode = pytest ]; then
	run_pytest "$@"
	exit
fi
run_all "$@"
echo "$name: $passed programs passed, $failed failed, $skipped tests skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

#!/bin/bash
# SPDX-License-Identifier: MIT
# What `make test` runs, one stage after the other. A failed stage does not stop the rest. Ends with one line a stage.
#   tools/test.sh [STAGE...]
set -u
cd "$(dirname "$0")/.." || exit 1
make=${MAKE:-make}
B=${B:-build}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
summary=()
failed=0

command_of()
{
	case $1 in
	build) echo "$make --no-print-directory -k -j$(nproc) programs" ;;
	clang) echo "$make --no-print-directory -k -j$(nproc) B=$B/clang CC=clang-14 plain" ;;
	*) echo "$make --no-print-directory $1" ;;
	esac
}

# The line by which a runner closes, for the summary.
closing_line()
{
	case $1 in
	build | clang) echo "$1: $(find "$B" -newer "$log.start" -type f -perm -1 | wc -l) programs linked" ;;
	*) tail -1 "$log" ;;
	esac
}

stage()
{
	local name=$1 start=$SECONDS rc command
	echo "== $name"
	touch "$log.start"
	read -ra command < <(command_of "$name")
	"${command[@]}" </dev/null 2>&1 | tee "$log"
	rc=${PIPESTATUS[0]}
	if [ "$rc" -eq 0 ]; then
		summary+=("ok    $(closing_line "$name") ($((SECONDS - start)) s)")
	else
		summary+=("FAIL  $name: exit $rc ($((SECONDS - start)) s)")
		failed=$((failed + 1))
	fi
	rm -f "$log.start"
}

# What earlier runs have left is no record of this one.
[ $# -gt 0 ] || rm -rf "$B/records"
[ $# -gt 0 ] || set -- build clang layers lint unit replay bpf agree e2e spec
for name; do
	stage "$name"
done
echo "== summary"
printf '%s\n' "${summary[@]}"
echo "all stages in $SECONDS s"
echo "stages: $(($# - failed)) passed, $failed failed"
[ $failed -eq 0 ]

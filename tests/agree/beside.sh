# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by who plants mistakes: as many at a time as there are processors, each in a directory of its own, told in their
# order. Wants $work; counts in $caught and $missed.
at_once=$(nproc)
planted=0 caught=0 missed=0

# beside FUNCTION ARGUMENT...: runs it with $dir, which is empty; its output is one line, `ok` or not.
beside()
{
	planted=$((planted + 1))
	while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do
		wait -n || true
	done
	# shellcheck disable=SC2154 # of who sources it
	dir=$work/$planted
	mkdir "$dir"
	(
		"$@" >"$work/$planted.line"
		rm -rf "$dir"
	) &
}

# Waits for all of them. What ended without a line could not be built.
tell_all()
{
	local n line
	wait
	for ((n = 1; n <= planted; n++)); do
		line=$(cat "$work/$n.line")
		echo "${line:-FAIL the mistake number $n: it ended before its test}"
		case $line in
		"ok "*) caught=$((caught + 1)) ;;
		*) missed=$((missed + 1)) ;;
		esac
	done
}

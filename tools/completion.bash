# SPDX-License-Identifier: MIT
# bash completion for postern(1). Commands and options are those that the program's own help names.

# The words of `postern run` belong to the command once one is there: the place of its first word, or nothing.
_postern_command_at()
{
	local i
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			echo $((i + 1))
			return
			;;
		-p | --policy | -a | --allow | -d | --deny | --allow-private | --resolver | --ca-bundle | --report | --netns-pool | -o | --output)
			((i++))
			[[ ${COMP_WORDS[i]-} != = ]] || ((i++))
			;;
		-*) ;;
		*)
			echo "$i"
			return
			;;
		esac
	done
}

_postern_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_postern_files()
{
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

# The ids of sandboxes, where a daemon answers who asks.
_postern_ids()
{
	_postern_words "$(timeout 1 "$program" list -o json 2>/dev/null |
		grep -oE '"id": *"[a-z0-9_-]+"' | grep -oE '[a-z0-9_-]+"$' | tr -d '"')"
}

_postern_commands()
{
	_postern_words "$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p') --help --version"
}

# The options of the command $1.
_postern_options()
{
	_postern_words "$("$program" "$1" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*' | sort -u)"
}

# Completes the value of the option before the cursor; false when there is none.
_postern_value()
{
	case $1 in
	-o | --output) _postern_words 'text json' ;;
	-p | --policy | --report | --ca-bundle | --socket | --cgroup) _postern_files ;;
	--netdev) _postern_words "$(ls /sys/class/net 2>/dev/null)" ;;
	--sandbox) _postern_ids ;;
	--verdict) _postern_words 'allow deny would-deny relay' ;;
	-a | --allow | -d | --deny | --allow-private | --resolver | --netns-pool | --pid | --addr | --mac | --flows | --to) COMPREPLY=() ;;
	*) return 1 ;;
	esac
}

# How many operands stand between the command and the cursor.
_postern_operands()
{
	local i count=0
	for ((i = 2; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -* ]] || ((count++))
	done
	echo "$count"
}

_postern_operand()
{
	case $1:$(_postern_operands) in
	run:*) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	check:*) _postern_files ;;
	apply:0 | detach:0 | show:0 | watch:0 | explain:0) _postern_ids ;;
	apply:*) _postern_files ;;
	esac
}

_postern()
{
	local program=$1 cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command_at
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_postern_commands
		return
	fi
	if [[ ${COMP_WORDS[1]} == run ]]; then
		command_at=$(_postern_command_at)
		if [[ $command_at ]] && declare -F _command_offset >/dev/null; then
			_command_offset "$command_at"
			return
		fi
	fi
	# --policy=FILE arrives as three words.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	_postern_value "$prev" && return
	case $cur in
	-*) _postern_options "${COMP_WORDS[1]}" ;;
	*) _postern_operand "${COMP_WORDS[1]}" ;;
	esac
}

complete -F _postern postern

# SPDX-License-Identifier: MIT
# bash completion for postern(1)

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
		-p | --policy | -a | --allow | -d | --deny | --allow-private | --resolver | --report | -o | --output)
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

# Completes the value of the option before the cursor; false when there is none.
_postern_value()
{
	case $1 in
	-o | --output) _postern_words 'text json' ;;
	-p | --policy | --report) _postern_files ;;
	-a | --allow | -d | --deny | --allow-private | --resolver) COMPREPLY=() ;;
	*) return 1 ;;
	esac
}

_postern()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command_at
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_postern_words 'run check explain doctor --help --version'
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
	case ${COMP_WORDS[1]}:$cur in
	run:-*)
		_postern_words '--policy --allow --deny --allow-private --resolver --audit --report
			--keep-privs --output --help'
		;;
	run:*) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	check:-* | doctor:*) _postern_words '--output --help' ;;
	check:*) _postern_files ;;
	explain:-*) _postern_words '--policy --output --help' ;;
	esac
}

complete -F _postern postern

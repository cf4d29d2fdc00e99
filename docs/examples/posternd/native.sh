#!/bin/bash
# SPDX-License-Identifier: MIT
# A cgroup that is there already: attached, tried, changed, explained, detached.
#   native.sh CGROUP [SOCKET]     CGROUP below the cgroup2 mount, such as builds.slice
set -eu
cgroup=$1
socket=${2:-/run/postern/postern.sock}
id=builds-$$

# call METHOD PATH [BODY]
call()
{
	curl -sS --fail-with-body -X "$1" --unix-socket "$socket" ${3:+--json "$3"} "http://postern$2"
	echo
}

# Without allowWeak it is refused when there are ways around the policy: {"code":409,...,"holes":[...]}
call POST /v1/sandboxes '{"id": "'"$id"'", "cgroup": "'"$cgroup"'", "allowWeak": true,
	"policy": {"denyOut": ["0.0.0.0/0"], "allowOut": ["git.example.com:22"]}}'

policy='{"denyOut": ["0.0.0.0/0"], "allowOut": ["git.example.com:22", "*.example.org"]}'
call PUT "/v1/sandboxes/$id/policy?dry_run=1" "$policy"
call PUT "/v1/sandboxes/$id/policy" "$policy"
call GET "/v1/explain?sandbox=$id&to=git.example.com:443"
call GET "/v1/sandboxes/$id/rules"
call GET "/v1/sandboxes/$id"
call DELETE "/v1/sandboxes/$id"

#!/bin/bash
# SPDX-License-Identifier: MIT
# A sandbox's life by E2B's calls, as its SDKs make them: created, changed, paused, connected, killed.
#   KEY=e2b_... e2b.sh [URL]
set -eu
url=${1:-http://127.0.0.1:3000}

# call METHOD PATH [BODY]
call()
{
	curl -sS --fail-with-body -X "$1" -H "X-API-Key: $KEY" ${3:+--json "$3"} "$url$2"
	echo
}

created=$(call POST /sandboxes '{"templateID": "base", "timeout": 300,
	"network": {"denyOut": ["0.0.0.0/0"], "allowOut": ["example.com"]}}')
echo "$created"
id=${created#*'"sandboxID":"'}
id=${id%%'"'*}

# What starts the sandbox's command moves it to the cgroup first, as root:
#   echo $$ >/sys/fs/cgroup/postern/ID/cgroup.procs

# The whole new network: example.com is denied from here on.
call PUT "/sandboxes/$id/network" '{"denyOut": ["0.0.0.0/0"], "allowOut": ["api.example.org", "93.184.216.0/24"]}'
call GET "/sandboxes/$id"
call POST "/sandboxes/$id/pause"
call POST "/sandboxes/$id/connect" '{"timeout": 300}'
call GET /v2/sandboxes
call DELETE "/sandboxes/$id"

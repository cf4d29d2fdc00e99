#!/bin/bash
# SPDX-License-Identifier: MIT
# `make run`: a real command under a policy, allowed here and denied there, in a little internet of two network
# namespaces; then posternd, a sandbox of its own, changed live and held while the daemon is dead. Touches nothing of the
# host's network, cleans up, and fails when anything was not as promised.
set -u
cd "$(dirname "$0")/.." || exit 1
postern=$PWD/${B:-build}/postern
posternd=$PWD/${B:-build}/posternd
host=pst-$$-demo-host
inet=pst-$$-demo-inet
dir=
server_pids=
name=pst-$$-demo
daemon_pid=
cgroup=
failures=0

say()
{
	printf '\n%s\n' "$*"
}

die()
{
	echo "demo: $*" >&2
	exit 1
}

clean_up()
{
	[ -z "$daemon_pid" ] || { kill "$daemon_pid" && wait "$daemon_pid"; } 2>/dev/null
	remove_sandboxes 2>/dev/null
	# shellcheck disable=SC2086 # words on purpose
	[ -z "$server_pids" ] || { kill $server_pids && wait $server_pids; } 2>/dev/null
	ip netns del "$host" 2>/dev/null
	ip netns del "$inet" 2>/dev/null
	[ -z "$dir" ] || rm -rf "$dir"
}
# What posternd's end leaves in force on purpose.
remove_sandboxes()
{
	[ -z "$cgroup" ] || [ ! -d "${cgroup%/*}" ] || {
		[ ! -d "$cgroup" ] || echo 1 >"$cgroup/cgroup.kill"
		for ((tries = 0; tries < 100; tries++)); do
			[ ! -d "$cgroup" ] || rmdir "$cgroup" || { read -r -t 0.01 <> <(:); continue; }
			break
		done
		rmdir "${cgroup%/*}"
	}
	rm -rf "/sys/fs/bpf/$name"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Runs in the host namespace with the caller's mounts (`ip netns exec` would put a new /sys over them) but for the
# resolver's address.
on_host()
{
	# shellcheck disable=SC2016 # expanded inside
	nsenter --net="/run/netns/$host" -- unshare -m sh -c \
		'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$dir/resolv.conf" "$@"
}

make_internet()
{
	ip netns add "$host" && ip netns add "$inet" || return 1
	ip -n "$host" link add up0 type veth peer name in0 netns "$inet" || return 1
	for end in "$host up0 192.0.2.2/24 2001:db8:1::2/64" "$inet in0 192.0.2.1/24 2001:db8:1::1/64"; do
		# shellcheck disable=SC2086 # words on purpose
		set -- $end
		ip -n "$1" link set lo up
		ip -n "$1" addr add "$3" dev "$2"
		ip -n "$1" addr add "$4" dev "$2" nodad
		ip -n "$1" link set "$2" up || return 1
	done
	ip -n "$host" route add default via 192.0.2.1
	ip -n "$host" -6 route add default via 2001:db8:1::1
	for prefix in 93.184.216.0/24 1.1.1.0/24 10.9.0.0/24 169.254.169.254/32 2606:4700::/32; do
		ip -n "$inet" route add local "$prefix" dev lo || return 1
	done
}

# dnsmasq at 192.0.2.1, which knows two names. What is asked stands in dns.log.
start_resolver()
{
	echo 'nameserver 192.0.2.1' >"$dir/resolv.conf"
	: >"$dir/dns.log"
	nsenter --net="/run/netns/$inet" -- dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root \
		--pid-file="$dir/dns.pid" --no-resolv --no-hosts --local=/example.com/ --log-queries \
		--log-facility="$dir/dns.log" --host-record=example.com,93.184.216.34 \
		--host-record=files.example.com,93.184.216.99 &
	server_pids="$server_pids $!"
	for ((tries = 0; tries < 500; tries++)); do
		on_host getent ahostsv4 example.com >/dev/null && return 0
		kill -0 $! 2>/dev/null || break
		read -r -t 0.01 <> <(:)
	done
	cat "$dir/dns.log" >&2
	return 1
}

# nginx on every address of the internet: 80, 443 (TLS) and 5432, where the demo's database would be.
start_server()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=example.com \
		-addext subjectAltName=DNS:example.com,DNS:files.example.com -keyout "$dir/key.pem" -out "$dir/cert.pem" \
		2>"$dir/openssl.log" || { cat "$dir/openssl.log" >&2; return 1; }
	cat >"$dir/nginx.conf" <<-END
		daemon off;
		worker_processes 1;
		user root;
		pid $dir/nginx.pid;
		error_log $dir/error.log;
		events {}
		http {
			access_log $dir/access.log;
			client_body_temp_path $dir/body;
			proxy_temp_path $dir/proxy;
			fastcgi_temp_path $dir/fastcgi;
			uwsgi_temp_path $dir/uwsgi;
			scgi_temp_path $dir/scgi;
			server {
				listen 80;
				listen 5432;
				listen 443 ssl;
				listen [::]:80;
				ssl_certificate $dir/cert.pem;
				ssl_certificate_key $dir/key.pem;
				location = /up { access_log off; return 204; }
				location / { return 200 "hello from \$server_addr:\$server_port\n"; }
			}
		}
	END
	nsenter --net="/run/netns/$inet" -- nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/error.log" &
	server_pids="$server_pids $!"
	for ((tries = 0; tries < 500; tries++)); do
		on_host curl -s -o /dev/null --max-time 1 http://93.184.216.34/up && return 0
		kill -0 $! 2>/dev/null || break
		read -r -t 0.01 <> <(:)
	done
	cat "$dir/error.log" >&2
	return 1
}

# The policy of what is shown next: on the command line, then as a document.
set_policy()
{
	policy=("$@")
	shown=$*
}

write_policy()
{
	cat >"$dir/policy.json" <<-END
		{
		    "denyOut": ["0.0.0.0/0"],
		    "allowOut": ["example.com", "93.184.216.0/24:80", "10.9.0.0/24:5432"],
		    "allowPrivate": ["10.9.0.0/24"]
		}
	END
}

# try EXPECTED-EXIT WORDS-IN-OUTPUT WHAT COMMAND...: runs it under the policy, shows and checks what happened. A time-out is
# told by curl's own exit code, 28: how long a busy machine takes to start a program is no promise.
try()
{
	local expected=$1 words=$2 what=$3 code out start took_ms
	shift 3
	say "$what"
	echo "\$ postern run $shown -- ${*@Q}" | sed "s/'\([a-z0-9:./>-]*\)'/\1/g"
	shown=...
	start=$(date +%s%N)
	out=$(cd "$dir" && on_host "$postern" run "${policy[@]}" -- "$@" 2>&1)
	code=$?
	took_ms=$((($(date +%s%N) - start) / 1000000))
	printf '%s\n' "$out" | sed 's/^/    /'
	echo "    (exit $code after $took_ms ms)"
	if [ "$code" -ne "$expected" ]; then
		echo "    NOT AS PROMISED: expected exit $expected"
		failures=$((failures + 1))
	elif ! grep -q -- "$words" <<<"$out"; then
		echo "    NOT AS PROMISED: expected '$words'"
		failures=$((failures + 1))
	fi
}

# What every curl below is told, so that the lines that are shown stay short.
write_curlrc()
{
	cat >"$dir/.curlrc" <<-END
		silent
		show-error
		max-time = 5
		noproxy = "*"
		cacert = "$dir/cert.pem"
	END
	export CURL_HOME=$dir
}

explain()
{
	local code=0
	say "Why? The same words, without running anything:"
	echo "\$ postern explain --policy policy.json $1"
	(cd "$dir" && on_host "$postern" explain --policy policy.json "$1") | sed 's/^/    /'
	code=${PIPESTATUS[0]}
	[ "$code" -eq 10 ] || {
		echo "    NOT AS PROMISED: exit $code, expected 10 (denied)"
		failures=$((failures + 1))
	}
}

not_as_promised()
{
	echo "    NOT AS PROMISED: $*"
	failures=$((failures + 1))
}

# ---- posternd ----

write_daemon_config()
{
	cat >"$dir/posternd.json" <<-END
		{
		    "socket": "$dir/sock", "stateDir": "$dir/state", "sandboxDir": "$dir/sandboxes.d",
		    "bpffsDir": "/sys/fs/bpf/$name", "cgroupParent": "$name", "log": "text"
		}
	END
}

# ask METHOD PATH [BODY]: by the unix socket; the answer, and its status on a line of its own.
ask()
{
	curl -X "$1" --unix-socket "$dir/sock" -w '\n%{http_code}' ${3:+--json "$3"} "http://postern$2" 2>/dev/null
}

start_daemon()
{
	# In the background a function has a shell around it: this is on_host() with a process id of its own.
	# shellcheck disable=SC2016 # expanded inside
	nsenter --net="/run/netns/$host" -- unshare -m sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' \
		"$dir/resolv.conf" "$posternd" -c "$dir/posternd.json" >>"$dir/posternd.log" 2>&1 &
	daemon_pid=$!
	for ((tries = 0; tries < 1000; tries++)); do
		[ "$(ask GET /readyz)" = $'ready\n\n200' ] && return 0
		kill -0 "$daemon_pid" 2>/dev/null || break
		read -r -t 0.01 <> <(:)
	done
	cat "$dir/posternd.log" >&2
	return 1
}

# show_call STATUS METHOD PATH [BODY]: what is typed, and what comes back; $answer has it.
show_call()
{
	local expected=$1
	shift
	# shellcheck disable=SC2016 # no quotes of the shell's
	echo "\$ curl -X $1${3:+ --json '$3'} --unix-socket .../postern.sock http://postern$2"
	answer=$(ask "$@")
	printf '%s\n' "$answer" | sed '/^$/d; s/^/    /'
	[ "${answer##*$'\n'}" = "$expected" ] || not_as_promised "expected status $expected"
}

# inside EXPECTED-EXIT WORDS-IN-OUTPUT WHAT COMMAND...: in the sandbox's cgroup.
inside()
{
	local expected=$1 words=$2 code out
	say "$3"
	shift 3
	echo "\$ (in the sandbox) $*"
	# shellcheck disable=SC2016 # expanded inside
	out=$(cd "$dir" && on_host sh -c 'echo 0 >"$0/cgroup.procs" && exec "$@"' "$cgroup" "$@" 2>&1)
	code=$?
	printf '%s\n' "$out" | sed 's/^/    /'
	[ "$code" -eq "$expected" ] || not_as_promised "exit $code, expected $expected"
	grep -q -- "$words" <<<"$out" || not_as_promised "expected '$words'"
}

# A connection that is open while the policy changes: how it ends stands in open.txt.
hold_connection()
{
	# shellcheck disable=SC2016 # expanded inside
	nsenter --net="/run/netns/$host" -- bash -c 'echo 0 >"$0/cgroup.procs"; exec 3<>/dev/tcp/93.184.216.34/80; echo open; read -r -t 30 -u 3;
		[ $? -gt 128 ] || echo ended' "$cgroup" >"$dir/open.txt" 2>/dev/null &
	server_pids="$server_pids $!"
	for ((tries = 0; tries < 500; tries++)); do
		grep -q open "$dir/open.txt" && return
		read -r -t 0.01 <> <(:)
	done
	not_as_promised "the connection did not open"
}

see_it_ended()
{
	for ((tries = 0; tries < 300; tries++)); do
		grep -q ended "$dir/open.txt" && break
		read -r -t 0.01 <> <(:)
	done
	grep -q ended "$dir/open.txt" || not_as_promised "the open connection is still there"
	echo "    (the connection to 93.184.216.34 that was open has ended)"
}

show_daemon()
{
	local id
	say "The same for a platform: posternd, and a sandbox by E2B's API. It is enforced when the answer comes:"
	start_daemon || die "posternd does not start"
	show_call 201 POST /sandboxes '{"network": {"denyOut": ["0.0.0.0/0"], "allowOut": ["example.com", "93.184.216.0/24"]}}'
	id=${answer#*'"sandboxID":"'}
	id=${id%%'"'*}
	answer=$(ask GET "/v1/sandboxes/$id")
	cgroup=${answer#*'"cgroup":"'}
	cgroup=${cgroup%%'"'*}
	[ -d "$cgroup" ] || die "the sandbox has no cgroup"
	inside 0 'hello from 93.184.216.34:443' "Allowed" curl https://example.com/
	inside 0 'blocked 1.1.1.1:80' "Denied: on 80 and 443 E2B's names are those of Host and SNI, so the relay reads them, and answers" \
		curl http://1.1.1.1/
	hold_connection
	say "A new policy, while it runs:"
	show_call 204 PUT "/sandboxes/$id/network" '{"denyOut": ["0.0.0.0/0"], "allowOut": ["1.1.1.0/24"]}'
	see_it_ended
	inside 7 'curl: (7)' "What was allowed is denied" curl http://93.184.216.34/
	{ kill -9 "$daemon_pid" && wait "$daemon_pid"; } 2>/dev/null
	daemon_pid=
	inside 7 'curl: (7)' "posternd was killed (kill -9). Denied all the same" curl http://93.184.216.34/
	inside 0 'hello from 1.1.1.1:80' "And allowed" curl http://1.1.1.1/
	start_daemon || die "posternd does not start again"
	say "posternd runs again, and has its sandbox:"
	echo "\$ postern list"
	"$postern" list --socket "$dir/sock" | tee "$dir/list.txt" | sed 's/^/    /'
	grep -q "^$id *running" "$dir/list.txt" || not_as_promised "the sandbox is not there"
	show_call 204 DELETE "/sandboxes/$id"
}

# The far side's own records: nothing that was denied has arrived there.
check_servers()
{
	local expected=$1 found asked allowed tries
	# A line is written after its answer has been sent.
	for ((tries = 0; tries < 200; tries++)); do
		found=$(wc -l <"$dir/access.log")
		[ "$found" -lt "$expected" ] || break
		read -r -t 0.01 <> <(:)
	done
	asked=$(grep -c 'query.* files.example.com from' "$dir/dns.log")
	allowed=$(grep -c 'query.* example.com from' "$dir/dns.log")
	say "The web server's log holds $found requests; $expected were allowed."
	echo "The resolver's log holds $allowed questions for example.com and $asked for files.example.com."
	if [ "$found" -ne "$expected" ] || [ "$asked" -ne 0 ] || [ "$allowed" -eq 0 ]; then
		echo "    NOT AS PROMISED: expected $expected requests, and questions for example.com alone"
		failures=$((failures + 1))
	fi
}

[ "$(id -u)" -eq 0 ] || die "needs root (network namespaces, BPF): sudo make run"
[ -e /etc/resolv.conf ] || die "needs a file at /etc/resolv.conf, to put its own over it"
[ -x "$postern" ] || die "$postern is missing: run make"
[ -x "$posternd" ] || die "$posternd is missing: run make"
dir=$(mktemp -d /tmp/pst-demo-XXXXXX) || exit 1
chmod 755 "$dir"
make_internet || die "cannot make the network namespaces"
start_resolver || die "dnsmasq does not answer"
start_server || die "nginx does not answer"
write_policy
write_curlrc

echo "A little internet stands: a resolver at 192.0.2.1 that knows example.com (93.184.216.34) and files.example.com,"
echo "a web server on every address, and a database at 10.9.0.5:5432."

set_policy --allow example.com
try 0 'hello from 93.184.216.34:443' "Allowed: a name" \
	curl https://example.com/
try 6 'dns files.example.com .*does not cover subdomains' "Denied: another name. The question does not even leave" \
	curl https://files.example.com/
try 7 'default-deny' "Denied: the address of the allowed name, as long as nobody has asked for the name" \
	curl http://93.184.216.34/
try 0 'hello from 93.184.216.34:80' "Allowed: the same after the answer. The kernel read it before the command did" \
	sh -c 'getent ahostsv4 example.com >/dev/null; curl http://93.184.216.34/'

say "More in a document:"
echo "\$ cat policy.json"
sed 's/^/    /' "$dir/policy.json"
set_policy --policy policy.json
try 0 'hello from 10.9.0.5:5432' "Allowed: port 5432 of a private address that the operator has lifted" \
	curl http://10.9.0.5:5432/
try 7 'default-deny' "Denied: the private address, on another port. connect() fails at once with EPERM" \
	curl http://10.9.0.5/
try 7 'default-deny' "Denied: IPv6, which no rule allows" \
	curl -g 'http://[2606:4700::1111]/'
try 7 'always-denied' "Denied in every policy: the cloud's metadata service" \
	curl http://169.254.169.254/
try 1 'untrusted-resolver' "Denied: UDP, here a DNS packet to a resolver of the command's own choice" \
	bash -c 'echo secret > /dev/udp/1.1.1.1/53'
set_policy --netns --allow example.com
try 0 'hello from 93.184.216.34:443' "A network of its own: the command stays root, with raw sockets and routes. Allowed" \
	curl https://example.com/
try 7 'default-deny' "Denied: the packet is answered with a refusal on the host's side of its device" \
	curl http://1.1.1.1/
explain files.example.com
explain 169.254.169.254:80
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || die "needs a bpf file system at /sys/fs/bpf"
write_daemon_config
show_daemon
check_servers 6

if [ "$failures" -gt 0 ]; then
	say "$failures things were not as promised."
	exit 1
fi
say "All as promised."

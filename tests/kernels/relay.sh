#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC1091,SC2086,SC2154 # what `internet` sets, and words that are to be split
# The relay, as it is, on this kernel: its system calls, its sandbox, the ways to it of a cgroup and of a device. Names that are
# checked in the ClientHello, headers put into HTTP and HTTPS, a SOCKS5 proxy, DNS, a relay that is killed. Runs in the VM of
# tools/vm.sh, in busybox's sh.
set -eu
. /tests/kernels/internet

GOOD=good.example.com   # at ALLOWED4 and ALLOWED6, and so is
OTHER=other.example.com # whom nobody allowed
API=api.example.com     # at DENIED4: with a header
SECRET=pst-header-51c0
cgroup=/sys/fs/cgroup/pst-relay-box

# Whoever it is: $kind
inside()
{
	case $kind in
	none) within pst-host "$@" ;;
	cgroup) within pst-host sh -c "echo 0 >$cgroup/cgroup.procs && exec \"\$@\"" sh "$@" ;;
	device) within pst-captive "$@" ;;
	esac
}

# web: HTTPS at every address, with one certificate for all names; what it gets is in /tmp/device-https, what it says in a
# FIFO. HTTP beside it, and a resolver.
web_open()
{
	cat >/tmp/device-cnf <<-CNF
		[req]
		distinguished_name = name
		x509_extensions = ext
		prompt = no
		[name]
		CN = The web
		[ext]
		basicConstraints = critical, CA:TRUE
		subjectAltName = DNS:$GOOD, DNS:$OTHER, DNS:$API
	CNF
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -config /tmp/device-cnf \
		-keyout /tmp/device-key -out /tmp/device-web.pem 2>/dev/null
	mkfifo /tmp/device-answers /tmp/device-asks
	exec 4<>/tmp/device-answers 5<>/tmp/device-asks
	nsenter --net=/run/netns/pst-inet openssl s_server -quiet -accept 443 -cert /tmp/device-web.pem \
		-key /tmp/device-key </tmp/device-answers >/tmp/device-https 2>&1 &
	servers="$servers $!"
	cat >/tmp/device-cgi <<-'CGI'
		#!/bin/sh
		while read -r line; do
			line=$(echo "$line" | tr -d '\r')
			[ -n "$line" ] || break
			echo "$line" >>/tmp/device-http
		done
		printf 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\narrived\n'
	CGI
	chmod +x /tmp/device-cgi
	: >/tmp/device-http
	nsenter --net=/run/netns/pst-inet nc -ll -p 80 -e /tmp/device-cgi &
	servers="$servers $!"
	nsenter --net=/run/netns/pst-inet dnsmasq -k -u root -C /dev/null -R -h -a $RESOLVER -z --pid-file= \
		--address=/$GOOD/$ALLOWED4 --address=/$GOOD/$ALLOWED6 --address=/$OTHER/$ALLOWED4 --address=/$API/$DENIED4 &
	servers="$servers $!"
}

# tls NAME ADDRESS TRUST: a handshake from inside
tls()
{
	case $2 in
	*:*) to="[$2]:443" ;;
	*) to=$2:443 ;;
	esac
	inside timeout 60 openssl s_client -connect "$to" -servername $1 -CAfile $3 -verify_hostname $1 -verify_return_error \
		</dev/null >/tmp/device-flow 2>&1
}

# whole NAME ADDRESS: its own certificate comes through, from whichever address the relay was told
whole()
{
	before=$(direct $ALLOWED4 $ALLOWED6)
	tls $1 $2 /tmp/device-web.pem || fail "$kind: no TLS with $1 at $2"
	[ "$(direct $ALLOWED4 $ALLOWED6)" != "$before" ] || fail "$kind: TLS with $1, and nothing came there"
}

# refused NAME ADDRESS: no handshake, and nothing arrives
refused()
{
	before=$(direct $ALLOWED4 $ALLOWED6)
	! tls $1 $2 /tmp/device-web.pem || fail "$kind: TLS with $1 at $2"
	[ "$(direct $ALLOWED4 $ALLOWED6)" = "$before" ] || fail "$kind: $1: something came there"
}

# plain NAME ADDRESS: what HTTP says
plain()
{
	printf 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' $1 |
		inside timeout 60 nc $2 80 >/tmp/device-flow 2>&1 || true
}

has()
{
	grep -q "$1" "$2"
}

# A request by HTTPS through whom the CA is for, and the answer.
secure()
{
	: >/tmp/device-https
	printf 'GET /secure HTTP/1.1\r\nHost: %s\r\n\r\n' $API >&5
	inside timeout 600 openssl s_client -quiet -connect $DENIED4:443 -servername $API -CAfile /tmp/device-ca.pem \
		-verify_hostname $API -verify_return_error </tmp/device-asks >/tmp/device-flow 2>&1 &
	client=$!
	await "the request" has 'GET /secure' /tmp/device-https
	printf 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nsecured\n' >&4
	await "the answer" has '^secured' /tmp/device-flow
	kill $client 2>/dev/null || true
	wait $client 2>/dev/null || true
	has "^X-Secret: $SECRET" /tmp/device-https || fail "$kind: no header: $(cat /tmp/device-https)"
}

is_answered()
{
	inside ask $RESOLVER $1 >/tmp/device-flow 2>&1 || true
	grep -q "^answer $2" /tmp/device-flow
}

# The relay of this daemon, and no signer.
relay_pid()
{
	for pid in $(pidof postern-relay); do
		tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q signer || echo $pid
	done
}

is_new_relay()
{
	now=$(relay_pid)
	[ -n "$now" ] && [ "$now" != "$1" ]
}

checked()
{
	postern apply box /tmp/device-strict
	await "$kind: an answer for $GOOD" is_answered $GOOD "NOERROR $ALLOWED4"
	is_answered $OTHER 'NXDOMAIN EDE 15' || fail "$kind: $OTHER: expected NXDOMAIN with EDE 15"
	is_answered $API "NOERROR $DENIED4" || fail "$kind: no answer for $API"
	whole $GOOD $ALLOWED4
	whole $GOOD $ALLOWED6
	refused $OTHER $ALLOWED4
	refused $OTHER $ALLOWED6
	plain $OTHER $ALLOWED4
	has '^postern: blocked' /tmp/device-flow || fail "$kind: no word of who blocked it"
	: >/tmp/device-http
	plain $GOOD $ALLOWED4
	has '^arrived' /tmp/device-flow || fail "$kind: no answer by HTTP"
	! has "$SECRET" /tmp/device-http || fail "$kind: the header went to $GOOD"
	plain $API $DENIED4
	has '^arrived' /tmp/device-flow || fail "$kind: no answer by HTTP from $API"
	has "^X-Secret: $SECRET" /tmp/device-http || fail "$kind: no header: $(cat /tmp/device-http)"
	secure
}

proxied()
{
	postern apply box /tmp/device-proxy
	by_proxy "$ALLOWED4 $ALLOWED6" inside
	before=$(direct $DENIED4)
	expect "connect (EPERM|ECONNREFUSED)" tcp $DENIED4 inside
	[ "$(direct $DENIED4)" = "$before" ] || fail "$kind: something came to $DENIED4"
}

killed()
{
	old=$(relay_pid)
	kill -9 $old
	await "another relay" is_new_relay $old
	await "$kind: what needs it" proxy_works
}

proxy_works()
{
	inside flow tcp $ALLOWED4 $PORT canary >/tmp/device-flow 2>&1 || true
	grep -Eq "^$arrives " /tmp/device-flow
}

internet_open
proxy_open
web_open
captive_open veth

# The control: nobody holds them.
for kind in none device; do
	await "$kind: the web" tls $OTHER $ALLOWED4 /tmp/device-web.pem
	whole $OTHER $ALLOWED4
	whole $OTHER $ALLOWED6
	before=$(direct $ALLOWED4)
	expect "$arrives" tcp $ALLOWED4 inside
	[ "$(direct $ALLOWED4)" != "$before" ] || fail "the oracle sees nothing"
done

daemon_config
sed -i 's|^{|{"relay": {"caBundle": "/tmp/device-web.pem"}, |' /tmp/device.json
cat >/tmp/device-strict <<POLICY
{"allowOut": ["$GOOD", "$API"], "denyOut": ["0.0.0.0/0"], "hostCheck": "strict",
 "rules": {"$API": [{"transform": {"headers": {"X-Secret": "$SECRET"}}}]}}
POLICY
daemon_start
for kind in cgroup device; do
	case $kind in
	cgroup)
		mkdir $cgroup
		where="--cgroup $cgroup"
		;;
	device) where="--netdev pst-dev --addr $CAPTIVE4 --addr $CAPTIVE6" ;;
	esac
	postern attach box $where --policy /tmp/device-strict --allow-weak
	postern ca >/tmp/device-ca.pem
	checked
	proxied
	killed
	checked
	postern detach box
	whole $OTHER $ALLOWED4
done
rmdir $cgroup
daemon_stop
[ -z "$(pidof postern-relay)" ] || fail "a relay is left"
! within pst-host sh -c '/usr/sbin/ip rule; /usr/sbin/ip -6 rule' | grep fwmark || fail "a rule is left"
exec 4>&- 5>&-
captive_close
internet_close
echo "relay: names checked, headers put in, a proxy, DNS, killed and back; a cgroup and a device"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs the Debian 12 packages that are missing, and says what each one is for. Changes nothing
# (and needs no root) when all are there.
#   tools/deps.sh [build|run|test|kernels]    each includes those before it; default: test
#   tools/deps.sh --list
set -eu

# group, package, why
packages()
{
	cat <<'LIST'
build make           the build
build gcc            the user side
build libc6-dev      C library headers, <linux/bpf.h> among their dependencies
build pkg-config     finds the libraries below
build clang-14       the kernel side: gcc 12 has no usable BPF back end
build bpftool        writes the skeleton that embeds the BPF object
build libbpf-dev     loads BPF objects; its bpf_helpers.h is included by bpf/
build libelf-dev     libbpf reads ELF with it
build zlib1g-dev     libelf needs it
build libidn2-dev    names with non-ASCII letters to their A-labels
build libpsl-dev     the public suffix list: refuses *.co.uk
build libmicrohttpd-dev  the daemon's HTTP server
build libssl-dev     SHA-256 of API keys and policies, the relay's TLS
build libevent-dev   the relay's loop
build libnghttp2-dev HTTP/2 from clients of the relay that take nothing else
run   iproute2       the demo's network namespaces
run   curl           the demo's command that is allowed here and denied there
run   nginx-light    the demo's server, and a real server with TLS as a peer of the tests
run   openssl        its certificate
run   dnsmasq-base   the demo's resolver
test  libcmocka-dev  unit tests
test  libjson-c-dev  a second opinion for the tests of the JSON reader
test  libclang-rt-14-dev  sanitizers and libFuzzer for clang
test  clang-format-14     lint
test  clang-tidy-14       lint
test  cppcheck       lint
test  shellcheck     lint
test  python3        end-to-end tests
test  python3-pytest runs them
test  python3-pytest-xdist   as many at a time as there are processors
test  python3-scapy  packets that no socket would send
test  nftables       the comparison of the benchmarks, NAT on the output path for doctor's tests
test  iptables       firewalls of both kinds in the way of `run --netns`
test  ipset          with iptables, another comparison of the benchmarks
test  tcpdump        sniffs the far side
test  groff-base     reads the manual pages for mistakes
test  procps         process tools of the tests
test  unbound        a real resolver
test  bind9          another; its dnssec-signzone signs the tests' zone (dnsmasq is the third)
test  bind9-dnsutils dig
test  musl-tools     a C library that resolves in its own way
test  python3-pycares    c-ares, another resolving library
test  nodejs         a client that has both c-ares and threads; runs the E2B SDK (18 or later)
test  npm            installs the E2B SDK, once (tools/e2b-sdk.sh)
test  prometheus     its promtool reads the metrics
test  microsocks     an egress proxy
test  dante-server   another, with its own idea of SOCKS5
test  strace         makes system calls fail where the daemon must survive it
kernels qemu-system-x86  boots stock Debian kernels
kernels busybox-static   the user space of that VM
kernels cpio         packs its initramfs
kernels xz-utils     unpacks kernel modules
LIST
}

wanted()
{
	case $1 in
	build) packages | awk '$1 == "build"' ;;
	run) packages | awk '$1 == "build" || $1 == "run"' ;;
	test) packages | awk '$1 != "kernels"' ;;
	kernels) packages ;;
	*)
		echo "usage: tools/deps.sh [build|run|test|kernels|--list]" >&2
		exit 2
		;;
	esac
}

# The service of a package that has one.
service_of()
{
	case $1 in
	nginx-light) echo nginx ;;
	bind9) echo named ;;
	unbound) echo unbound ;;
	prometheus) echo prometheus ;;
	esac
}

# What need not come from the package of that name: other packages of nodejs bring npm along.
is_there()
{
	case $1 in
	npm) command -v npm ;;
	nodejs) node -e 'process.exit(parseInt(process.versions.node) < 18)' ;;
	*) false ;;
	esac >/dev/null 2>&1
}

# Names of those that dpkg does not call installed. One query for all: each costs 10 ms.
missing_of()
{
	local installed
	# shellcheck disable=SC2046 # the names are words
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $(awk '{ print $2 }') 2>/dev/null |
		awk '$1 == "installed" { print $2 }' | sort -u) || true
	comm -13 <(echo "$installed") <(wanted "$1" | awk '{ print $2 }' | sort -u)
}

if [ "${1-}" = --list ]; then
	packages
	exit 0
fi
group=${1-test}
list=$(wanted "$group")
if ! command -v dpkg-query >/dev/null; then
	echo "deps: not a Debian system: have the equivalents of tools/deps.sh --list ready" >&2
	exit 0
fi
missing=$(echo "$list" | missing_of "$group" | while read -r package; do
	is_there "$package" || echo "$package"
done)
if [ -z "$missing" ]; then
	echo "deps: all $(echo "$list" | wc -l) packages for '$group' are installed"
	exit 0
fi
echo "deps: missing:"
for package in $missing; do
	echo "$list" | awk -v p="$package" '$2 == p { $1 = " "; print }'
done
if [ "$(id -u)" -ne 0 ]; then
	# shellcheck disable=SC2086
	echo "deps: not root; please run: sudo apt-get install" $missing >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# What is installed for tests must not begin to serve this host (Debian starts services as it installs them).
if [ ! -e /usr/sbin/policy-rc.d ]; then
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
fi
# A foreign source that does not answer is no reason to stop: the installation will tell.
apt-get -q update || true
# shellcheck disable=SC2086
apt-get -q install -y --no-install-recommends $missing </dev/null
# Nor when this host is started again.
for package in $missing; do
	service=$(service_of "$package")
	[ -z "$service" ] || systemctl -q disable "$service" 2>/dev/null || true
done

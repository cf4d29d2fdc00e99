#!/bin/bash
# SPDX-License-Identifier: MIT
# Boots Debian's stock kernels in a VM (emulated, so that it works everywhere) with a RAM disk that holds
# postern and its tests, and tells which passed. Installs nothing: kernels are unpacked below build/vm.
#   tools/vm.sh all                     every kernel, every program
#   tools/vm.sh VERSION [NAME...]       6.1 or 6.12; only these: SCRIPT.sh of tests/kernels, bpf/TEST, doctor, run
#   tools/vm.sh one                     6.1 and little of it, for `make test`; skips where no kernel is to be had
#   tools/vm.sh fetch                   only downloads the kernels
set -eu
cd "$(dirname "$0")/.."
B=${B:-build}
vm=$(realpath -m "$B")/vm
limit_s=${VM_LIMIT_S:-1800}
# How long the network may take, to fetch a kernel.
fetch_s=120
# Modules a test may want; what a kernel has built in or does not know is passed over.
modules="dummy veth tun bridge sch_ingress cls_bpf nf_tables nft_chain_nat nft_socket nft_redir nft_masq nft_ct tcp_diag"

# The suite a version comes from; 6.12 is in backports, which the host need not have among its sources.
apt_options()
{
	mkdir -p "$vm/apt/lists/partial" "$vm/apt/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"http://deb.debian.org/debian bookworm-backports main" >"$vm/apt/sources.list"
	apt=(-q -o APT::Sandbox::User=root)
	[ "$1" = 6.1 ] || apt+=(-o Dir::Etc::sourcelist="$vm/apt/sources.list"
		-o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$vm/apt/lists"
		-o Dir::Cache="$vm/apt/cache")
}

# fetch VERSION: $vm/VERSION/root becomes the unpacked newest cloud kernel of that series.
fetch()
{
	local version=$1 package apt
	[ ! -e "$vm/$version/fetched" ] || return 0
	rm -rf "${vm:?}/$version"
	mkdir -p "$vm/$version/root"
	apt_options "$version"
	timeout "$fetch_s" apt-get "${apt[@]}" update >"$vm/$version/apt.log" 2>&1 || return 1
	package=$(apt-cache "${apt[@]}" depends linux-image-cloud-amd64 |
		awk '$1 == "Depends:" && $2 ~ /^linux-image/ { print $2; exit }')
	case $package in
	"linux-image-$version."*) ;;
	*)
		echo "vm: no kernel $version among the sources: linux-image-cloud-amd64 is '$package'" >&2
		return 1
		;;
	esac
	(cd "$vm/$version" && timeout "$fetch_s" apt-get "${apt[@]}" download "$package" >>apt.log 2>&1 &&
		dpkg-deb -x "$package"_*.deb root && rm -f "$package"_*.deb) || return 1
	touch "$vm/$version/fetched"
}

# with_libraries ROOT FILE...: each program to where it is found, with the libraries it is linked to.
with_libraries()
{
	local root=$1 file library
	shift
	for file; do
		ldd "$file" 2>/dev/null | awk '/=> \// { print $3 } /^\t\/lib/ { print $1 }'
	done | sort -u | while read -r library; do
		mkdir -p "$root$(dirname "$library")"
		cp -Lu "$library" "$root$library"
	done
}

# place ROOT DIRECTORY FILE...
place()
{
	local root=$1 directory=$2
	shift 2
	[ $# -gt 0 ] || return 0
	mkdir -p "$root/$directory"
	cp -L "$@" "$root/$directory/"
	with_libraries "$root" "$@"
}

# The modules and what they need, in the order in which to load them.
place_modules()
{
	local version=$1 root=$2 tree kernel name path
	tree=$vm/$version/root
	kernel=$(basename "$tree"/lib/modules/*)
	[ -e "$tree/lib/modules/$kernel/modules.dep" ] || busybox depmod -b "$tree" "$kernel"
	mkdir -p "$root/modules"
	for name in $modules; do
		awk -v name="$name" -F '[: ]+' '
			$1 ~ "/" name "\\.ko(\\.xz)?$" { for (i = NF; i; i--) if ($i) print $i }
		' "$tree/lib/modules/$kernel/modules.dep"
	done | awk '!seen[$0]++' | while read -r path; do
		name=$(basename "${path%.xz}")
		case $path in
		*.xz) xz -dc "$tree/lib/modules/$kernel/$path" >"$root/modules/$name" ;;
		*) cp "$tree/lib/modules/$kernel/$path" "$root/modules/$name" ;;
		esac
		echo "$name" >>"$root/modules/order"
	done
}

write_init()
{
	cat >"$1/init" <<'INIT'
#!/bin/busybox sh
# The first process of the VM: mounts what a host has, runs the list, switches off.
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/tests/tools
mkdir -p /proc /sys /dev /run /tmp /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 none /sys/fs/cgroup
mount -t bpf none /sys/fs/bpf
ip link set lo up
if [ -e /modules/order ]; then
	while read -r module; do insmod "/modules/$module" 2>/dev/null; done </modules/order
fi
mkdir /tmp/out
echo
echo "vm: kernel $(uname -r)"
passed=0
failed=0
while IFS='	' read -r name command; do
	start=$(date +%s)
	sh -c "$command" >/tmp/out/log 2>&1 </dev/null
	rc=$?
	took=$(($(date +%s) - start))
	if [ $rc -eq 0 ]; then
		passed=$((passed + 1))
		echo "vm: PASS $name ($took s)"
		grep 'SKIPPED' /tmp/out/log | sort -u
		tail -n 1 /tmp/out/log
	else
		failed=$((failed + 1))
		cat /tmp/out/log
		echo "vm: FAIL $name (exit $rc, $took s)"
	fi
done </list
echo "vm: DONE $passed passed, $failed failed"
poweroff -f
INIT
	chmod +x "$1/init"
}

# What to run, by name, in this order.
names_of_all()
{
	local root=$1 file
	[ ! -e "$root/usr/bin/postern" ] || echo "doctor run"
	for file in "$root"/tests/bpf/* "$root"/tests/agree/agree "$root"/tests/agree/*/* "$root"/tests/kernels/*.sh; do
		[ ! -f "$file" ] || echo "${file#"$root"/tests/}"
	done | awk '!seen[$0]++'
}

command_of()
{
	case $1 in
	doctor) echo "postern doctor" ;;
	run) echo "postern run --allow 1.1.1.1 -- true" ;;
	bpf/*) echo "TEST_LIGHT=1 /tests/$1" ;;
	agree/agree) echo "/tests/$1 -n ${VM_AGREE_QUERIES:-50000}" ;;
	agree/dns/*) echo "/tests/$1 -n ${VM_AGREE_MESSAGES:-5000}" ;;
	agree/frames/*) echo "/tests/$1 -n ${VM_AGREE_FRAMES:-20000}" ;;
	kernels/*) echo "sh /tests/$1" ;;
	*.sh) echo "${VM_BRIEF:+BRIEF=1 }sh /tests/kernels/$1" ;;
	*)
		echo "vm: what is $1?" >&2
		return 1
		;;
	esac
}

# write_list ROOT [NAME...]: lines of NAME<tab>COMMAND.
write_list()
{
	local root=$1 name command
	shift
	# shellcheck disable=SC2046 # names have no spaces
	[ $# -gt 0 ] || set -- $(names_of_all "$root")
	for name; do
		command=$(command_of "$name")
		printf '%s\t%s\n' "$name" "$command"
	done >"$root/list"
}

# place_tests ROOT [NAME...]: the large programs only where they are wanted.
place_tests()
{
	local root=$1 programs
	shift
	case " $* " in
	"  " | *" bpf/"* | *" lsm.sh "*) place "$root" tests/bpf "$B"/tests/bpf/* ;;
	esac
	case " $* " in
	"  " | *" agree/"*)
		place "$root" tests/agree "$B"/tests/agree/agre[e]
		place "$root" tests/agree/dns "$B"/tests/agree/dns/agre[e]
		place "$root" tests/agree/frames "$B"/tests/agree/frames/frame[s]
		;;
	esac
	mapfile -t programs < <(find "$B/tests/tools" -maxdepth 1 -type f)
	place "$root" tests/tools "${programs[@]}"
	place "$root" tests/kernels tests/kernels/*
}

# pack VERSION [NAME...]: the RAM disk
pack()
{
	local version=$1 root=$vm/$1/initramfs programs
	shift
	shopt -s nullglob
	rm -rf "$root"
	mkdir -p "$root/bin" "$root/sys" "$root/usr/bin" "$root/etc"
	echo "root:x:0:0::/root:/bin/sh" >"$root/etc/passwd"
	echo "root:x:0:" >"$root/etc/group"
	cp "$(command -v busybox)" "$root/bin/busybox"
	place "$root" usr/bin "$B"/poster[n] "$B"/postern[d] "$B"/postern-rela[y]
	place_tests "$root" "$@"
	mapfile -t programs < <(command -v ip tc nft bpftool dnsmasq openssl microsocks)
	place "$root" usr/sbin "${programs[@]}"
	place_modules "$version" "$root"
	write_init "$root"
	write_list "$root" "$@"
	shopt -u nullglob
	# Not compressed: the emulated processor would have to undo it. What cannot be stripped stays as it is.
	find "$root/usr" "$root/tests" "$root/lib" -type f -exec strip --strip-debug {} + 2>/dev/null || true
	(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$vm/$version/initramfs.cpio"
}

# boot VERSION: prints what the list said; fails when anything failed or the end was not reached.
boot()
{
	local version=$1 start=$SECONDS
	timeout -k 5 "$limit_s" qemu-system-x86_64 -accel tcg,thread=multi -cpu max,cx16=off -smp 2 -m 768 \
		-nographic -no-reboot -nodefaults -serial stdio -monitor none \
		-kernel "$vm/$version/root/boot/"vmlinuz-* -initrd "$vm/$version/initramfs.cpio" \
		-append "console=ttyS0 loglevel=3 panic=-1 random.trust_cpu=on" \
		</dev/null >"$vm/$version/console.log" 2>&1 || true
	tr -d '\r' <"$vm/$version/console.log" | sed -n '/^vm: kernel/,$p'
	if ! grep -q '^vm: DONE [1-9][0-9]* passed, 0 failed' "$vm/$version/console.log"; then
		echo "kernels: $version FAILED after $((SECONDS - start)) s, see $B/vm/$version/console.log"
		return 1
	fi
	echo "kernels: $version passed in $((SECONDS - start)) s"
}

# Says why there can be no VM, if so.
why_none()
{
	local program
	for program in qemu-system-x86_64 busybox cpio xz; do
		command -v "$program" >/dev/null || {
			echo "$program is not installed (tools/deps.sh kernels)"
			return 0
		}
	done
	fetch 6.1 2>/dev/null || echo "no kernel 6.1 was fetched, and none can be (build/vm/6.1/apt.log)"
}

case ${1-} in
one)
	why=$(why_none)
	if [ -n "$why" ]; then
		echo "SKIPPED tests/kernels: $why"
		echo "kernels: 0 passed, 0 failed, 1 skipped by name"
		exit 0
	fi
	VM_BRIEF=1 VM_LIMIT_S=${VM_LIMIT_S:-300} exec "$0" 6.1 lsm.sh device.sh
	;;
fetch)
	fetch 6.1
	fetch 6.12
	;;
all)
	failed=0
	"$0" 6.1 || failed=1
	"$0" 6.12 || failed=1
	exit $failed
	;;
6.*)
	version=$1
	shift
	fetch "$version"
	pack "$version" "$@"
	boot "$version"
	;;
*)
	sed -n '3,9s/^# \?//p' "$0" >&2
	exit 2
	;;
esac

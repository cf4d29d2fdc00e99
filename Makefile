# SPDX-License-Identifier: MIT
# Postern: everything is built out of tree into $(B). `make help` lists the targets.
#   make B=build/clang CC=clang-14    a second build beside the first
#   make -k unit ROOMS=base           only the tests that need no more than this room

B ?= build
ifeq ($(origin CC),default)
CC = gcc
endif
CLANG ?= $(firstword $(shell command -v clang-14 clang) clang)
BPFTOOL ?= $(firstword $(shell command -v bpftool) /usr/sbin/bpftool)
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= /lib/systemd/system
FUZZ_SECONDS ?= 60
export B

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
	-Wformat=2 -Wundef -Wwrite-strings -Wcast-qual -Wconversion -Wimplicit-fallthrough -Werror
CFLAGS ?= -O2 -g
# _GNU_SOURCE is empty on purpose: a source that says `#define _GNU_SOURCE` itself agrees with it.
BASE = -std=gnu11 -D_GNU_SOURCE= -Iinclude -Iuser -I. -isystem $(B) $(WARN)
HARDEN = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
HARDEN_LD = -pie -Wl,-z,relro,-z,now,-z,noexecstack
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
BPF_CFLAGS = -g -O2 -target bpf -mcpu=v3 -fno-strict-aliasing -Wall -Werror -Iinclude -Ibpf \
	$(if $(MULTIARCH),-idirafter /usr/include/$(MULTIARCH))
# One line for each step; V=1 shows the commands.
say = @$(if $(V),set -x;,echo '  $(1) $@';) mkdir -p $(@D);
# Compiles for the kernel: where dependencies go, and flags more. BTF needs -g, and with it comes DWARF, half of an object
# that is a part of each program: `gen object` leaves it out.
bpf = $(call say,BPF ) $(CLANG) $(BPF_CFLAGS) $(2) -MMD -MP -MF $(1) -MT $@ -c $< -o $@.whole && \
	$(BPFTOOL) gen object $@ $@.whole && rm $@.whole

LIBS = $(shell $(PKG_CONFIG) --libs libbpf libidn2 libpsl) -lelf -lz
TEST_LIBS = -lcmocka -ljson-c $(LIBS)
# What the daemon's HTTP server needs and the command line does not.
HTTP_LIBS = $(shell $(PKG_CONFIG) --libs libmicrohttpd libcrypto)

# Rooms, in the order of their dependencies (tools/layers.sh holds them to it).
PURE = base policy table dns events
ROOMS ?= $(PURE)
comma = ,
room = $(foreach r,$(1),$(wildcard user/$(r)/*.c))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
asan = $(patsubst %.c,$(B)/asan/obj/%.o,$(1))
fuzz = $(patsubst %.c,$(B)/fuzz/obj/%.o,$(1))

# What the relay, and nothing with a privilege, is linked to.
RELAY_LIBS = $(shell $(PKG_CONFIG) --libs libevent openssl libnghttp2)

CLI = $(filter-out user/cli/main.c,$(call room,net supervise cli))
# The command line speaks to the daemon's socket; it serves nothing.
API_CLIENT = $(wildcard user/api/client.c)
API = $(filter-out $(API_CLIENT),$(call room,api))
# What speaks HTTP; its tests bring routes of their own.
API_SERVER = $(addprefix user/api/,server.c exchange.c streams.c queue.c query.c caller.c share.c)
DAEMON = $(filter-out user/daemon/main.c,$(call room,daemon))
POSTERN = $(call room,$(PURE) kern net supervise cli) $(API_CLIENT)
POSTERND = $(call room,$(PURE) kern net supervise) $(API) $(DAEMON) $(wildcard user/daemon/main.c)
RELAY = $(call room,base dns) $(filter-out user/relay/main.c,$(call room,relay))
# The programs that there are sources for.
BINARIES = $(if $(wildcard user/cli/main.c),$(B)/postern) $(if $(wildcard user/daemon/main.c),$(B)/posternd) \
	$(if $(wildcard user/relay/main.c),$(B)/postern-relay)
TESTLIB = $(wildcard tests/lib/*.c)
UNIT = $(basename $(wildcard tests/unit/test_*.c))
UNIT_ASAN = $(filter-out %_oom,$(UNIT))
# Tests of the command line, of kern, of the API and of the daemon need more than the pure rooms.
UNIT_CLI = $(filter tests/unit/test_cli_%,$(UNIT))
UNIT_KERN = $(filter tests/unit/test_kern_%,$(UNIT))
UNIT_API = $(filter tests/unit/test_api_%,$(UNIT))
UNIT_HTTP = $(filter tests/unit/test_http_%,$(UNIT))
UNIT_RELAY = $(filter tests/unit/test_relay_%,$(UNIT))
# And what reads it on the other side.
UNIT_SUPERVISE = $(filter tests/unit/test_supervise_%,$(UNIT))
SUPERVISE = $(call room,kern supervise) $(wildcard user/relay/config*.c)
FUZZ_RELAY = $(filter tests/fuzz/fuzz_relay_%,$(FUZZERS))
UNIT_DAEMON = $(filter $(addprefix tests/unit/test_,daemon_% config% store%),$(UNIT))
BPFTESTS = $(basename $(wildcard tests/bpf/test_*.c))
FUZZERS = $(basename $(wildcard tests/fuzz/fuzz_*.c))
TOOLS = $(patsubst tests/lib/%.c,$(B)/tests/%,$(wildcard tests/lib/tools/*.c)) \
	$(patsubst tests/lib/musl/%.c,$(B)/tests/tools/musl/%,$(wildcard tests/lib/musl/*.c)) \
	$(patsubst tests/lib/preload/%.c,$(B)/tests/preload/%.so,$(wildcard tests/lib/preload/*.c))
BENCH = $(patsubst tests/bench/%.c,$(B)/bench/%,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c)))
BENCH_BPF = $(patsubst tests/bench/%.bpf.c,$(B)/bench/%.bpf.o,$(wildcard tests/bench/*.bpf.c))
SALTED = $(if $(wildcard user/daemon/main.c),$(B)/salted/posternd)
# The rival of the race for the first connection.
RACE = $(B)/tests/race/snoop $(B)/tests/race/snoop.bpf.o
SKELETONS = $(patsubst %.bpf.c,$(B)/%.skel.h,$(notdir $(wildcard bpf/*.bpf.c tests/bpf/*.bpf.c)))
AGREE = $(if $(wildcard tests/agree/agree.c),$(addprefix $(B)/tests/agree/,agree dns/agree frames/frames packet/packets))

all: $(BINARIES)

$(B)/postern: $(call obj,$(POSTERN))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/posternd: $(call obj,$(POSTERND))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS) $(HTTP_LIBS)

$(B)/postern-relay: $(call obj,$(RELAY) $(wildcard user/relay/main.c))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS) $(RELAY_LIBS)

# Dependencies are written by -MD, not -MMD: a skeleton is found through -isystem.
# The object for the kernel, and its skeleton (system header: it is not ours to warn about).
$(B)/%.bpf.o: bpf/%.bpf.c
	$(call bpf,$(B)/$*.bpf.d)
$(B)/%.bpf.o: tests/bpf/%.bpf.c
	$(call bpf,$(B)/$*.bpf.d)
$(B)/bench/%.bpf.o: tests/bench/%.bpf.c
	$(call bpf,$(B)/$*.bpf.d)
$(B)/%.skel.h: $(B)/%.bpf.o
	$(call say,SKEL) $(BPFTOOL) gen skeleton $< name $*_bpf > $@.tmp && mv $@.tmp $@

# A daemon whose programs are other ones: what an upgrade is tested with.
$(B)/salted/postern.bpf.o: bpf/postern.bpf.c tests/lib/salt.bpf.h
	$(call bpf,$(B)/salted.bpf.d,-include tests/lib/salt.bpf.h)
$(B)/salted/postern.skel.h: $(B)/salted/postern.bpf.o
	$(call say,SKEL) $(BPFTOOL) gen skeleton $< name postern_bpf > $@.tmp && mv $@.tmp $@
$(B)/salted/load.o: user/kern/load.c $(B)/salted/postern.skel.h
	$(call say,CC  ) $(CC) -isystem $(B)/salted $(BASE) $(HARDEN) $(CFLAGS) $(CPPFLAGS) -MD -MP -c $< -o $@
$(B)/salted/posternd: $(filter-out %/kern/load.o,$(call obj,$(POSTERND))) $(B)/salted/load.o
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS) $(HTTP_LIBS)

$(B)/obj/%.o: %.c
	$(call say,CC  ) $(CC) $(BASE) $(HARDEN) $(CFLAGS) $(CPPFLAGS) -MD -MP -c $< -o $@
$(B)/asan/obj/%.o: %.c
	$(call say,CC  ) $(CC) $(BASE) $(SANITIZE) -O1 -g -MD -MP -c $< -o $@
$(B)/fuzz/obj/%.o: %.c
	$(call say,CC  ) $(CLANG) $(BASE) $(SANITIZE) -fsanitize=fuzzer-no-link -O1 -g -MD -MP -c $< -o $@

$(foreach v,obj asan/obj,$(patsubst %.c,$(B)/$(v)/%.o,$(call room,kern) $(wildcard tests/bpf/*.c))): \
	| $(B)/postern.skel.h $(B)/members.skel.h
# -MMD leaves system headers out, and so the skeletons: who includes one is made again with it.
$(B)/obj/user/kern/load.o $(B)/asan/obj/user/kern/load.o: $(B)/postern.skel.h
$(B)/obj/user/kern/lsm.o $(B)/asan/obj/user/kern/lsm.o: $(B)/lsm.skel.h
$(B)/obj/user/kern/members_sockets.o $(B)/asan/obj/user/kern/members_sockets.o: $(B)/members.skel.h
$(call obj,$(wildcard tests/agree/kernel.c)): $(B)/agree.skel.h
$(call obj,$(wildcard tests/agree/*.c)): | $(B)/agree.skel.h
$(call obj,tests/agree/dns/kernel.c): $(B)/agree_dns.skel.h
$(call obj,tests/bpf/test_packet.c): $(B)/packet.skel.h
$(call obj,$(wildcard tests/bpf/test_answer*.c)): $(B)/answer.skel.h
# The agreement tests compile the decider and the DNS reader natively; nothing else on the user side sees bpf/.
$(call obj,$(wildcard tests/agree/*.c tests/agree/dns/*.c tests/agree/packet/*.c)): BASE += -Ibpf
$(call asan,tests/agree/dns/native.c) $(call fuzz,tests/agree/dns/native.c): BASE += -Ibpf
$(B)/fuzz/tests/fuzz/fuzz_dns: $(call fuzz,tests/agree/dns/native.c)
$(B)/asan/tests/fuzz/fuzz_dns: $(call asan,tests/agree/dns/native.c)
$(B)/fuzz/tests/fuzz/fuzz_http: $(call fuzz,$(API_SERVER))
$(B)/asan/tests/fuzz/fuzz_http: $(call asan,$(API_SERVER))
$(B)/fuzz/tests/fuzz/fuzz_http $(B)/asan/tests/fuzz/fuzz_http: TEST_LIBS += $(HTTP_LIBS)
$(B)/fuzz/tests/fuzz/fuzz_request: $(call fuzz,$(API))
$(B)/asan/tests/fuzz/fuzz_request: $(call asan,$(API))
$(B)/fuzz/tests/fuzz/fuzz_request $(B)/asan/tests/fuzz/fuzz_request: TEST_LIBS += $(HTTP_LIBS)

$(B)/fuzz/tests/fuzz/fuzz_supervise: $(call fuzz,user/supervise/message.c)
$(B)/asan/tests/fuzz/fuzz_supervise: $(call asan,user/supervise/message.c)
$(addprefix $(B)/fuzz/,$(FUZZ_RELAY)): $(call fuzz,$(filter user/relay/%,$(RELAY)))
$(addprefix $(B)/asan/,$(FUZZ_RELAY)): $(call asan,$(filter user/relay/%,$(RELAY)))
$(foreach v,fuzz asan,$(addprefix $(B)/$(v)/,$(FUZZ_RELAY))): TEST_LIBS += $(RELAY_LIBS)

# The DNS service alone: its tests are the starter, and the session that it works for.
$(foreach v,$(B) $(B)/asan,$(addprefix $(v)/,$(filter tests/unit/test_relay_dns%,$(UNIT_RELAY)))): TEST_LIBS += $(DNS_WRAP)
$(foreach v,fuzz asan,$(addprefix $(B)/$(v)/,$(filter %/fuzz_relay_dns,$(FUZZ_RELAY)))): TEST_LIBS += $(DNS_WRAP)
# One connection of HTTP/2: its session, policy and destinations are played.
$(foreach v,fuzz asan,$(addprefix $(B)/$(v)/,$(filter %/fuzz_relay_h2,$(FUZZ_RELAY)))): TEST_LIBS += \
	$(addprefix -Wl$(comma)--wrap=,session_end session_judge session_deny session_report relay_policy_name \
	relay_policy_transform relay_dial relay_dial_cancel)
DNS_WRAP = $(addprefix -Wl$(comma)--wrap=,control_ask control_forget control_event session_end)
comma = ,

# Tests: one program each, of every object among its prerequisites.
$(addprefix $(B)/,$(UNIT)): $(B)/%: $(B)/obj/%.o $(call obj,$(call room,$(ROOMS)) $(TESTLIB))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)
$(addprefix $(B)/asan/,$(UNIT_ASAN)): $(B)/asan/%: $(B)/asan/obj/%.o \
		$(call asan,$(call room,$(ROOMS)) $(TESTLIB))
	$(call say,LINK) $(CC) $(SANITIZE) -o $@ $^ $(TEST_LIBS)
$(addprefix $(B)/,$(UNIT_CLI)): $(call obj,$(call room,kern) $(CLI) $(API_CLIENT))
$(addprefix $(B)/,$(UNIT_KERN)): $(call obj,$(call room,kern))
$(addprefix $(B)/asan/,$(filter-out %_oom,$(UNIT_CLI))): $(call asan,$(call room,kern) $(CLI) $(API_CLIENT))
$(addprefix $(B)/asan/,$(filter-out %_oom,$(UNIT_KERN))): $(call asan,$(call room,kern))
# `make unit API= DAEMON=user/daemon/config.c` links less, while the rest is not finished.
$(addprefix $(B)/,$(UNIT_API)): $(call obj,$(API_CLIENT) $(API))
$(addprefix $(B)/,$(UNIT_HTTP)): $(call obj,$(API_CLIENT) $(API_SERVER))
$(addprefix $(B)/asan/,$(UNIT_HTTP)): $(call asan,$(API_CLIENT) $(API_SERVER))
$(addprefix $(B)/,$(UNIT_RELAY)): $(call obj,$(filter user/relay/%,$(RELAY)))
$(addprefix $(B)/asan/,$(UNIT_RELAY)): $(call asan,$(filter user/relay/%,$(RELAY)))
$(foreach v,$(B) $(B)/asan,$(addprefix $(v)/,$(UNIT_RELAY))): TEST_LIBS += $(RELAY_LIBS)
# Tests of HTTP play session, policy, dialling and starter themselves.
RELAY_WRAPS = session_end session_judge session_deny session_report relay_policy_name relay_policy_transform \
	relay_dial relay_dial_cancel relay_resolve relay_resolve_cancel control_ask control_forget
$(foreach v,$(B) $(B)/asan,$(addprefix $(v)/tests/unit/test_relay_,http http_tls h2 h2_attack smuggling leaf)): \
	TEST_LIBS += $(addprefix -Wl$(comma)--wrap=,$(RELAY_WRAPS))
$(addprefix $(B)/,$(UNIT_SUPERVISE)): $(call obj,$(SUPERVISE))
$(addprefix $(B)/asan/,$(UNIT_SUPERVISE)): $(call asan,$(SUPERVISE))
$(addprefix $(B)/,$(UNIT_DAEMON)): $(call obj,$(call room,kern net supervise) $(API) $(DAEMON))
$(addprefix $(B)/asan/,$(filter-out %_oom,$(UNIT_API))): $(call asan,$(API_CLIENT) $(API))
$(addprefix $(B)/asan/,$(filter-out %_oom,$(UNIT_DAEMON))): $(call asan,$(call room,kern net supervise) $(API) $(DAEMON))
$(foreach v,$(B) $(B)/asan,$(addprefix $(v)/,$(UNIT_API) $(UNIT_HTTP) $(UNIT_DAEMON))): TEST_LIBS += $(HTTP_LIBS)
$(addprefix $(B)/,$(BPFTESTS)): $(B)/%: $(B)/obj/%.o \
		$(call obj,$(call room,$(PURE) kern) $(TESTLIB))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)
$(B)/tests/bpf/test_relay_device $(B)/tests/bpf/test_relay_device_change: $(call obj,$(call room,net))
$(B)/tests/agree/agree: $(call obj,$(wildcard tests/agree/*.c) $(call room,$(PURE) kern) $(TESTLIB))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/agree/dns/agree: $(call obj,$(wildcard tests/agree/dns/*.c) tests/agree/options.c \
		$(call room,base policy table dns) $(TESTLIB))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/agree/packet/packets: $(call obj,$(wildcard tests/agree/packet/*.c) tests/agree/frames/read.c)
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^
# The policies of the first, and the oracle; not its legs.
$(B)/tests/agree/frames/frames: $(call obj,$(wildcard tests/agree/frames/*.c) $(addprefix tests/agree/,generate.c \
		options.c rows.c) $(call room,$(PURE) kern))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/bench/webload: LIBS += $(RELAY_LIBS)
$(BENCH): $(B)/bench/%: $(B)/obj/tests/bench/%.o \
		$(call obj,$(wildcard tests/bench/lib/*.c) $(call room,$(PURE) kern))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)
$(addprefix $(B)/fuzz/,$(FUZZERS)): $(B)/fuzz/%: $(B)/fuzz/obj/%.o \
		$(call fuzz,$(call room,$(PURE)))
	$(call say,LINK) $(CLANG) $(SANITIZE) -fsanitize=fuzzer -o $@ $^ $(TEST_LIBS)
$(addprefix $(B)/asan/,$(FUZZERS)): $(B)/asan/%: $(B)/asan/obj/%.o \
		$(call asan,$(wildcard tests/fuzz/replay.c) $(call room,$(PURE)))
	$(call say,LINK) $(CC) $(SANITIZE) -o $@ $^ $(TEST_LIBS)

# What the end-to-end tests run inside a sandbox: static, so that it needs nothing there.
$(B)/tests/tools/%: tests/lib/tools/%.c tests/lib/tools/tool.h
	$(call say,LINK) $(CC) $(BASE) $(CFLAGS) -static -o $@ $<
$(B)/tests/tools/uring $(B)/tests/tools/uringdns: tests/lib/tools/uring.h
$(B)/tests/tools/musl/%: tests/lib/musl/%.c
	$(call say,LINK) musl-gcc -std=gnu11 $(WARN) $(CFLAGS) -static -o $@ $<

# What a program that is tested is started with, to see another kernel.
$(B)/tests/preload/%.so: tests/lib/preload/%.c
	$(call say,LINK) $(CC) $(BASE) $(CFLAGS) -fPIC -shared -o $@ $<

$(B)/tests/race/snoop: $(call obj,tests/race/snoop.c $(call room,$(PURE) kern))
	$(call say,LINK) $(CC) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/race/%.bpf.o: tests/race/%.bpf.c
	$(call bpf,$(B)/race-$*.bpf.d)

UNIT_PROGRAMS = $(addprefix $(B)/,$(UNIT)) $(addprefix $(B)/asan/,$(UNIT_ASAN))
BPF_PROGRAMS = $(addprefix $(B)/,$(BPFTESTS))
# `plain` is what a second compiler builds; `programs` is everything that `make test` runs.
plain: all $(TOOLS) $(RACE) $(SALTED) $(addprefix $(B)/,$(UNIT)) $(BPF_PROGRAMS) $(AGREE)
programs: plain $(UNIT_PROGRAMS) $(addprefix $(B)/asan/,$(FUZZERS))

run:
	@tools/deps.sh run
	@$(MAKE) --no-print-directory all
	@tools/demo.sh

test:
	@tools/deps.sh
	@tools/e2b-sdk.sh
	@+MAKE='$(MAKE)' tools/test.sh

unit: $(UNIT_PROGRAMS)
	@tests/run.sh --beside unit $^
bpf: $(BPF_PROGRAMS)
	@tests/run.sh bpf $^
agree: $(AGREE)
	@tests/run.sh agree $^ tests/agree/mutants.sh tests/agree/dns/mutants.sh \
		tests/agree/sample.sh
# Every mutant that rules make of the decider, the parser and the DNS reader; goes on where it was stopped.
MUTANT_SECONDS ?= 7200
mutants: $(AGREE)
	@tests/agree/mutate.py --seconds $(MUTANT_SECONDS)
# Twenty million frames, and mistakes planted in what judges them: each is compiled and loaded, ten minutes in all.
agree-long: $(AGREE)
	$(B)/tests/agree/frames/frames -n 20000000
	@TEST_LIMIT_S=7200 tests/run.sh agree-long tests/agree/frames/mutants.sh
replay: $(addprefix $(B)/asan/,$(FUZZERS))
	@tests/run.sh --corpus replay $^
# Where the SDK cannot be fetched, its own tests are skipped by name.
e2e: all $(TOOLS) $(RACE) $(SALTED)
	@tools/e2b-sdk.sh || true
	@tests/run.sh --pytest e2e tests/e2e tests/bypass
# Every row of the catalogue of ways out, in each mode and by whatever holds a sandbox: a table, and "N passed, N failed".
BYPASS = bpf/test_lsm bpf/test_members bpf/test_unix bpf/test_cgroup bpf/test_device bpf/test_device_life \
	bpf/test_sandbox bpf/test_bounds bpf/test_pin bpf/test_flip bpf/test_packet unit/test_json \
	unit/test_relay_smuggling unit/test_relay_http unit/test_relay_socks agree/agree
bypass: all $(TOOLS) $(SALTED) $(addprefix $(B)/tests/,$(BYPASS))
	@tools/deps.sh
	@tools/bypass.py --self-test
	@tools/bypass.py $(BYPASS)
# Each promise of docs/SPECIFICATION.md names a test, and that one has run.
spec:
	@tools/spec.py --self-test && tools/bypass.py --self-test && tools/spec.py
fuzz: $(addprefix $(B)/fuzz/,$(FUZZERS))
	@tests/run.sh --fuzz $(FUZZ_SECONDS) fuzz $^
# The counts of the issue instead of what `make test` has time for, where a test knows both.
LONG_E2E = $(shell grep -lwE 'LONG|PST_LONG' tests/e2e/test_*.py tests/bypass/test_*.py)
test-long: all $(TOOLS) $(SALTED) $(B)/tests/bpf/test_flip
	@tools/e2b-sdk.sh || true
	@PST_LONG=1 TEST_LIMIT_S=3600 tests/run.sh bpf-long $(B)/tests/bpf/test_flip
	@PST_LONG=1 AT_ONCE=1 TEST_LIMIT_S=14400 tests/run.sh --pytest e2e-long $(LONG_E2E)
# What a night is for: ten million DNS messages, and each fuzz target for ten minutes.
fuzz-long: FUZZ_SECONDS = 600
fuzz-long: $(AGREE) fuzz
	$(B)/tests/agree/dns/agree -n 10000000
bench:
	@tools/deps.sh
	@$(MAKE) --no-print-directory all $(BENCH) $(BENCH_BPF) $(RACE) $(addprefix \
		$(B)/tests/tools/,race fastdns)
	@tests/bench/run.sh
	@tests/bench/daemon.py
	@tests/bench/device.py
	@tests/bench/relay.py
# Beside what Debian has for the same, in one run; plots of the table go to docs/plots.
bench-peers:
	@tools/deps.sh
	@$(MAKE) --no-print-directory all $(addprefix $(B)/bench/,rates cidrs requests) $(RACE) $(addprefix \
		$(B)/tests/tools/,race fastdns)
	@tests/bench/peers.py
	@tests/bench/plot.py
# Lives of sandboxes until what comes first; a short one is a part of `make test`.
SOAK_LIVES ?= 10000
SOAK_SECONDS ?= 3600
soak: all $(TOOLS)
	@tests/lib/soak.py $(SOAK_LIVES) $(SOAK_SECONDS)
test-kernels: all $(TOOLS) $(BPF_PROGRAMS) $(AGREE)
	@tools/deps.sh kernels
	@tools/vm.sh all
	@tests/run.sh --pytest guest tests/e2e/test_guest.py
kernels: test-kernels
# One of them alone, in half a minute; skipped by name where there can be no VM.
boot: all $(TOOLS) $(B)/tests/bpf/test_lsm
	@tools/vm.sh one
# clang-tidy reads what includes the skeletons.
lint: $(SKELETONS)
	@tools/lint.sh
layers:
	@tools/layers.sh && tools/layers.sh --self-test

# dist/ goes to where it is installed: its @NAMES@ are filled in. What an operator may have changed stays.
PLACES = -e 's|@SBINDIR@|$(PREFIX)/sbin|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g'
MAN1 = $(DESTDIR)$(PREFIX)/share/man/man1
MAN8 = $(DESTDIR)$(PREFIX)/share/man/man8
COMPLETIONS = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ETC = $(DESTDIR)$(SYSCONFDIR)/postern
install: all $(if $(wildcard user/daemon/main.c),install-daemon)
	install -D -m 0755 $(B)/postern $(DESTDIR)$(PREFIX)/bin/postern
	install -D -m 0711 $(B)/postern-relay $(DESTDIR)$(PREFIX)/sbin/postern-relay
	install -D -m 0644 -t $(MAN1) docs/man/*.1
	install -D -m 0644 tools/completion.bash $(COMPLETIONS)/postern

install-daemon: $(B)/posternd
	install -D -m 0755 $(B)/posternd $(DESTDIR)$(PREFIX)/sbin/posternd
	install -D -m 0644 -t $(MAN8) docs/man/*.8
	install -D -m 0644 dist/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/postern.conf
	install -D -m 0644 dist/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/postern.conf
	install -d -m 0755 $(DESTDIR)$(UNITDIR) $(ETC)
	install -d -m 0700 $(ETC)/sandboxes.d
	sed $(PLACES) dist/posternd.service.in >$(DESTDIR)$(UNITDIR)/posternd.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/posternd.service
	[ -e $(ETC)/posternd.json ] || \
		(umask 077 && sed $(PLACES) dist/posternd.json.in >$(ETC)/posternd.json)

# The configuration, the state and what is in force stay.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/postern $(addprefix $(DESTDIR)$(PREFIX)/sbin/,posternd postern-relay) \
		$(COMPLETIONS)/postern \
		$(addprefix $(MAN1)/,$(notdir $(wildcard docs/man/*.1))) \
		$(addprefix $(MAN8)/,$(notdir $(wildcard docs/man/*.8))) \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d/postern.conf \
		$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/postern.conf $(DESTDIR)$(UNITDIR)/posternd.service

clean:
	rm -rf $(B)

help:
	@echo 'all      build/postern, build/posternd and build/postern-relay and nothing else (the default)'
	@echo 'run      install what is missing, build, show a command allowed here and denied there'
	@echo 'test     everything CI runs; its parts: lint layers unit bpf agree replay e2e'
	@echo 'bypass   every known way out in each mode by each kind: a table, in ten minutes'
	@echo 'spec     the promises of docs/SPECIFICATION.md against what the last runs left'
	@echo 'boot     one boot of Linux 6.1: programs load, a device is held'
	@echo 'test-long  the tests that count crashes, flips and changes, with their full counts'
	@echo 'agree-long  twenty million frames of devices against the model, and planted mistakes'
	@echo 'mutants  each mutant of what judges, made by rules, is found by the agreement tests (MUTANT_SECONDS)'
	@echo 'fuzz     each fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS))'
	@echo 'fuzz-long  the same for 600 s, and the agreement of DNS over 10,000,000 messages'
	@echo 'bench    the measurements of docs/PERFORMANCE.md'
	@echo 'bench-peers  Postern beside nftables, dnsmasq and ipset: docs/PERFORMANCE.md, and its plots'
	@echo 'soak     SOAK_LIVES ($(SOAK_LIVES)) lives of sandboxes, at most SOAK_SECONDS ($(SOAK_SECONDS)): nothing is left'
	@echo 'test-kernels  what must hold on every kernel, on stock ones of Debian in a VM (kernels: the same)'
	@echo 'install  below DESTDIR and PREFIX ($(PREFIX)), SYSCONFDIR ($(SYSCONFDIR)), UNITDIR; uninstall; clean'

.PHONY: all plain programs run test test-long unit bpf agree mutants agree-long replay e2e bypass spec fuzz fuzz-long bench bench-peers soak kernels test-kernels boot lint layers \
	install install-daemon uninstall clean help
.DELETE_ON_ERROR:
.SECONDARY:
-include $(wildcard $(B)/*.d $(B)/salted/*.d) $(shell find $(B)/obj $(B)/asan $(B)/fuzz -name '*.d' 2>/dev/null)

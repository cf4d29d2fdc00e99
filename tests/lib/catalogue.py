# SPDX-License-Identifier: MIT
"""
The catalogue of ways out, 75 rows: which tests try each, and where a row must have been tried, by kind of sandbox and mode.
What a kind cannot close says so, with what to use instead; docs/THREAT-MODEL.md is the same in prose. tools/bypass.py makes
the table from what ran: a row, kind or mode without a case that passed fails it.
"""

from collections import namedtuple

from evidence import CGROUP, CLSACT, DENY_ALL, HOST, OPEN, RESTRICTED, TCX

ALL = (OPEN, DENY_ALL, RESTRICTED)
CLOSED = (DENY_ALL, RESTRICTED)  # of what only a mode that denies closes
NAMES = (RESTRICTED,)  # open resolves and reaches everything; deny_all does not resolve (row 50)
ANY = ()  # tried, in whichever mode

# tests: patterns of fnmatch for records' ids. A program's records do not say where they were: (pattern, kind).
# places: kind -> the modes that must be there. open: kind -> why it cannot be closed there, and what to use instead.
Row = namedtuple("Row", "number way tests places open skips")

BOTH = {TCX: ALL, CLSACT: ALL}
EVERYWHERE = {CGROUP: ALL, **BOTH}
BY_NAMES = {CGROUP: NAMES, TCX: NAMES, CLSACT: NAMES}
DEVICES = "a cgroup has sockets, not frames: the kernel makes these headers"
DAEMONS = {HOST: ANY}


def row(number, way, tests, places, *, unclosable=None, skips=False):
    """skips: a kernel may have nothing of it; then its skips are all that there is."""
    tests = tests if isinstance(tests, list) else [tests]
    return Row(number, way, [(t, None) if isinstance(t, str) else t for t in tests], places, unclosable or {}, skips)


def sends(number):
    return f"bypass/test_matrix_sends.py::test_every_way_of_sending*row{number}-*"


def frames(number):
    return f"bypass/test_matrix_frames.py::test_every_frame*row{number}-*"


ROWS = [
    # ---- sockets, cgroups, privileges ----
    row(1, "connections from before, after a tightening", [
        "bypass/test_row_01_*", "bypass/test_attack_daemon_flows.py*", "bypass/test_attack_daemon_keep.py*",
        "bypass/test_netdev_flows.py::*after_a_change*", "bypass/test_netdev_flows.py::*kept*",
        "e2e/test_netdev_daemon.py::test_a_policy_that_is_tighter*", "bypass/test_matrix_changes.py*"],
        {CGROUP: ALL, **BOTH}),
    row(2, "UDP: unconnected, connected, sendmmsg, cork", ["bypass/test_row_02_*", sends(2), frames(2)], EVERYWHERE),
    row(3, "IPv4 mapped into IPv6", ["bypass/test_row_03_*", sends(3), "bypass/test_netdev_packets.py::test_embedded*"], EVERYWHERE),
    row(4, "NAT64, 6to4, Teredo", ["bypass/test_row_04_*", sends(4), "bypass/test_lease_reach.py::*translat*"], EVERYWHERE),
    row(5, "raw sockets, own headers", ["bypass/test_row_05_*", sends(5), "bypass/test_netdev_sends.py::test_no_way*"], EVERYWHERE),
    row(6, "PACKET, XDP, VSOCK and other families", [
        "bypass/test_row_06_*", ("bpf/test_lsm.c::families_that_no_other_hook_sees", CGROUP), "bypass/test_netdev_sends.py::test_no_way*",
        ("bpf/test_members.c::finds_families_that_this_host_has", CGROUP)], {CGROUP: ALL, TCX: ALL, CLSACT: ANY}, unclosable={
            CGROUP: "VSOCK, TIPC, CAN and their like without LSM programs: told as the hole `other-families`; use LSM "
                    "(lsm=...,bpf), a seccomp profile, or modules that are not loaded",
            TCX: "VSOCK crosses no device: a VMM without a vsock device", CLSACT: "the same as TCX"}),
    row(7, "tun, tap, tunnels and forwarding of one's own", [
        "bypass/test_row_38_*tun*", "bypass/test_netdev_sends.py::test_what_a_tun*", "bypass/test_netdev_sends.py::test_tunnel*",
        "bypass/test_netdev_sends.py::test_other_devices*", "bypass/test_netdev_sends.py::test_a_bond*", frames(10)],
        {CGROUP: ANY, **BOTH}, unclosable={CGROUP: "with CAP_NET_ADMIN in the uplink's namespace: told as the hole "
                                                   "`capability`; use the netdev kind"}),
    row(8, "namespaces of one's own, and a relay inside", ["bypass/test_row_08_*", "e2e/test_inside.py::test_a_network_namespace*"], EVERYWHERE),
    row(9, "ICMP tunnels", ["bypass/test_row_09_*", sends(9), frames(9), "bypass/test_netdev_frames.py::test_ping*"], EVERYWHERE),
    row(10, "SCTP, DCCP, UDP-Lite, MPTCP, every other protocol", [
        "bypass/test_row_10_*", sends(10), frames(10), "bypass/test_netdev_frames.py::test_protocols"], EVERYWHERE),
    row(11, "data in the SYN (TCP Fast Open)", [
        "bypass/test_row_11_*", sends(11), "bypass/test_netdev_sends.py::test_a_syn_with*"], EVERYWHERE),
    row(12, "io_uring", ["bypass/test_row_12_*", sends(12), "bypass/test_gate_sockets.py::test_io_uring*"], EVERYWHERE),
    row(13, "leaving the cgroup", [
        "e2e/test_inside.py::test_an_attempt*", "e2e/test_inside.py::test_a_child_cannot_be_born*",
        "e2e/test_inside.py::test_a_new_cgroup_mount*", ("bpf/test_members.c::finds_cgroups_above_that_others_may_write", CGROUP),
        ("bpf/test_members.c::finds_root_that_sees_other_cgroups", CGROUP)], {CGROUP: ANY},
        unclosable={CGROUP: "root with the host's cgroupfs: told as the hole `delegated`; use `postern run` or the netdev kind"}),
    row(14, "sockets from before the attach", [
        "e2e/test_run.py::test_a_network_socket_does_not*", "e2e/test_run.py::test_open_descriptors*",
        ("bpf/test_members.c::finds_sockets_made_before_joining", CGROUP), ("bpf/test_lsm.c::a_socket_from_before_is_not_used", CGROUP),
        "bypass/test_attack_daemon_flows.py::test_a_socket_carried*"], {CGROUP: ANY}, unclosable={
            CGROUP: "without LSM programs: told as the hole `earlier-sockets`, and refused unless `allowWeak`; use LSM, or "
                    "`postern run`, which hands on no socket",
            TCX: "a socket of the host's own network leaves by the host's own device: hand none in", CLSACT: "the same as TCX"}),
    row(15, "sockets that are handed in", [
        ("bpf/test_lsm.c::a_socket_that_is_handed_in_does_not_arrive", CGROUP), ("bpf/test_lsm.c::says_what_it_cannot_hold", CGROUP),
        "bypass/test_attack_daemon_flows.py::test_a_socket_carried*", "bypass/test_attack_daemon_sockets.py*",
        "e2e/test_inside.py::test_sockets_of_a_users*"],
        {CGROUP: ANY}, unclosable={CGROUP: "without LSM programs: share no unix socket with who is not held",
                                   TCX: "as row 14", CLSACT: "as row 14"}),
    row(16, "unix sockets of the host", ["bypass/test_row_16_*", ("bpf/test_unix.c::*", CGROUP)], {CGROUP: (OPEN,)}, unclosable={
        CGROUP: "below Linux 6.7: told as the hole `unix`; a namespace of its own for mounts and network",
        TCX: "no frames: no bind mount of the host's sockets", CLSACT: "the same as TCX"}),
    row(17, "answers to who calls", [
        "bypass/test_row_17_*", "bypass/test_inbound_options.py*", "bypass/test_netdev_flows.py::*peer*",
        "bypass/test_netdev_flows.py::*call*"], {CGROUP: CLOSED, TCX: CLOSED, CLSACT: CLOSED}),
    row(18, "cgroups below, threaded, in namespaces", ["bypass/test_row_18_*", "e2e/test_nested.py*"], {CGROUP: (RESTRICTED,)}),
    row(19, "programs of one's own", [
        "e2e/test_nested.py*", "e2e/test_inside.py::test_links_stay*", "bypass/test_netdev_chain.py::*program*",
        "e2e/test_netdev_daemon.py::test_programs_that_are_taken_off*"], {CGROUP: (RESTRICTED,), TCX: (RESTRICTED,), CLSACT: ANY}),
    row(20, "cgroup v1 (net_cls, net_prio) beside", ["bypass/test_row_20_*"], {CGROUP: ANY}, skips=True),
    row(21, "a cgroup that is removed and made anew", [
        ("bpf/test_cgroup.c::finds_a_known_cgroup_wherever*", CGROUP), ("bpf/test_cgroup.c::does_not_find_a_removed*", CGROUP),
        "e2e/test_api_places.py::test_a_place_that_comes*", "e2e/test_orphans.py*"],
        {CGROUP: ANY}),
    row(22, "a device that is renamed, moved, made anew", [
        "bypass/test_netdev_chain.py::test_a_device_that_changes*", "e2e/test_netdev_daemon.py::*device_that*",
        ("bpf/test_device_life.c::is_not_adopted_by_number", TCX), ("bpf/test_device_life.c::is_not_adopted_by_number_by_clsact", CLSACT)],
        {TCX: ANY, CLSACT: ANY}),
    row(23, "sending before the policy is there", [
        "bypass/test_start_races.py*", ("bpf/test_device.c::denies_until_the_first_flip", TCX),
        ("bpf/test_device.c::denies_until_the_first_flip_by_clsact", CLSACT),
        ("bpf/test_sandbox.c::denies_everything_between_attach_and_flip", CGROUP)], EVERYWHERE),
    row(24, "socket options: device, mark, transparent, repair", ["bypass/test_row_24_*", sends(24), "bypass/test_attack_names_source.py*",
                                                                "bypass/test_netdev_chain.py::test_marks*"], EVERYWHERE),
    row(25, "packets that the kernel makes: IGMP, MLD, ARP, ND", [
        "bypass/test_row_32_*join*", frames(30), frames(10), "bypass/test_netdev_neighbours.py*"],
        {CGROUP: (OPEN, RESTRICTED), **BOTH}, unclosable={
            CGROUP: "RST, last ACKs and TIME_WAIT of the kernel pass no hook: no byte of them is the sandbox's choice; use the "
                    "netdev kind where that matters"}),
    # ---- packets ----
    row(26, "fragments", [frames(26), sends(26), "bypass/test_netdev_packets.py::test_fragments*", "bypass/test_row_27_*fragments*"], EVERYWHERE),
    row(27, "IPv4 options, header lengths", ["bypass/test_row_27_*", sends(27), frames(27)], EVERYWHERE),
    row(28, "IPv6 extension headers", ["bypass/test_row_28_*", sends(28), frames(28)], EVERYWHERE),
    row(29, "VLAN, QinQ, PPPoE, MPLS, LLC, ...", [frames(29), "bypass/test_netdev_frames.py::test_tags*",
                                                 "bypass/test_netdev_frames.py::test_other_ether*"], BOTH),
    row(30, "ARP and neighbour discovery", [frames(30), "bypass/test_netdev_neighbours.py*"], BOTH),
    row(31, "sources that are not its own", [
        "bypass/test_row_31_*", frames(31), "bypass/test_netdev_packets.py::test_sources*", "bypass/test_netdev_frames.py::test_hardware*",
        "bypass/test_netdev_claims.py*"], {CGROUP: (RESTRICTED,), **BOTH}),
    row(32, "multicast and broadcast", ["bypass/test_row_32_*", frames(32)], {CGROUP: (OPEN, RESTRICTED), **BOTH}),
    row(33, "metadata services", ["bypass/test_row_33_*", sends(33), frames(33)], EVERYWHERE),
    row(34, "the host's own services", ["bypass/test_row_34_*", frames(34), "bypass/test_attack_daemon_door.py*",
                                      "bypass/test_other_namespace.py*"], {CGROUP: (OPEN, RESTRICTED), **BOTH}),
    row(35, "other sandboxes", ["bypass/test_row_35_*", "bypass/test_matrix_frames.py::test_another*",
                                "bypass/test_netdev_packets.py::test_other_sandboxes*"], {CGROUP: (OPEN, RESTRICTED), **BOTH}),
    row(36, "translation by the host", ["bypass/test_row_36_*", "bypass/test_attack_names_redirected.py*"], {CGROUP: (RESTRICTED,)}, unclosable={
        TCX: "the verdict comes before the host translates: what is allowed goes where the host's own rules send it",
        CLSACT: "the same as TCX"}),
    row(37, "lengths, checksums and segments that lie", [
        frames(37), "bypass/test_netdev_frames.py::test_headers*", "bypass/test_netdev_frames.py::test_packets_cut*",
        "bypass/test_netdev_sends.py::*checksum*", "bypass/test_netdev_sends.py::*segments*", "bypass/test_netdev_sends.py::*judged*"], BOTH),
    # ---- DNS ----
    row(38, "the resolver's address inside", ["bypass/test_row_38_*", "bypass/test_attack_names_collusion.py*",
                                            "bypass/test_netdev_dns.py::*resolvers_address*", "bypass/test_netdev_dns.py::*made_inside*",
                                            "bypass/test_netdev_dns.py::*cannot_answer*"], BY_NAMES),
    row(39, "forged, late, second, unasked replies", "bypass/test_row_39_*", BY_NAMES),
    row(40, "answers for other names, other sections", [
        "bypass/test_row_40_41_answers.py*answers*", "bypass/test_row_40_41_answers.py*section*"], {CGROUP: NAMES, TCX: NAMES}),
    row(41, "CNAME chains to somebody else", [
        "bypass/test_row_40_41_answers.py*chain*", "bypass/test_row_40_41_answers.py*name*"], {CGROUP: NAMES, TCX: NAMES}),
    row(42, "rebinding: answers with special addresses", "bypass/test_row_42_*", BY_NAMES),
    row(43, "TTLs", "bypass/test_row_43_*", {CGROUP: NAMES, TCX: NAMES}),
    row(44, "filling names, leases, questions", ["bypass/test_row_44_*", "bypass/test_netdev_flows.py::*full_table*"], BY_NAMES),
    row(45, "malformed replies", ["bypass/test_row_45_*"], BY_NAMES),
    row(46, "truncated, big, fragmented replies, DNS over TCP", [
        "bypass/test_row_46_48_*", "e2e/test_relay_dns.py::test_what_no_rule*", "e2e/test_relay_dns.py::test_questions_that_hide*"], {CGROUP: NAMES, TCX: NAMES}),
    row(47, "HTTPS and SVCB hints, ECH", ["bypass/test_row_42_*hints*", "e2e/test_relay_strict.py::*encrypted*"], BY_NAMES),
    row(48, "negative answers, ANY, several questions", [
        "bypass/test_row_46_48_*", "bypass/test_gate_messages.py*"], BY_NAMES),
    row(49, "tunnels by names", ["bypass/test_gate_messages.py*", "bypass/test_gate_sockets.py*", "bypass/test_netdev_dns.py::*question*",
                               "bypass/test_attack_names_races.py*"], BY_NAMES),
    row(50, "DoH, DoT, DoQ, another resolver", ["bypass/test_row_50_*", sends(50)], {CGROUP: CLOSED, TCX: CLOSED, CLSACT: CLOSED}),
    row(51, "patterns: case, dots, apex, suffixes", "bypass/test_row_51_*", {CGROUP: NAMES, TCX: NAMES}),
    # ---- the relay ----
    row(52, "another name at the same address, fronting", [
        "bypass/test_row_52_62_*Host*", "bypass/test_row_52_62_*host*", "bypass/test_row_52_62_*fronting*",
        "e2e/test_relay_strict.py::*other_name*", "e2e/test_relay_strict.py::*no_lease*", "e2e/test_relay_strict.py::*real_host*",
        "e2e/test_relay_strict.py::*names_nobody*", "e2e/test_relay_strict.py::*encrypted*", "e2e/test_relay_strict.py::*always_denied*"],
        {CGROUP: NAMES, TCX: NAMES, CLSACT: ANY}, unclosable={
            CGROUP: "without `hostCheck: strict` an address is what a name opens: `show` lists the hole `shared-address`"}),
    row(53, "QUIC", "e2e/test_relay_strict.py::test_quic*",
        {CGROUP: NAMES, TCX: NAMES}),
    row(54, "headers for the wrong server", ["bypass/test_row_52_62_*secret*", "e2e/test_relay_rules.py::*another_name*",
                                                  "e2e/test_relay_rules.py::*certificate*", "e2e/test_relay_rules.py::*opens_nothing*"], {CGROUP: ANY, TCX: ANY, CLSACT: ANY}),
    row(55, "a header in clear", ["bypass/test_row_52_62_*secret*", "e2e/test_relay_rules.py::test_who_has*",
                                ("unit/test_relay_http.c::no_header_goes_in_clear*", HOST)], {CGROUP: ANY, TCX: ANY}),
    row(56, "redirects", "bypass/test_row_52_62_*answers_lead*", {CGROUP: NAMES, TCX: NAMES, CLSACT: NAMES}),
    row(57, "request smuggling", ["e2e/test_relay_smuggling.py*", "bypass/test_row_52_62_*spelling*",
                                ("unit/test_relay_smuggling.c::*", HOST)], {CGROUP: ANY, TCX: ANY}),
    row(58, "reading a secret", [(f"e2e/test_relay_secrets.py::*{what}*", HOST) for what in ("reply", "proc", "told")] + [
        ("bypass/test_row_52_62_*answers_lead*", HOST), ("e2e/test_api_roles.py::*secret*", HOST), ("e2e/test_api_roles.py::*core*", HOST)], {HOST: ANY}),
    row(59, "the relay's own port", ["bypass/test_row_52_62_*port*", "bypass/test_row_52_62_*leads_a_device*",
                                   "bypass/test_row_52_62_*place_of*", "e2e/test_relay_alone.py::*origin*"], {CGROUP: ANY, TCX: ANY, CLSACT: ANY}),
    row(60, "a proxy or relay that is down", ["e2e/test_relay_proxy.py::*nothing_goes_direct*", "e2e/test_relay_life.py::test_a_relay_killed*",
                                             "e2e/test_relay_life.py::test_without*", "bypass/test_row_52_62_*from_before*"],
        {CGROUP: NAMES, TCX: NAMES, CLSACT: ANY}),
    row(61, "SOCKS5: local DNS, UDP, replies", ["bypass/test_row_52_62_*not_resolved*", "e2e/test_relay_proxy.py::*names_are_sent*",
                                              "e2e/test_relay_proxy.py::*lies*", "e2e/test_relay_proxy.py::test_udp*",
                                              ("unit/test_relay_socks.c::*", HOST)], {CGROUP: NAMES, TCX: NAMES, CLSACT: NAMES}),
    row(62, "slow heads, giant heads, many connections", ["e2e/test_relay_limits.py::*slowly*", "e2e/test_relay_limits.py::*heads*", "e2e/test_relay_limits.py::*so_many*"], {CGROUP: ANY, TCX: ANY}),
    # ---- control plane, state, resources ----
    row(63, "the API without a key, or from inside", [("e2e/test_api_roles.py*", HOST), ("bypass/test_attack_daemon_door.py*", HOST)], DAEMONS),
    row(64, "documents that are bombs", [("unit/test_json.c::*", HOST), "bypass/test_attack_daemon_tenants.py*"], DAEMONS),
    row(65, "ids that are paths", ["e2e/test_api_robust.py::*id_that*", "e2e/test_api_robust.py::*paths*",
                                 ("bpf/test_pin.c::refuses_a_name_that_is_not_one_component", HOST)], DAEMONS),
    row(66, "paths that are swapped", [("e2e/test_api_places.py::*path*", CGROUP), ("e2e/test_api_places.py::*comes_and_goes*", CGROUP),
                                        ("e2e/test_summary.py::*link*", HOST)], {CGROUP: ANY}),
    row(67, "the daemon is killed, stopped, replaced", [("e2e/test_kill.py*", CGROUP), ("e2e/test_netdev_daemon.py::test_kills*", TCX),
                                                     ("e2e/test_netdev_daemon.py::test_a_killed*", TCX)], {CGROUP: ANY, TCX: ANY}),
    row(68, "pins are removed, bpffs is unmounted", [("e2e/test_faults_state.py::*pins*", CGROUP), ("e2e/test_faults_state.py::*bpffs*", CGROUP), "e2e/test_netdev_daemon.py::test_pins*",
                                                   ("bpf/test_pin.c::*", HOST)], {HOST: ANY}),
    row(69, "a policy that is half there", [("bpf/test_flip.c::*", CGROUP), "e2e/test_flips.py*",
                                          ("bpf/test_device_life.c::lets_nothing_through_between_two_policies", TCX)], {CGROUP: ANY, TCX: ANY}),
    row(70, "maps that are full, no memory", [("bpf/test_sandbox.c::keeps_the_policy*", CGROUP), ("bpf/test_bounds.c::*", CGROUP),
                                            "e2e/test_faults_state.py::test_a_full_disk*", "bypass/test_netdev_flows.py::*full_table*"],
        {CGROUP: ANY, TCX: ANY, CLSACT: ANY}),
    row(71, "evicting somebody else's state", ["bypass/test_row_44_*", "bypass/test_netdev_flows.py::*fills_its_own*",
                                             ("bpf/test_bounds.c::*", CGROUP)], {CGROUP: NAMES, TCX: ANY, CLSACT: ANY}),
    row(72, "floods of events", [("bpf/test_bounds.c::*", CGROUP), "bypass/test_attack_daemon_tenants.py::*flood*",
                               "bypass/test_netdev_chain.py::*flood*"], {CGROUP: ANY, TCX: ANY, CLSACT: ANY}),
    row(73, "error paths of the programs", [("agree/agree", HOST), ("bpf/test_packet.c::*", HOST)], {HOST: ANY}),
    row(74, "clocks that jump", ["bypass/test_row_74_*", "bypass/test_row_43_*expired*"], {HOST: ANY, CGROUP: NAMES}),
    row(75, "numbers: sandboxes, programs", ("e2e/test_api_robust.py::test_no_more_sandboxes*", HOST), {HOST: ANY}),
]
assert [r.number for r in ROWS] == list(range(1, 76))

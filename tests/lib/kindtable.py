# SPDX-License-Identifier: MIT
"""
Which of the end-to-end and bypass tests run for which kind of sandbox. A file in WAYS runs for both, one and the same
test, but for what EXCEPT names with a reason; one in CGROUP_ALONE or OTHERWISE does not, and it says why. A file of tests
with a sandbox stands in one of the three (test_kinds.py).
"""

import fnmatch
import os

HOOKS = "a refusal of a socket call: the device has frames to judge, and the frame is what the next test sends"
PRIVILEGES = "what `postern run` takes from its command; behind a device one is root"
LOOPBACK = "the host's loopback is no part of a network of one's own: there is no such traffic to deny"
SAME = "the same as the test beside it: a device has no hooks but those of packets"
ONE_DEVICE = "the host's devices and routes are not the sandbox's to choose"
FORWARDED = "what no router passes on has no control that arrives; tests/bypass/test_netdev_*.py have such frames"
PARSER = "about the text of a policy, which no sandbox has read yet"

POSTERND = "its sandboxes are posternd's: the file itself says of which kind"
NETDEV = "of the netdev kind alone"
NO_SANDBOX = "what a program prints: no sandbox, or one that only runs"

# File -> the way into the netdev kind that fits it: kinds.py.
WAYS = {
    "bypass/test_attack_names_races.py": "wired",
    "bypass/test_attack_names_source.py": "wired",
    "bypass/test_attack_names_zone.py": "wired",
    "bypass/test_gate_messages.py": "wired",
    "bypass/test_gate_sockets.py": "wired",
    "bypass/test_inbound_options.py": "wired",
    "bypass/test_lease_reach.py": "wired",
    "bypass/test_row_01_live_flows.py": "wired",
    "bypass/test_row_02_udp.py": "wired",
    "bypass/test_row_03_mapped.py": "wired",
    "bypass/test_row_04_translated.py": "wired",
    "bypass/test_row_05_raw.py": "wired",
    "bypass/test_row_08_own_namespace.py": "wired",
    "bypass/test_row_09_icmp.py": "wired",
    "bypass/test_row_10_protocols.py": "wired",
    "bypass/test_row_11_fast_open.py": "wired",
    "bypass/test_row_12_io_uring.py": "wired",
    "bypass/test_row_17_inbound.py": "wired",
    "bypass/test_row_24_options.py": "wired",
    "bypass/test_row_27_ip_options.py": "wired",
    "bypass/test_row_28_ext_headers.py": "wired",
    "bypass/test_row_31_spoofing.py": "wired",
    "bypass/test_row_33_metadata.py": "wired",
    "bypass/test_row_34_host_services.py": "wired",
    "bypass/test_row_35_lateral.py": "wired",
    "bypass/test_row_38_resolver_inside.py": "wired",
    "bypass/test_row_39_forged_replies.py": "wired",
    "bypass/test_row_40_41_answers.py": "wired",
    "bypass/test_row_42_rebinding.py": "wired",
    "bypass/test_row_43_ttl.py": "wired",
    "bypass/test_row_44_full.py": "wired",
    "bypass/test_row_45_malformed.py": "wired",
    "bypass/test_row_46_48_other_replies.py": "wired",
    "bypass/test_row_50_other_resolvers.py": "wired",
    "bypass/test_row_51_patterns.py": "wired",
    "e2e/test_inbound.py": "wired",
    "e2e/test_allow_deny.py": "wired",
    "e2e/test_always_denied.py": "netns",
    "e2e/test_audit.py": "netns",
    "e2e/test_flow_cache.py": "wired",
    "e2e/test_names.py": "wired",
    "e2e/test_names_answers.py": "wired",
    "e2e/test_resolver.py": "wired",
    "e2e/test_summary.py": "netns",
    "e2e/test_web.py": "wired",
}

# Tests of these files that read what `postern run` says at its end: that way, whatever the file's is.
BY_RUN = (
    "e2e/test_names.py::test_a_name_off_the_list_is_not_asked_for*",
    "e2e/test_names.py::test_a_connection_outlives_its_lease",
    "e2e/test_names.py::test_dns_over_tcp_is_refused_under_the_gate",
    "e2e/test_names.py::test_audit_lets_pass_and_names_what_would_be_denied",
    "e2e/test_names.py::test_the_summary_names_the_name_of_a_denied_address",
    "e2e/test_names_answers.py::test_the_largest_ttl_is_not_longer*",
    "e2e/test_names_answers.py::test_a_private_answer_is_reached_only*",
    "e2e/test_resolver.py::test_default_deny_without_names_denies_dns*",
    "e2e/test_resolver.py::test_an_untrusted_resolver_is_named_as_such",
    "e2e/test_web.py::test_curl_to_a_denied_address_fails_at_once*",
)

# What takes long behind a device as well as in a cgroup: behind a device with PST_LONG=1 (`make test-long`).
LONG = (
    "bypass/test_attack_names_races.py::*",
    "bypass/test_row_39_forged_replies.py::test_a_late_reply",
    # What reads questions and replies is the same text for both kinds, and held by the agreement tests besides.
    "bypass/test_gate_sockets.py::*",
    "bypass/test_lease_reach.py::*",
    "bypass/test_row_40_41_answers.py::*",
    "bypass/test_row_43_ttl.py::*",
    "bypass/test_row_46_48_other_replies.py::*",
    "bypass/test_row_51_patterns.py::*",
    "e2e/test_names_answers.py::*",
    "bypass/test_row_39_forged_replies.py::test_a_million_forged_replies*",
)
# Of these, what `make bypass` (PST_BYPASS=1) has no other tests of behind a device.
ROWS_ALONE = tuple(f"bypass/test_row_{row}_*" for row in ("40_41", "43", "46_48", "51"))

# Tests of these files that run for the cgroup kind alone.
EXCEPT = {
    "bypass/test_gate_messages.py::test_messages_that_do_not_by_packets_alone*": SAME,
    "bypass/test_gate_messages.py::test_the_reason_is_told": "what `postern run` says at its end: e2e/test_names_report.py",
    "bypass/test_row_02_udp.py::*by_packets_alone*": SAME,
    "bypass/test_row_03_mapped.py::*by_packets_alone*": SAME,
    "bypass/test_row_04_translated.py::*by_packets_alone*": SAME,
    "bypass/test_row_05_raw.py::test_a_plain_sandbox_makes_no_raw_socket*": HOOKS,
    "bypass/test_row_05_raw.py::test_not_even_with_privileges*": HOOKS,
    "bypass/test_row_05_raw.py::test_an_open_policy_refuses_raw_sockets_too": HOOKS,
    "bypass/test_row_05_raw.py::test_packet_sockets_need_a_privilege_that_is_gone": PRIVILEGES,
    "bypass/test_row_09_icmp.py::test_by_packets_alone*": SAME,
    "bypass/test_row_10_protocols.py::test_the_socket_is_refused*": HOOKS,
    "bypass/test_row_10_protocols.py::test_sockets_that_this_kernel_may_not_have*": HOOKS,
    "bypass/test_row_12_io_uring.py::test_by_packets_alone*": SAME,
    "bypass/test_row_24_options.py::test_the_second_device_really_is_another_way": ONE_DEVICE,
    "bypass/test_row_24_options.py::test_bound_*": ONE_DEVICE,
    "bypass/test_row_24_options.py::test_marked*": ONE_DEVICE,
    "bypass/test_row_24_options.py::test_repair_mode_is_refused*": HOOKS,
    "bypass/test_row_24_options.py::test_what_holds_packets_back*":
        "the device judges behind every queue of the sandbox: what was held back there is judged when it leaves",
    "bypass/test_row_27_ip_options.py::test_by_packets_alone*": SAME,
    "bypass/test_row_27_ip_options.py::test_without_privileges_too*": SAME,
    "bypass/test_row_28_ext_headers.py::test_by_packets_alone*": SAME,
    "bypass/test_row_31_spoofing.py::test_a_forged_source[198.51.100.2]":
        "the host drops its own address as a source by itself: no control arrives",
    "bypass/test_row_31_spoofing.py::test_the_source_of_another_sandbox*":
        "each device has addresses of its own, and another's is `spoofed` (tests/bypass/test_netdev_*.py)",
    "bypass/test_row_33_metadata.py::test_metadata_by_packets_alone*": SAME,
    "bypass/test_row_33_metadata.py::test_what_a_libc_makes_an_address_of*": PARSER,
    **{f"bypass/test_row_34_host_services.py::*{address}*": LOOPBACK
       for address in ("-127.0.0.1]", "-127.255.", "-0.0.0.0]", "-::]", "-::1]", "ffff:127", "ffff:0.0")},
    "bypass/test_row_34_host_services.py::test_by_packets_alone*": SAME,
    "bypass/test_row_34_host_services.py::test_the_broadcast_address_of_loopback*": LOOPBACK,
    **{f"bypass/test_row_35_lateral.py::*{address}*": LOOPBACK for address in ("-127.0.0.1-", "-::1-", "-0.0.0.0-")},
    "bypass/test_row_38_resolver_inside.py::test_on_lo_without_privileges": PRIVILEGES,
    "bypass/test_row_38_resolver_inside.py::test_the_hosts_stub_teaches": LOOPBACK,
    "bypass/test_row_38_resolver_inside.py::test_beside_a_stub*": LOOPBACK,
    "bypass/test_row_38_resolver_inside.py::test_another_sandbox_beside_the_stub*": LOOPBACK,
    "bypass/test_row_38_resolver_inside.py::test_a_source_written_with_a_control_message*": LOOPBACK,
    "bypass/test_row_38_resolver_inside.py::test_a_tun_device_needs_a_privilege_that_is_gone": PRIVILEGES,
    "bypass/test_row_38_resolver_inside.py::test_keep_privs_says_so": PRIVILEGES,
    "bypass/test_row_38_resolver_inside.py::*options1*": SAME,
    "bypass/test_row_46_48_other_replies.py::test_a_reply_whose_checksum_is_wrong":
        "no kernel has looked at the checksum before the device's program does, as with longer replies in the cgroup kind "
        "(test_a_longer_reply_whose_checksum_is_wrong): who can write the txid and the port can write that, too",
    "bypass/test_row_51_patterns.py::test_what_is_no_name_is_no_rule*": PARSER,
    "bypass/*::*packets-alone*": SAME,
    "e2e/test_names_answers.py::test_a_hundred_addresses*":
        "the reply comes to the device in fragments, which teach nothing (bypass/test_row_46_48_other_replies.py)",
    "e2e/test_web.py::test_python_sees_a_permission_error": HOOKS,
}

# Files of the cgroup kind.
CGROUP_ALONE = {
    "bypass/test_attack_names_collusion.py": "one sandbox takes an address of the other's network: they have none in common",
    "bypass/test_attack_names_redirected.py": "the host redirects its own packets; " + LOOPBACK,
    "bypass/test_other_namespace.py": "a member of the cgroup in another network namespace",
    "bypass/test_row_36_translation.py": "behind a device the verdict comes before the host translates",
    "bypass/test_row_16_unix.py": "unix sockets send no frames; what is inside has the host's only where it has its files",
    "bypass/test_row_20_v1.py": "cgroups of another version",
    "bypass/test_row_18_cgroups.py": "cgroups below the sandbox's",
    "bypass/test_row_32_multicast.py": FORWARDED,
    "e2e/test_hooks.py": "the hooks of the cgroup kind, some of them taken away",
    "e2e/test_loopback.py": LOOPBACK,
    "e2e/test_nested.py": "a run in the cgroup of another",
    "e2e/test_policy_file.py": PARSER + "; both kinds are enforced by the same table",
    "e2e/test_orphans.py": "sockets that outlive their cgroup",
}

# Files that have both kinds already, or whose sandboxes are not what they test.
OTHERWISE = {
    **{f"bypass/test_attack_daemon_{what}.py": POSTERND for what in ("door", "flows", "keep", "sockets", "tenants")},
    "bypass/test_netdev_*.py": NETDEV,
    "bypass/test_matrix_*.py": POSTERND,
    "bypass/test_row_06_families.py": "packet sockets behind a device are a test of their own there",
    "bypass/test_row_52_62_*.py": POSTERND,
    "bypass/test_row_74_clock.py": NO_SANDBOX,
    "bypass/test_start_races.py": POSTERND,
    "e2e/test_relay_*.py": POSTERND,
    "e2e/test_guest.py": NETDEV,
    "e2e/test_netdev_*.py": NETDEV,
    **{f"e2e/test_{what}.py": POSTERND for what in (
        "api_places", "api_robust", "api_roles", "brimble", "crash", "daemon", "daemon_commands", "daemon_review",
        "daemon_state", "e2b_sdk", "e2b_wire", "faults", "faults_state", "flips", "large", "noisy", "sandbox_dir", "soak", "tighten", "upgrade", "v1")},
    "e2e/test_bpftool.py": "the pins of a run of the cgroup kind",
    "e2e/test_commands.py": NO_SANDBOX,
    "e2e/test_demo.py": NO_SANDBOX,
    "e2e/test_docs.py": NO_SANDBOX,
    "e2e/test_inside.py": "the confinement of `postern run`, which is the same for both kinds",
    "e2e/test_install.py": NO_SANDBOX,
    "e2e/test_kill.py": "kill -9 of `postern run` of the cgroup kind",
    "e2e/test_kinds.py": "this table",
    "e2e/test_names_loader_dead.py": "a runner that is killed: its network goes with it",
    "e2e/test_names_race.py": "its own namespaces, and the rival's hooks",
    "e2e/test_names_report.py": "what is said at the end of a run is made of the same events",
    "e2e/test_names_resolvers.py": "resolvers of the host: stubs on its loopback, translated on their way out of it",
    "e2e/test_oracle.py": "the oracle itself",
    "e2e/test_run.py": "`run` as a command, whatever it enforces by",
    "e2e/test_run_netns.py": NETDEV,
}


USED = set()  # of EXCEPT, by what was collected


def name_of(nodeid):
    """bypass/test_x.py::test_y, as the table has it."""
    return nodeid.split("tests/", 1)[-1]


def kinds_of(nodeid):
    """The kinds that the tests of a file run for."""
    return ["cgroup", "netdev"] if name_of(nodeid).split("::")[0] in WAYS else ["cgroup"]


def _plain(nodeid):
    """As the table has it: without the kind."""
    name = name_of(nodeid)
    for having, without in (("[netdev-", "["), ("[netdev]", ""), ("-netdev]", "]"), ("-netdev-", "-")):
        name = name.replace(having, without)
    return name


def _matches(name, pattern):
    if not fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")):
        return False
    USED.add(pattern)
    return True


def way_of(nodeid, kind):
    """Which of kinds.of() this one runs by."""
    name = _plain(nodeid)
    if kind == "cgroup":
        return kind
    return "netns" if any(_matches(name, pattern) for pattern in BY_RUN) else WAYS[name.split("::")[0]]


def reason_against(nodeid):
    """Why this one does not run for the netdev kind; None: it does."""
    name = _plain(nodeid)
    # EXCEPT first: what of it is used does not hang on how long this run is.
    why = next((why for pattern, why in EXCEPT.items() if _matches(name, pattern)), None)
    whole = os.environ.get("PST_BYPASS") == "1" and any(fnmatch.fnmatchcase(name, pattern) for pattern in ROWS_ALONE)
    if why is None and not whole and os.environ.get("PST_LONG") != "1" and any(_matches(name, pattern) for pattern in LONG):
        return "takes long: with PST_LONG=1"
    return why

/* SPDX-License-Identifier: MIT */
/*
 * Why a connection was allowed or denied: one list for BPF, logs, metrics and documentation.
 * Codes are part of the ABI: append, never renumber. Below 32 they deny, from 32 on they allow.
 */
#ifndef PST_REASON_H
#define PST_REASON_H

/* X(code, NAME, "name", "one line for people") */
#define PST_REASONS(X)                                                                             \
	X(0, UNSET, "unset", "no reason was recorded: a defect, please report it")                 \
	X(1, NO_POLICY, "no-policy", "no policy is in force on this sandbox (yet)")                \
	X(2, INTERNAL, "internal", "a map or a kernel helper failed, so the packet was refused")   \
	X(3, MALFORMED, "malformed", "the packet's headers do not make sense")                     \
	X(4, FRAGMENT, "fragment", "IP fragments cannot be judged")                                \
	X(5, EXT_HEADER, "ext-header", "IPv6 extension headers hide or redirect the destination")  \
	X(6, IP_OPTIONS, "ip-options", "IPv4 options can redirect the packet")                     \
	X(7, VLAN, "vlan", "VLAN tags hide the packet behind them")                                \
	X(8, PROTOCOL, "protocol", "only TCP, UDP and ICMP echo leave a sandbox")                  \
	X(9, ICMP_TYPE, "icmp-type", "of ICMP only echo requests leave a sandbox")                 \
	X(10, RAW_SOCKET, "raw-socket", "raw and packet sockets are refused")                      \
	X(11, SPOOFED, "spoofed", "the source address is not the sandbox's own")                   \
	X(12, NO_ORIGIN, "no-origin", "the relay serves only connections redirected to it")        \
	X(13, LOOPBACK, "loopback", "the local listener does not belong to this sandbox")          \
	X(14, ALWAYS_DENIED, "always-denied", "the address is in the host's always-denied set")    \
	X(15, DENY_RULE, "deny-rule", "a deny rule covers the destination")                        \
	X(16, DEFAULT_DENY, "default-deny", "no rule allows the destination")                      \
	X(17, UNTRUSTED_RESOLVER, "untrusted-resolver",                                            \
	  "port 53 of a resolver that is not trusted")                                             \
	X(18, NAME_GATE, "name-gate", "the question asks for a name that no rule allows")          \
	X(19, DNS_TCP, "dns-tcp", "DNS over TCP needs the relay")                                  \
	X(20, LEASE_EXPIRED, "lease-expired", "the DNS answer for this address is too old")        \
	X(21, MULTICAST, "multicast", "joining the multicast group would send packets to it")      \
	X(22, INBOUND_DENIED, "inbound-denied", "the policy does not admit this peer")             \
	X(23, SOCKET_OPTION, "socket-option", "the option forges the state of a connection")       \
	X(24, DNS_BUSY, "dns-busy", "too many DNS questions wait for an answer")                   \
	X(25, UNIX_SOCKET, "unix-socket", "the policy keeps the host's unix sockets away")         \
	X(26, FOREIGN_SOCKET, "foreign-socket", "the socket was made outside of the sandbox")      \
	X(27, FLOWS_FULL, "flows-full", "too many connections at once")                            \
	X(28, NEIGHBOUR_RATE, "neighbour-rate", "too many ARP or neighbour discovery packets")     \
	X(32, ALLOW_RULE, "allow-rule", "an allow rule covers the destination")                    \
	X(33, ALLOW_DEFAULT, "allow-default", "the policy allows what no rule denies")             \
	X(34, INBOUND, "inbound", "the connection was opened by an admitted peer")                 \
	X(35, OWN_LISTENER, "own-listener", "the local listener belongs to this sandbox")          \
	X(36, RESOLVER, "resolver", "a trusted resolver on port 53")                               \
	X(37, LOOPBACK_HOST, "loopback-host", "the policy opens the host's loopback")              \
	X(38, LEASE, "lease", "a name rule covers the name this address was learned for")

enum pst_reason {
#define X(code, NAME, name, text) PST_REASON_##NAME = code,
	PST_REASONS(X)
#undef X
		PST_REASON_MAX = 64,
};

#endif

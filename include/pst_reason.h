/* SPDX-License-Identifier: MIT */
/*
 * Why a connection was allowed or denied: one list for BPF, logs, metrics and documentation.
 * Codes are part of the ABI: append, never renumber. Below 32 they deny, from 32 to 47 they allow; from 48 on they
 * deny again, and come from the relay alone.
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
	X(29, RELAY_DOWN, "relay-down", "the relay that this connection needs is not there")       \
	X(30, QUIC, "quic", "QUIC hides the name that the policy has to check")                    \
	X(31, RELAY_SOCKET, "relay-socket", "this kind of socket cannot go through the relay")     \
	X(32, ALLOW_RULE, "allow-rule", "an allow rule covers the destination")                    \
	X(33, ALLOW_DEFAULT, "allow-default", "the policy allows what no rule denies")             \
	X(34, INBOUND, "inbound", "the connection was opened by an admitted peer")                 \
	X(35, OWN_LISTENER, "own-listener", "the local listener belongs to this sandbox")          \
	X(36, RESOLVER, "resolver", "a trusted resolver on port 53")                               \
	X(37, LOOPBACK_HOST, "loopback-host", "the policy opens the host's loopback")              \
	X(38, LEASE, "lease", "a name rule covers the name this address was learned for")          \
	X(39, HOST_NAME, "host-name", "a name rule covers the name in SNI or Host")                \
	X(48, NO_NAME, "no-name", "the connection names no host (no SNI, no Host)")                \
	X(49, HOST_CHECK, "host-check", "no name rule covers the name in SNI or Host")             \
	X(50, ECH, "ech", "the name is encrypted, and no rule covers the outer one")               \
	X(51, NOT_TLS, "not-tls", "what was sent to port 443 is no TLS ClientHello")               \
	X(52, NOT_HTTP, "not-http", "what was sent to port 80 is no HTTP request")                 \
	X(53, AMBIGUOUS, "ambiguous", "the request could be understood in two ways")               \
	X(54, UPGRADE, "upgrade", "Upgrade and CONNECT would hide what follows from the rules")    \
	X(55, RELAY_BUSY, "relay-busy", "too many connections through the relay at once")          \
	X(56, HEAD_SIZE, "head-size", "the head of the request or handshake is too long")          \
	X(57, HEAD_TIME, "head-time", "the head of the request or handshake took too long")        \
	X(58, UNRESOLVED, "unresolved", "the name has no address (that is not always denied)")     \
	X(59, UNREACHED, "unreached", "the destination did not take the connection")               \
	X(60, PROXY, "proxy", "the egress proxy did not take the connection")                      \
	X(61, CERTIFICATE, "certificate",                                                          \
	  "the destination's certificate is not valid for the name")                               \
	X(62, RELAY_FAILED, "relay-failed", "the relay ran out of something, so it refused")

enum pst_reason {
#define X(code, NAME, name, text) PST_REASON_##NAME = code,
	PST_REASONS(X)
#undef X
		PST_REASON_MAX = 64,
};

#define PST_REASON_ALLOWS(code) ((code) >= 32 && (code) < 48)

#endif

/* SPDX-License-Identifier: MIT */
/* One destination as text and back: addresses, ranges, names, ports, URLs. */
#include "policy_fixture.h"

struct dest_case {
	const char *text, *printed;
	unsigned char kind, protocols;
	bool any_port, web_ports;
	unsigned first, last;
};

#define T PST_TCP
#define U PST_UDP
#define C POLICY_DEST_CIDR
#define N POLICY_DEST_NAME
#define A PST_ANY_PROTO

static void assert_dest(const struct dest_case *c, bool url)
{
	struct error err = {.text = ""};
	char text[POLICY_DEST_TEXT_MAX];
	struct policy_dest d;

	if (policy_dest_parse(c->text, url, &d, &err) < 0)
		fail_msg("%s: %s", c->text, err.text);
	assert_string_equal(policy_dest_print(&d, text), c->printed);
	assert_int_equal(d.kind, c->kind);
	assert_int_equal(d.protocols, c->protocols);
	assert_int_equal(d.any_port, c->any_port);
	assert_int_equal(d.web_ports, c->web_ports);
	assert_int_equal(d.first, c->first);
	assert_int_equal(d.last, c->last);
}

static void reads_entries(void **state)
{
	static const struct dest_case cases[] = {
		{"8.8.8.8", "8.8.8.8", C, A, true, false, 0, 0},
		{"10.0.0.0/8", "10.0.0.0/8", C, A, true, false, 0, 0},
		{"2001:db8::1", "2001:db8::1", C, A, true, false, 0, 0},
		{"2001:DB8::/32", "2001:db8::/32", C, A, true, false, 0, 0},
		{"[2001:db8::1]", "2001:db8::1", C, A, true, false, 0, 0},
		{"[2001:db8::/32]", "2001:db8::/32", C, A, true, false, 0, 0},
		{"0.0.0.0/0", "0.0.0.0/0", C, A, true, false, 0, 0},
		{"::/0", "::/0", C, A, true, false, 0, 0},
		{"10.0.0.0/8:5432", "10.0.0.0/8:5432", C, T | U, false, false, 5432, 5432},
		{"10.0.0.0/8:*", "10.0.0.0/8:*", C, T | U, false, false, 0, 65535},
		{"10.0.0.0/8:*/udp", "10.0.0.0/8:*/udp", C, U, false, false, 0, 65535},
		{"1.1.1.1:8000-8999/tcp", "1.1.1.1:8000-8999/tcp", C, T, false, false, 8000, 8999},
		{"1.1.1.1:53-53", "1.1.1.1:53", C, T | U, false, false, 53, 53},
		{"1.1.1.1:1-65535", "1.1.1.1:1-65535", C, T | U, false, false, 1, 65535},
		{"[2001:db8::1]:53/udp", "[2001:db8::1]:53/udp", C, U, false, false, 53, 53},
		{"[2001:db8::/32]:443", "[2001:db8::/32]:443", C, T | U, false, false, 443, 443},
		{"[::ffff:1.2.3.4]:80/tcp", "1.2.3.4:80/tcp", C, T, false, false, 80, 80},
		{"0.0.0.0/0:25/tcp", "0.0.0.0/0:25/tcp", C, T, false, false, 25, 25},
		{"Example.com", "example.com", N, T, false, true, 0, 0},
		{"*.example.com", "*.example.com", N, T, false, true, 0, 0},
		{"*", "*", N, T, false, true, 0, 0},
		{"example.com:22", "example.com:22", N, T | U, false, false, 22, 22},
		{"*.example.com:*", "*.example.com:*", N, T | U, false, false, 0, 65535},
		{"*:443", "*:443", N, T | U, false, false, 443, 443},
		{"example.com:53/udp", "example.com:53/udp", N, U, false, false, 53, 53},
		{"example.com:*/tcp", "example.com:*/tcp", N, T, false, false, 0, 65535},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_dest(&cases[i], i % 2);
}

static void refuses_other_entries(void **state)
{
	static const struct golden goldens[] = {
		{"", "no address or name"},
		{":80", "no address or name"},
		{"[]", "no address or name"},
		{"[]:80", "no address or name"},
		{"[1.2.3.4]:80", "brackets are for IPv6, found '1.2.3.4'"},
		{"[example.com]:80", "brackets are for IPv6, found 'example.com'"},
		{"[::1", "'[' without ']'"},
		{"[::1]80", "expected ':' after ']', found '80'"},
		{"[::1]/64:80", "expected ':' after ']', found '/64:80'"},
		{"[::1/129]:80", "bad CIDR prefix '/129', expected 0..128"},
		{"10.0.0.0/33", "bad CIDR prefix '/33', expected 0..32"},
		{"10.0.0.0/33:80", "bad CIDR prefix '/33', expected 0..32"},
		{"10.0.0/8", "bad address '10.0.0', expected IPv4 or IPv6"},
		{"10.0.0", "bad address '10.0.0', expected IPv4 or IPv6"},
		{"1.2.3.4.5", "bad address '1.2.3.4.5', expected IPv4 or IPv6"},
		{"2001:db8::1:53/udp", "bad CIDR prefix '/udp', expected 0..128"},
		{"a:b:c", "bad address 'a:b:c', expected IPv4 or IPv6"},
		{"example.com/tcp", "bad address 'example.com', expected IPv4 or IPv6"},
		{"1.1.1.1:", "bad port ':', expected 1..65535 or '*'"},
		{"1.1.1.1:0", "bad port ':0', expected 1..65535 or '*'"},
		{"1.1.1.1:080", "bad port ':080', expected 1..65535 or '*'"},
		{"1.1.1.1:65536", "bad port ':65536', expected 1..65535 or '*'"},
		{"1.1.1.1:99999999999", "bad port ':99999999999', expected 1..65535 or '*'"},
		{"1.1.1.1:-1", "bad port ':-1', expected 1..65535 or '*'"},
		{"1.1.1.1:http", "bad port ':http', expected 1..65535 or '*'"},
		{"1.1.1.1:80x", "bad port ':80x', expected 1..65535 or '*'"},
		{"1.1.1.1:80-", "bad port ':80-', expected 1..65535 or '*'"},
		{"1.1.1.1:80-90-100", "bad port ':80-90-100', expected 1..65535 or '*'"},
		{"1.1.1.1:80,443", "bad port ':80,443', expected 1..65535 or '*'"},
		{"1.1.1.1:*-80", "bad port ':*-80', expected 1..65535 or '*'"},
		{"1.1.1.1:90-80", "bad port range '90-80', the first is the larger"},
		{"1.1.1.1:80/sctp", "bad protocol '/sctp', expected /tcp or /udp"},
		{"1.1.1.1:80/", "bad protocol '/', expected /tcp or /udp"},
		{"1.1.1.1:80/TCP", "bad protocol '/TCP', expected /tcp or /udp"},
		{"1.1.1.1:80/tcp/udp", "bad protocol '/tcp/udp', expected /tcp or /udp"},
		{"exa mple.com", "bad name 'exa mple.com': bad character ' '"},
		{"a.*.com:80", "bad name 'a.*.com': '*' only as the whole leftmost label"},
		{"https://example.com", "'https://example.com' is a URL, write its host"},
	};
	struct policy_dest d;
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++) {
		assert_int_equal(policy_dest_parse(goldens[i].document, false, &d, &err), -EINVAL);
		assert_string_equal(err.text, goldens[i].text);
	}
}

static void reads_urls_for_explain(void **state)
{
	static const struct dest_case cases[] = {
		{"http://example.com", "example.com:80/tcp", N, T, false, false, 80, 80},
		{"https://example.com/a/b?c=d#e", "example.com:443/tcp", N, T, false, false, 443,
		 443},
		{"HTTPS://Example.COM", "example.com:443/tcp", N, T, false, false, 443, 443},
		{"https://example.com:8443/", "example.com:8443/tcp", N, T, false, false, 8443,
		 8443},
		{"https://example.com:/", "example.com:443/tcp", N, T, false, false, 443, 443},
		{"https://user:pa:ss@example.com/", "example.com:443/tcp", N, T, false, false, 443,
		 443},
		{"https://good.com@evil.com/", "evil.com:443/tcp", N, T, false, false, 443, 443},
		{"https://example.com?x=@evil.com", "example.com:443/tcp", N, T, false, false, 443,
		 443},
		{"wss://example.com/", "example.com:443/tcp", N, T, false, false, 443, 443},
		{"http://1.2.3.4/", "1.2.3.4:80/tcp", C, T, false, false, 80, 80},
		{"http://[2001:db8::1]/", "[2001:db8::1]:80/tcp", C, T, false, false, 80, 80},
		{"http://[2001:db8::1]:8080/", "[2001:db8::1]:8080/tcp", C, T, false, false, 8080,
		 8080},
		{"postgres://db.example.com:5432/x", "db.example.com:5432/tcp", N, T, false, false,
		 5432, 5432},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_dest(&cases[i], true);
}

static void refuses_other_urls(void **state)
{
	static const struct golden goldens[] = {
		{"postgres://db.example.com/x",
		 "the port of 'postgres://db.example.com/x' is not known, write it"},
		{"://example.com", "the port of '://example.com' is not known, write it"},
		{"https://", "no address or name"},
		{"https:///path", "no address or name"},
		{"https://*.example.com/",
		 "bad URL 'https://*.example.com/', expected one host and one port"},
		{"https://example.com:80-90/",
		 "bad URL 'https://example.com:80-90/', expected one host and one port"},
		{"https://example.com:*/",
		 "bad URL 'https://example.com:*/', expected one host and one port"},
		{"http://[2001:db8::", "'[' without ']'"},
		{"http://2001:db8::1",
		 "bad URL 'http://2001:db8::1', expected one host and one port"},
		{"http://u@2001:db8::1/",
		 "bad URL 'http://u@2001:db8::1/', expected one host and one port"},
		{"https://a%2fb/", "bad name 'a%2fb': bad character '%'"},
		{"https://good.com\\@evil.com/",
		 "bad URL 'https://good.com\\@evil.com/', expected one host and one port"},
		{"https://good.com\\.evil.com/",
		 "bad URL 'https://good.com\\.evil.com/', expected one host and one port"},
	};
	struct policy_dest d;
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++) {
		assert_int_equal(policy_dest_parse(goldens[i].document, true, &d, &err), -EINVAL);
		assert_string_equal(err.text, goldens[i].text);
	}
}

static void says_whether_host_bits_were_written(void **state)
{
	struct policy_dest d;

	(void)state;
	assert_int_equal(policy_dest_parse("10.1.2.3/8:80", false, &d, NULL), 0);
	assert_true(d.host_bits);
	assert_int_equal(policy_dest_parse("10.0.0.0/8:80", false, &d, NULL), 0);
	assert_false(d.host_bits);
}

static void all_traffic_is_the_ipv4_spelling_only(void **state)
{
	static const struct {
		const char *text;
		unsigned char family;
	} cases[] = {{"0.0.0.0/0", CIDR_ALL},  {"0.0.0.0/0:53", CIDR_ALL},
		     {"::/0", CIDR_IPV6},      {"::ffff:0:0/96", CIDR_IPV4},
		     {"1.2.3.4/0", CIDR_IPV4}, {"[::/0]:53", CIDR_IPV6}};
	struct policy_dest d;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(policy_dest_parse(cases[i].text, false, &d, NULL), 0);
		assert_int_equal(d.cidr.family, cases[i].family);
		assert_int_equal(d.cidr.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_entries),
		cmocka_unit_test(refuses_other_entries),
		cmocka_unit_test(reads_urls_for_explain),
		cmocka_unit_test(refuses_other_urls),
		cmocka_unit_test(says_whether_host_bits_were_written),
		cmocka_unit_test(all_traffic_is_the_ipv4_spelling_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

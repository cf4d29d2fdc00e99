/* SPDX-License-Identifier: MIT */
/* table_always(): the documented ranges, what a host adds, takes out and is. */
#include "table_fixture.h"

#include "policy/ranges.h"

struct host {
	struct cidr add[4], except[4];
	struct addr host[4];
	struct table_always_input input;
	struct table_always_row *rows;
	size_t count;
};

static void add_cidr(struct cidr *items, struct cidr_list *list, const char *text)
{
	bool host_bits;

	list->items = items;
	assert_int_equal(cidr_parse(text, &items[list->count++], &host_bits, NULL), 0);
}

/* "add 1.0.0.0/8; except 10.0.0.0/24; host 192.0.2.1" */
static void make(struct host *h, const char *entries)
{
	char copy[256], *rest = copy, *entry, word[16], text[64];

	memset(h, 0, sizeof(*h));
	snprintf(copy, sizeof(copy), "%s", entries);
	while ((entry = strtok_r(rest, ";", &rest))) {
		if (sscanf(entry, " %15s %63s", word, text) != 2)
			continue;
		if (strcmp(word, "add") == 0)
			add_cidr(h->add, &h->input.add, text);
		else if (strcmp(word, "except") == 0)
			add_cidr(h->except, &h->input.except, text);
		else
			h->host[h->input.host.count++] = fixture_addr(text);
	}
	h->input.host.items = h->host;
	assert_int_equal(table_always(&h->input, &h->rows, &h->count), 0);
}

static uint32_t kind_of(const struct host *h, const char *text)
{
	struct addr a = fixture_addr(text);
	const struct table_always_row *found = NULL;

	for (size_t i = 0; i < h->count; i++) {
		const struct pst_key6 *key = &h->rows[i].key;

		if ((!found || key->prefixlen > found->key.prefixlen) &&
		    fixture_bits_equal(key->addr, a.bytes, key->prefixlen))
			found = &h->rows[i];
	}
	assert_non_null(found);
	return found->value.kind;
}

static void root_comes_first_and_is_open(void **state)
{
	struct host h;

	(void)state;
	make(&h, "");
	assert_int_equal(h.rows[0].key.prefixlen, 0);
	assert_int_equal(h.rows[0].value.kind, PST_ALWAYS_OPEN);
	assert_int_equal(kind_of(&h, "2606:4700::1"), PST_ALWAYS_OPEN);
	assert_int_equal(kind_of(&h, "93.184.216.34"), PST_ALWAYS_OPEN);
	free(h.rows);
}

static void every_documented_range_is_in_from_first_to_last(void **state)
{
	static const char *const in[] = {
		"0.0.0.0",	 "0.255.255.255",   "10.0.0.0",	     "10.255.255.255",
		"100.64.0.0",	 "100.127.255.255", "127.0.0.1",     "169.254.169.254",
		"172.16.0.0",	 "172.31.255.255",  "192.168.0.0",   "192.168.255.255",
		"192.0.0.0",	 "192.0.0.255",	    "198.18.0.0",    "198.19.255.255",
		"224.0.0.0",	 "239.255.255.255", "240.0.0.0",     "255.255.255.255",
		"168.63.129.16", "100.100.100.200", "169.254.170.2", "::",
		"::1",		 "fc00::",	    "fdff:ffff::1",  "fe80::",
		"febf::1",	 "ff02::1",	    "2002:a00:1::",  "2001::1",
		"fd00:ec2::254",
	};
	static const char *const out[] = {
		"1.0.0.0",     "9.255.255.255", "11.0.0.0",	   "100.63.255.255",
		"100.128.0.0", "126.0.0.1",	"128.0.0.0",	   "169.253.0.1",
		"172.15.0.1",  "172.32.0.0",	"192.0.1.0",	   "192.167.0.1",
		"198.17.0.1",  "198.20.0.0",	"223.255.255.255", "168.63.129.17",
		"fbff::",      "fe00::1",	"fec0::1",	   "2003::",
		"2001:1::1",   "2001:db8::1",
	};
	struct host h;

	(void)state;
	make(&h, "");
	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		if (kind_of(&h, in[i]) != PST_ALWAYS_RANGE)
			fail_msg("%s is not always denied", in[i]);
	for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
		if (kind_of(&h, out[i]) != PST_ALWAYS_OPEN)
			fail_msg("%s is always denied", out[i]);
	free(h.rows);
}

static void added_range_is_denied(void **state)
{
	struct host h;

	(void)state;
	make(&h, "add 93.184.216.0/24; add 2606:4700::/32");
	assert_int_equal(kind_of(&h, "93.184.216.255"), PST_ALWAYS_RANGE);
	assert_int_equal(kind_of(&h, "93.184.217.0"), PST_ALWAYS_OPEN);
	assert_int_equal(kind_of(&h, "2606:4700:ffff::1"), PST_ALWAYS_RANGE);
	free(h.rows);
}

static void exception_opens_a_part_of_a_range(void **state)
{
	struct host h;

	(void)state;
	make(&h, "except 10.1.0.0/16");
	assert_int_equal(kind_of(&h, "10.0.255.255"), PST_ALWAYS_RANGE);
	assert_int_equal(kind_of(&h, "10.1.0.0"), PST_ALWAYS_OPEN);
	assert_int_equal(kind_of(&h, "10.1.255.255"), PST_ALWAYS_OPEN);
	assert_int_equal(kind_of(&h, "10.2.0.0"), PST_ALWAYS_RANGE);
	free(h.rows);
}

static void exception_that_covers_a_range_removes_it_and_its_row(void **state)
{
	struct host with, without;

	(void)state;
	make(&without, "");
	make(&with, "except 192.168.0.0/15");
	assert_int_equal(kind_of(&with, "192.168.1.1"), PST_ALWAYS_OPEN);
	assert_int_equal(with.count, without.count - 1);
	free(with.rows);
	free(without.rows);
}

static void exception_is_taken_from_narrower_added_ranges_too(void **state)
{
	struct host h;

	(void)state;
	make(&h, "add 93.184.216.34; except 93.184.216.0/24");
	assert_int_equal(kind_of(&h, "93.184.216.34"), PST_ALWAYS_OPEN);
	free(h.rows);
}

static void host_address_wins_over_everything(void **state)
{
	struct host h;

	(void)state;
	make(&h, "host 10.0.0.5; host 93.184.216.34; host 2001:db8::5; except 10.0.0.5");
	assert_int_equal(kind_of(&h, "10.0.0.5"), PST_ALWAYS_HOST);
	assert_int_equal(kind_of(&h, "93.184.216.34"), PST_ALWAYS_HOST);
	assert_int_equal(kind_of(&h, "2001:db8::5"), PST_ALWAYS_HOST);
	assert_int_equal(kind_of(&h, "93.184.216.35"), PST_ALWAYS_OPEN);
	free(h.rows);
}

static void ipv6_root_says_nothing_about_ipv4(void **state)
{
	struct host h;

	(void)state;
	make(&h, "add ::/0");
	assert_int_equal(kind_of(&h, "2606:4700::1"), PST_ALWAYS_RANGE);
	assert_int_equal(kind_of(&h, "93.184.216.34"), PST_ALWAYS_OPEN);
	assert_int_equal(h.rows[0].key.prefixlen, 0);
	free(h.rows);
}

/* "16-19 93": the octets that a host closes beyond those of the documented ranges. */
static void check_octets(const char *entries, const char *closed)
{
	unsigned first, last, more[2] = {256, 0};
	struct pst_open documented, open;
	struct host plain, h;

	make(&plain, "");
	make(&h, entries);
	table_always_open(plain.rows, plain.count, &documented);
	table_always_open(h.rows, h.count, &open);
	if (sscanf(closed, "%u-%u", &first, &last) == 2) {
		more[0] = first;
		more[1] = last;
	}
	for (unsigned octet = 0; octet < 256; octet++) {
		unsigned was = documented.word[octet / 32] >> octet % 32 & 1;
		unsigned is = open.word[octet / 32] >> octet % 32 & 1;

		assert_int_equal(is, octet >= more[0] && octet <= more[1] ? 0 : was);
	}
	free(plain.rows);
	free(h.rows);
}

static void octets_of_documented_ranges_are_closed_and_no_others(void **state)
{
	static const unsigned char closed[] = {0, 10, 100, 127, 168, 169, 172, 192, 198};
	struct pst_open open;
	struct host h;

	(void)state;
	make(&h, "");
	table_always_open(h.rows, h.count, &open);
	for (unsigned octet = 0; octet < 256; octet++) {
		bool expected = octet < 224 && !memchr(closed, (int)octet, sizeof(closed));

		assert_int_equal(open.word[octet / 32] >> octet % 32 & 1, expected);
	}
	free(h.rows);
}

static void octets_of_added_ranges_and_host_addresses_are_closed(void **state)
{
	(void)state;
	check_octets("add 1.2.3.0/24", "1-1");
	check_octets("add 16.0.0.0/6", "16-19");
	check_octets("host 93.184.216.34", "93-93");
	check_octets("add 0.0.0.0/0", "0-255");
	check_octets("add ::/0", "");
	check_octets("add 1.0.0.0/8; except 1.2.0.0/16", "1-1");
}

static void set_without_its_roots_closes_every_octet(void **state)
{
	const struct pst_open none = {0};
	struct pst_open open;

	(void)state;
	table_always_open(NULL, 0, &open);
	assert_memory_equal(&open, &none, sizeof(open));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_comes_first_and_is_open),
		cmocka_unit_test(every_documented_range_is_in_from_first_to_last),
		cmocka_unit_test(added_range_is_denied),
		cmocka_unit_test(exception_opens_a_part_of_a_range),
		cmocka_unit_test(exception_that_covers_a_range_removes_it_and_its_row),
		cmocka_unit_test(exception_is_taken_from_narrower_added_ranges_too),
		cmocka_unit_test(host_address_wins_over_everything),
		cmocka_unit_test(ipv6_root_says_nothing_about_ipv4),
		cmocka_unit_test(octets_of_documented_ranges_are_closed_and_no_others),
		cmocka_unit_test(octets_of_added_ranges_and_host_addresses_are_closed),
		cmocka_unit_test(set_without_its_roots_closes_every_octet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

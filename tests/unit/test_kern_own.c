/* SPDX-License-Identifier: MIT */
/* What the operator says about who is behind a device: texts to addresses and masks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kern/device.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct kern_own own; /* of the last text */
static struct error err;

static int parse_mac(const char *text)
{
	return kern_own_parse(&text, 1, NULL, 0, &own, &err);
}

static int parse_address(const char *text)
{
	return kern_own_parse(NULL, 0, &text, 1, &own, &err);
}

static void reads_hardware_addresses(void **state)
{
	static const uint8_t mac[6] = {0x02, 0xab, 0xcd, 0xef, 0x00, 0x9f};

	(void)state;
	assert_int_equal(parse_mac("02:AB:cd:ef:00:9f"), 0);
	assert_int_equal(own.n_macs, 1);
	assert_memory_equal(own.mac[0].mac, mac, 6);
}

static void adds_the_link_local_address_of_a_hardware_address(void **state)
{
	static const uint8_t addr[16] = {0xfe, 0x80, 0,	   0,	 0,    0,    0,	   0,
					 0x00, 0xab, 0xcd, 0xff, 0xfe, 0xef, 0x00, 0x9f};
	uint8_t all[16];

	(void)state;
	memset(all, 0xff, sizeof(all));
	assert_int_equal(parse_mac("02:ab:cd:ef:00:9f"), 0);
	assert_int_equal(own.n_own, 1);
	assert_memory_equal(own.own[0].addr, addr, 16);
	assert_memory_equal(own.own[0].mask, all, 16);
}

static void refuses_what_is_no_hardware_address(void **state)
{
	static const char *const texts[] = {
		"",
		"02:00:00:00:00",
		"02:00:00:00:00:01:",
		"02:00:00:00:00:0g",
		"02-00-00-00-00-01",
		" 2:00:00:00:00:01",
		"02:00:00:00:00:1",
		"020000000001",
		"01:00:5e:00:00:01", /* groups are nobody */
		"ff:ff:ff:ff:ff:ff",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		assert_int_equal(parse_mac(texts[i]), -EINVAL);
		assert_non_null(strstr(err.text, texts[i]));
	}
}

static void reads_addresses_and_ranges(void **state)
{
	static const struct {
		const char *text;
		uint8_t addr[16], mask[16];
	} rows[] = {
		{"10.0.0.2",
		 {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 2},
		 {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
		{"10.0.0.0/23",
		 {[10] = 0xff, [11] = 0xff, [12] = 10},
		 {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 254}},
		{"fd00::2",
		 {[0] = 0xfd, [15] = 2},
		 {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
		{"fd00:0:0:8::/61",
		 {[0] = 0xfd, [7] = 0x08},
		 {255, 255, 255, 255, 255, 255, 255, 0xf8}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(parse_address(rows[i].text), 0);
		assert_int_equal(own.n_own, 1);
		assert_memory_equal(own.own[0].addr, rows[i].addr, 16);
		assert_memory_equal(own.own[0].mask, rows[i].mask, 16);
	}
}

static void refuses_what_nobody_can_be(void **state)
{
	static const char
		*const texts[] =
			{
				"",
				"host",
				"10.0.0.300",
				"10.0.0.2/24", /* one address of a range, or the range? */
				"fd00::2/64",
				"0.0.0.0",
				"0.0.0.0/0",
				"::/0",
				"::",
				"::1",
				"127.0.0.1",
				"224.0.0.1",
				"255.255.255.255",
				"ff02::1",
			};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(parse_address(texts[i]), -EINVAL);
}

static void takes_no_more_than_there_is_room_for(void **state)
{
	static const char *const macs[] = {"02:00:00:00:00:01", "02:00:00:00:00:02",
					   "02:00:00:00:00:03", "02:00:00:00:00:04",
					   "02:00:00:00:00:05"};
	static const char *const addresses[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3",
						"10.0.0.4", "10.0.0.5", "10.0.0.6",
						"10.0.0.7", "10.0.0.8", "10.0.0.9"};

	(void)state;
	assert_int_equal(kern_own_parse(macs, 4, addresses, 8, &own, &err), 0);
	assert_int_equal(own.n_macs, 4);
	/* Link-local addresses have no room left: they were not asked for. */
	assert_int_equal(own.n_own, 8);
	assert_int_equal(own.own[7].addr[15], 8);
	assert_int_equal(kern_own_parse(macs, 5, NULL, 0, &own, &err), -E2BIG);
	assert_non_null(strstr(err.text, macs[4]));
	assert_int_equal(kern_own_parse(NULL, 0, addresses, 9, &own, &err), -E2BIG);
	assert_non_null(strstr(err.text, addresses[8]));
}

static void takes_what_is_said_twice_once(void **state)
{
	static const char *const macs[] = {"02:00:00:00:00:01", "02:00:00:00:00:01"};
	static const char *const addresses[] = {"fd00::1", "fd00:0::1"};

	(void)state;
	assert_int_equal(kern_own_parse(macs, 2, addresses, 2, &own, &err), 0);
	assert_int_equal(own.n_macs, 1);
	assert_int_equal(own.n_own, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_hardware_addresses),
		cmocka_unit_test(adds_the_link_local_address_of_a_hardware_address),
		cmocka_unit_test(refuses_what_is_no_hardware_address),
		cmocka_unit_test(reads_addresses_and_ranges),
		cmocka_unit_test(refuses_what_nobody_can_be),
		cmocka_unit_test(takes_no_more_than_there_is_room_for),
		cmocka_unit_test(takes_what_is_said_twice_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

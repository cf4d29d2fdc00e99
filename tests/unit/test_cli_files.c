/* SPDX-License-Identifier: MIT */
/* The host's files that `run` reads: resolv.conf and nsswitch.conf. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/nsswitch.h"
#include "base/resolvconf.h"

/* The addresses, joined by commas. */
static void assert_nameservers(const char *text, const char *expected)
{
	struct addr_list list = {0};
	char address[CIDR_TEXT_MAX];
	struct buf found = {0};

	assert_int_equal(resolvconf_parse(text, &list), 0);
	for (size_t i = 0; i < list.count; i++)
		buf_printf(&found, "%s%s", i ? "," : "", addr_print(&list.items[i], address));
	assert_string_equal(found.data ? found.data : "", expected);
	buf_done(&found);
	free(list.items);
}

static void reads_every_nameserver_in_order(void **state)
{
	(void)state;
	assert_nameservers("search example.com\nnameserver 9.9.9.9\nnameserver 2001:db8::1\n"
			   "options ndots:5\nnameserver\t127.0.0.53\n",
			   "9.9.9.9,2001:db8::1,127.0.0.53");
}

static void leaves_out_the_zone_of_an_address(void **state)
{
	(void)state;
	assert_nameservers("nameserver fe80::1%eth0\n", "fe80::1");
}

static void reads_the_last_line_without_a_newline(void **state)
{
	(void)state;
	assert_nameservers("nameserver 1.1.1.1", "1.1.1.1");
	assert_nameservers("nameserver 1.1.1.1\r\n", "1.1.1.1");
	assert_nameservers("nameserver   1.1.1.1  # office\n", "1.1.1.1");
}

static void counts_an_address_once(void **state)
{
	(void)state;
	assert_nameservers("nameserver 1.1.1.1\nnameserver ::ffff:1.1.1.1\nnameserver 1.1.1.1\n",
			   "1.1.1.1");
}

static void skips_lines_that_name_no_address(void **state)
{
	(void)state;
	assert_nameservers("", "");
	assert_nameservers("\n\n", "");
	assert_nameservers("#nameserver 1.1.1.1\n;nameserver 1.1.1.1\n", "");
	assert_nameservers(" nameserver 1.1.1.1\n", "");
	assert_nameservers("nameservers 1.1.1.1\nnameserver1.1.1.1\nNAMESERVER 1.1.1.1\n", "");
	assert_nameservers("nameserver\nnameserver \nnameserver dns.example.com\n", "");
	assert_nameservers("nameserver 1.1.1.1/24\nnameserver 1.1.1\n", "");
	assert_nameservers("nameserver 1111111111111111111111111111111111111111111111111111111111"
			   "11111111111111111111111111111111\nnameserver 2.2.2.2\n",
			   "2.2.2.2");
}

static void keeps_a_bounded_number(void **state)
{
	struct addr_list list = {0};
	struct buf text = {0};

	(void)state;
	for (int i = 0; i < 2 * RESOLVCONF_MAX; i++)
		buf_printf(&text, "nameserver 10.0.0.%d\n", i);
	assert_int_equal(resolvconf_parse(text.data, &list), 0);
	assert_int_equal(list.count, RESOLVCONF_MAX);
	free(list.items);
	buf_done(&text);
}

static void assert_rewritten(const char *text, const char *expected)
{
	struct buf out = {0};

	nsswitch_rewrite(text, &out);
	assert_int_equal(buf_status(&out), 0);
	assert_string_equal(out.data, expected);
	buf_done(&out);
}

static void replaces_the_hosts_line_alone(void **state)
{
	(void)state;
	assert_rewritten(
		"passwd: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files\n"
		"networks: files\n",
		"passwd: files systemd\nhosts: files dns\nnetworks: files\n");
}

static void adds_a_hosts_line_where_there_is_none(void **state)
{
	(void)state;
	assert_rewritten("", "hosts: files dns\n");
	assert_rewritten("passwd: files", "passwd: files\nhosts: files dns\n");
	assert_rewritten("# hosts: resolve\nhostsx: a\n",
			 "# hosts: resolve\nhostsx: a\nhosts: files dns\n");
}

static void leaves_no_second_hosts_line(void **state)
{
	(void)state;
	assert_rewritten("hosts:resolve\n\t hosts \t: sss\nhosts: mdns\n", "hosts: files dns\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_nameserver_in_order),
		cmocka_unit_test(leaves_out_the_zone_of_an_address),
		cmocka_unit_test(reads_the_last_line_without_a_newline),
		cmocka_unit_test(counts_an_address_once),
		cmocka_unit_test(skips_lines_that_name_no_address),
		cmocka_unit_test(keeps_a_bounded_number),
		cmocka_unit_test(replaces_the_hosts_line_alone),
		cmocka_unit_test(adds_a_hosts_line_where_there_is_none),
		cmocka_unit_test(leaves_no_second_hosts_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

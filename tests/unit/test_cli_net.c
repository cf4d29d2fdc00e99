/* SPDX-License-Identifier: MIT */
/* What `run --netns` decides without the kernel: addresses, resolvers, and the bytes of netlink. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/run_net.h"
#include "cli/run_net_dns.h"
#include "net/message.h"
#include "net/space.h"

#define USED_MAX 8

struct fixture {
	struct space space;
	struct space_used used[USED_MAX];
};

static struct cidr cidr(const char *text)
{
	bool has_host_bits;
	struct cidr prefix;

	assert_int_equal(cidr_parse(text, &prefix, &has_host_bits, NULL), 0);
	return prefix;
}

static void use(struct fixture *f, const char *text, uint32_t ifindex)
{
	f->space.used = f->used;
	f->used[f->space.n_used++] = (struct space_used){.prefix = cidr(text), .ifindex = ifindex};
}

static int choose(const struct fixture *f, const char *pool, uint64_t random, char *text,
		  struct error *err)
{
	struct cidr prefix = cidr(pool);
	struct addr address;
	int r = space_choose(&f->space, &prefix, random, &address, err);

	if (r == 0)
		addr_print(&address, text);
	return r;
}

static void finds_the_one_address_that_is_left(void **state)
{
	char text[CIDR_TEXT_MAX];
	struct fixture f = {0};
	struct error err = {0};

	(void)state;
	use(&f, "10.7.0.0/25", 0);
	use(&f, "10.7.0.128/26", 0);
	use(&f, "10.7.0.192/27", 0);
	use(&f, "10.7.0.224/28", 0);
	use(&f, "10.7.0.240/29", 0);
	use(&f, "10.7.0.248/30", 0);
	use(&f, "10.7.0.252/31", 0);
	for (uint64_t random = 0; random < 1000; random += 7) {
		assert_int_equal(choose(&f, "10.7.0.0/24", random, text, &err), 0);
		assert_string_equal(text, "10.7.0.254"); /* .255 may be taken for everybody */
	}
}

static void says_what_is_in_the_way(void **state)
{
	char text[CIDR_TEXT_MAX];
	struct fixture f = {0};
	struct error err = {0};

	(void)state;
	use(&f, "10.0.0.0/8", 0);
	assert_int_equal(choose(&f, "10.7.0.0/24", 3, text, &err), -EADDRNOTAVAIL);
	assert_string_equal(
		err.text, "no address is free in 10.7.0.0/24: this host has a route to 10.0.0.0/8");
	use(&f, "192.0.2.9", 1);
	assert_int_equal(choose(&f, "192.0.2.9/32", 3, text, &err), -EADDRNOTAVAIL);
	assert_string_equal(err.text,
			    "no address is free in 192.0.2.9: this host has 192.0.2.9 on lo");
}

static void uses_both_addresses_of_a_pair(void **state)
{
	char one[CIDR_TEXT_MAX], two[CIDR_TEXT_MAX];
	struct fixture f = {0};
	struct error err = {0};

	(void)state;
	assert_int_equal(choose(&f, "10.7.0.0/31", 0, one, &err), 0);
	assert_int_equal(choose(&f, "10.7.0.0/31", 1, two, &err), 0);
	assert_string_equal(one, "10.7.0.0");
	assert_string_equal(two, "10.7.0.1");
}

static void stays_in_a_large_pool(void **state)
{
	struct cidr pool = cidr("fd12:3456::/33");
	struct addr first = {0}, address;
	struct fixture f = {0};
	struct error err = {0};
	unsigned differ = 0;

	(void)state;
	for (uint64_t random = 1; random < 200; random++) {
		assert_int_equal(space_choose(&f.space, &pool, random, &address, &err), 0);
		assert_true(cidr_contains(&pool, &address));
		assert_int_not_equal(address.bytes[15], 0);
		differ += !addr_equal(&address, &first);
		first = address;
	}
	assert_int_equal(differ, 199);
}

static void takes_ranges_as_pools(void **state)
{
	static const char *const good[] = {"10.1.0.0/16", "198.18.0.0/15", "fd00::/8", "10.7.0.1",
					   "fd00::1/128"};
	static const char *const bad[] = {"",
					  "10.1.0.1/16",
					  "0.0.0.0/0",
					  "::/0",
					  "127.0.0.0/8",
					  "169.254.0.0/16",
					  "224.0.0.0/8",
					  "fe80::/64",
					  "ff02::/16",
					  "10.1.0.0/33",
					  "0.0.0.0/2"};
	struct error err = {0};
	struct cidr pool;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(space_parse_pool(good[i], &pool, &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.text[0] = '\0';
		assert_int_equal(space_parse_pool(bad[i], &pool, &err), -EINVAL);
		assert_true(err.text[0]);
	}
}

static void takes_one_pool_of_each_family(void **state)
{
	struct cidr pools[RUN_NET_FAMILIES];
	struct error err = {0};
	size_t count = 0;

	(void)state;
	assert_int_equal(run_net_add_pool(pools, &count, "10.1.0.0/16", &err), 0);
	assert_int_equal(run_net_add_pool(pools, &count, "fd00::/64", &err), 0);
	assert_int_equal(run_net_add_pool(pools, &count, "10.2.0.0/16", &err), -EINVAL);
	assert_int_equal(count, 2);
}

static void knows_the_devices_of_runs(void **state)
{
	(void)state;
	assert_true(space_is_run("pst-c6120307"));
	assert_false(space_is_run("pst-c612030"));
	assert_false(space_is_run("pst-c61203077"));
	assert_false(space_is_run("pst-C6120307"));
	assert_false(space_is_run("pst-1234-host"));
	assert_false(space_is_run("veth0"));
}

static void leaves_out_resolvers_that_are_the_hosts_alone(void **state)
{
	struct addr_list list = {0};
	char text[CIDR_TEXT_MAX];

	(void)state;
	assert_int_equal(run_net_dns_usable("nameserver 127.0.0.53\nnameserver ::1\n"
					    "nameserver fe80::1%eth0\nnameserver 0.0.0.0\n"
					    "nameserver ::\nnameserver 127.1.2.3\n"
					    "nameserver 169.254.169.254\nnameserver fd00::53\n",
					    &list),
			 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(addr_print(&list.items[0], text), "169.254.169.254");
	assert_string_equal(addr_print(&list.items[1], text), "fd00::53");
	free(list.items);
}

static void keeps_the_other_lines_of_resolv_conf(void **state)
{
	struct addr chosen[1], upstream[1];
	struct addr_list first = {.items = chosen, .count = 1},
			 then = {.items = upstream, .count = 1};
	cleanup_buf struct buf out = {0};

	(void)state;
	assert_int_equal(addr_parse("9.9.9.9", &chosen[0], NULL), 0);
	assert_int_equal(addr_parse("8.8.8.8", &upstream[0], NULL), 0);
	run_net_dns_rewrite("# stub\nnameserver 127.0.0.53\noptions edns0\n;x\n\nsearch a b",
			    &first, &then, &out);
	assert_string_equal(out.data,
			    "nameserver 9.9.9.9\nnameserver 8.8.8.8\noptions edns0\nsearch a b\n");
}

static void messages_are_read_as_they_were_put(void **state)
{
	const struct rtmsg head = {.rtm_family = 2};
	struct message_attr attr, inner;
	struct message out = {0};
	char text[8];
	size_t nest;

	(void)state;
	message_begin(&out, RTM_NEWROUTE, NLM_F_ACK, &head, sizeof(head));
	message_put_u32(&out, 1, 7);
	nest = message_nest(&out, 2);
	message_put_text(&out, 3, "abc");
	message_end(&out, nest);
	message_put(&out, 4, "x", 1);

	const size_t skip = sizeof(struct nlmsghdr) + sizeof(head);

	assert_true(message_find(out.bytes + skip, out.size - skip, 1, &attr));
	assert_int_equal(message_u32(&attr), 7);
	assert_true(message_find(out.bytes + skip, out.size - skip, 2, &attr));
	assert_true(message_find(attr.data, attr.size, 3, &inner));
	message_text(&inner, text, sizeof(text));
	assert_string_equal(text, "abc");
	message_text(&inner, text, 3);
	assert_string_equal(text, "ab");
	assert_true(message_find(out.bytes + skip, out.size - skip, 4, &attr));
	assert_int_equal(attr.size, 1);
	assert_int_equal(message_u32(&attr), 0);
	assert_false(message_find(out.bytes + skip, out.size - skip, 5, &attr));
	/* Cut short anywhere, it is never read beyond its end. */
	for (size_t size = skip; size < out.size; size++) {
		size_t at = 0;

		while (message_next(out.bytes + skip, size - skip, &at, &attr))
			assert_true(attr.data + attr.size <= out.bytes + size);
	}
}

static void a_message_that_does_not_fit_is_not_sent(void **state)
{
	static const char much[MESSAGE_BYTES];
	const struct rtmsg head = {0};
	struct message out = {0};

	(void)state;
	message_begin(&out, RTM_NEWROUTE, NLM_F_ACK, &head, sizeof(head));
	message_put(&out, 1, much, sizeof(much));
	message_put_u32(&out, 2, 1);
	assert_int_equal(message_ask(-1, &out), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_one_address_that_is_left),
		cmocka_unit_test(says_what_is_in_the_way),
		cmocka_unit_test(uses_both_addresses_of_a_pair),
		cmocka_unit_test(stays_in_a_large_pool),
		cmocka_unit_test(takes_ranges_as_pools),
		cmocka_unit_test(takes_one_pool_of_each_family),
		cmocka_unit_test(knows_the_devices_of_runs),
		cmocka_unit_test(leaves_out_resolvers_that_are_the_hosts_alone),
		cmocka_unit_test(keeps_the_other_lines_of_resolv_conf),
		cmocka_unit_test(messages_are_read_as_they_were_put),
		cmocka_unit_test(a_message_that_does_not_fit_is_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

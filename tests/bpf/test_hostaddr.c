/* SPDX-License-Identifier: MIT */
/* Addresses that come and go in a network namespace of the test's own. */
#define _GNU_SOURCE
#include "kern_fixture.h"

#include <linux/ipv6.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "base/addr.h"
#include "kern/hostaddr.h"

#define LO_INDEX 1

static int in_own_netns(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET);
}

static void set_address4(const char *text)
{
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET};
	struct ifreq request = {.ifr_name = "lo:1"};

	assert_int_equal(inet_pton(AF_INET, text, &address.sin_addr), 1);
	memcpy(&request.ifr_addr, &address, sizeof(address));
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
}

static void change_address6(unsigned long request_code, const char *text)
{
	cleanup_close int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in6_ifreq request = {.ifr6_prefixlen = 128, .ifr6_ifindex = LO_INDEX};

	assert_int_equal(inet_pton(AF_INET6, text, &request.ifr6_addr), 1);
	assert_int_equal(ioctl(fd, request_code, &request), 0);
}

static void bring_lo_up(void)
{
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
}

static bool has(const struct addr_list *list, const char *text)
{
	struct error err = {{0}};
	struct addr wanted;

	check(addr_parse(text, &wanted, &err));
	for (size_t i = 0; i < list->count; i++) {
		if (addr_equal(&list->items[i], &wanted))
			return true;
	}
	return false;
}

static struct addr_list list_now(struct hostaddr *hostaddr, bool *ret_changed)
{
	struct addr_list list = {.count = 0};

	assert_int_equal(hostaddr_list(hostaddr, &list, ret_changed), 0);
	return list;
}

static bool is_ready(const struct hostaddr *hostaddr, int timeout_ms)
{
	struct pollfd ready = {.fd = hostaddr_fd(hostaddr), .events = POLLIN};

	return poll(&ready, 1, timeout_ms) == 1;
}

static void leaves_loopback_out(void **state)
{
	struct error err = {{0}};
	struct hostaddr *hostaddr = NULL;
	struct addr_list list;
	bool changed;

	(void)state;
	bring_lo_up();
	check(hostaddr_new(&hostaddr, &err));
	list = list_now(hostaddr, &changed);
	assert_int_equal(list.count, 0);
	assert_true(changed);
	free(list.items);
	hostaddr_free(hostaddr);
}

static void sees_an_address_that_was_added(void **state)
{
	struct error err = {{0}};
	struct hostaddr *hostaddr = NULL;
	struct addr_list list;
	bool changed;

	(void)state;
	bring_lo_up();
	check(hostaddr_new(&hostaddr, &err));
	free(list_now(hostaddr, &changed).items);
	assert_false(is_ready(hostaddr, 0));
	set_address4("198.51.100.7");
	assert_true(is_ready(hostaddr, 10000));
	list = list_now(hostaddr, &changed);
	assert_true(changed);
	assert_int_equal(list.count, 1);
	assert_true(has(&list, "198.51.100.7"));
	free(list.items);
	hostaddr_free(hostaddr);
}

static void sees_an_ipv6_address_come_and_go(void **state)
{
	struct error err = {{0}};
	struct hostaddr *hostaddr = NULL;
	struct addr_list list;
	bool changed;

	(void)state;
	bring_lo_up();
	check(hostaddr_new(&hostaddr, &err));
	free(list_now(hostaddr, &changed).items);
	change_address6(SIOCSIFADDR, "2001:db8::7");
	assert_true(is_ready(hostaddr, 10000));
	list = list_now(hostaddr, &changed);
	assert_true(changed && has(&list, "2001:db8::7"));
	free(list.items);
	change_address6(SIOCDIFADDR, "2001:db8::7");
	assert_true(is_ready(hostaddr, 10000));
	list = list_now(hostaddr, &changed);
	assert_true(changed);
	assert_int_equal(list.count, 0);
	free(list.items);
	hostaddr_free(hostaddr);
}

static void says_when_nothing_changed(void **state)
{
	struct error err = {{0}};
	struct hostaddr *hostaddr = NULL;
	bool changed;

	(void)state;
	bring_lo_up();
	set_address4("198.51.100.7");
	check(hostaddr_new(&hostaddr, &err));
	free(list_now(hostaddr, &changed).items);
	assert_true(changed);
	free(list_now(hostaddr, &changed).items);
	assert_false(changed);
	/* Announced, but gone again before anybody looked. */
	change_address6(SIOCSIFADDR, "2001:db8::7");
	change_address6(SIOCDIFADDR, "2001:db8::7");
	assert_true(is_ready(hostaddr, 10000));
	free(list_now(hostaddr, &changed).items);
	assert_false(changed);
	hostaddr_free(hostaddr);
}

static void lists_again_when_messages_were_lost(void **state)
{
	struct error err = {{0}};
	struct hostaddr *hostaddr = NULL;
	struct addr_list list;
	struct pollfd ready = {.events = POLLIN};
	int least = 1;
	bool changed;

	(void)state;
	bring_lo_up();
	check(hostaddr_new(&hostaddr, &err));
	assert_int_equal(
		setsockopt(hostaddr_fd(hostaddr), SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
	free(list_now(hostaddr, &changed).items);
	for (int i = 0; i < 100; i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "2001:db8::%x", i + 1);
		change_address6(SIOCSIFADDR, text);
	}
	/* POLLERR: the next recv() fails with ENOBUFS. */
	ready.fd = hostaddr_fd(hostaddr);
	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_true(ready.revents & POLLERR);
	list = list_now(hostaddr, &changed);
	assert_true(changed);
	assert_int_equal(list.count, 100);
	assert_true(has(&list, "2001:db8::1") && has(&list, "2001:db8::64"));
	free(list.items);
	hostaddr_free(hostaddr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(leaves_loopback_out, in_own_netns),
		cmocka_unit_test_setup(sees_an_address_that_was_added, in_own_netns),
		cmocka_unit_test_setup(sees_an_ipv6_address_come_and_go, in_own_netns),
		cmocka_unit_test_setup(says_when_nothing_changed, in_own_netns),
		cmocka_unit_test_setup(lists_again_when_messages_were_lost, in_own_netns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

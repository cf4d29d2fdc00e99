/* SPDX-License-Identifier: MIT */
/* A policy on its way to the relay: what is written is what it reads, and it may dial what the oracle says. */
#include "table_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "relay/relay.h"
#include "supervise/blob.h"

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define ADDRESSES 200000

struct sent {
	struct policy *policy;
	struct table_env env;
	struct table_always_input always;
	struct table_always_row *rows;
	size_t n_rows;
	int fd;
	struct relay_policy *read;
};

static void sent_done(struct sent *sent)
{
	policy_free(sent->policy);
	free(sent->env.resolvers.items);
	free(sent->always.add.items);
	free(sent->always.except.items);
	free(sent->always.host.items);
	free(sent->rows);
	if (sent->fd >= 0)
		close(sent->fd);
	relay_policy_unref(sent->read);
}

static void add_cidr(struct cidr_list *list, const char *text)
{
	bool host_bits;

	list->items = reallocarray(list->items, list->count + 1, sizeof(*list->items));
	assert_non_null(list->items);
	assert_int_equal(cidr_parse(text, &list->items[list->count++], &host_bits, NULL), 0);
}

static void add_addr(struct addr_list *list, const char *text)
{
	list->items = reallocarray(list->items, list->count + 1, sizeof(*list->items));
	assert_non_null(list->items);
	assert_int_equal(addr_parse(text, &list->items[list->count++], NULL), 0);
}

static void parse(struct sent *sent, const char *document)
{
	struct error err = {{0}};

	sent->fd = -1;
	if (policy_parse("", document, strlen(document), POLICY_FROM_FILE, &sent->policy, &err))
		fail_msg("%s", err.text);
}

/* Through the memfd, as it travels. */
static void write_and_read(struct sent *sent)
{
	struct blob_input input = {.generation = 77, .policy = sent->policy, .env = &sent->env};
	struct stat is;
	void *bytes;

	assert_int_equal(table_always(&sent->always, &sent->rows, &sent->n_rows), 0);
	input.always = sent->rows;
	input.n_always = sent->n_rows;
	assert_int_equal(blob_new(&input, &sent->fd), 0);
	assert_int_equal(fstat(sent->fd, &is), 0);
	bytes = mmap(NULL, (size_t)is.st_size, PROT_READ, MAP_SHARED, sent->fd, 0);
	assert_ptr_not_equal(bytes, MAP_FAILED);
	assert_int_equal(relay_policy_parse(bytes, (size_t)is.st_size, &sent->read), 0);
	assert_int_equal(munmap(bytes, (size_t)is.st_size), 0);
}

static const char document[] =
	"{\"allowOut\":[\"1.1.1.1\",\"Example.com\",\"*.b.org:22\",\"*:5353/udp\",\"c.net:*\"],"
	"\"denyOut\":[\"0.0.0.0/0\"],\"hostCheck\":\"strict\",\"audit\":true,"
	"\"egressProxy\":{\"address\":\"Proxy.example:1080\",\"username\":\"u\",\"password\":\"s3cret\"},"
	"\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X-A\":\"1\",\"X-B\":\"\"}}}],"
	"\"*.a.com\":[{\"transform\":{\"headers\":{\"X-C\":\"3\"}}}]},"
	"\"dns\":{\"resolvers\":[\"9.9.9.9\"],\"minTtl\":5,\"maxTtl\":6}}";

static void what_is_written_is_what_the_relay_reads(void **state)
{
	cleanup(sent_done) struct sent sent = {0};
	const struct relay_policy *p;

	(void)state;
	parse(&sent, document);
	add_addr(&sent.env.resolvers, "8.8.8.8");
	write_and_read(&sent);
	p = sent.read;
	assert_int_equal(p->generation, 77);
	assert_int_equal(p->flags, PST_RELAY_STRICT | PST_RELAY_GATED | PST_RELAY_AUDIT);
	assert_int_equal(p->lease_min_s, 5);
	assert_int_equal(p->lease_max_s, 6);
	assert_int_equal(p->n_resolvers, 2);
	assert_int_equal(p->resolvers[0].bytes[12], 9);
	assert_int_equal(p->resolvers[1].bytes[12], 8);
	assert_string_equal(p->proxy->host, "proxy.example");
	assert_int_equal(p->proxy->port, 1080);
	assert_string_equal(p->proxy->password, "s3cret");
	assert_int_equal(p->n_transforms, 2);
	assert_string_equal(relay_policy_transform(p, "a.com")->headers[0].name, "X-A");
	assert_string_equal(relay_policy_transform(p, "a.com")->headers[1].value, "");
	assert_string_equal(relay_policy_transform(p, "x.a.com")->headers[0].value, "3");
	assert_null(relay_policy_transform(p, "xa.com"));
}

static void names_keep_their_rules_and_ports(void **state)
{
	static const struct {
		const char *name;
		uint8_t protocol;
		uint16_t port;
		uint32_t rule; /* 0: none */
	} rows[] = {
		{"example.com", PST_TCP, 443, 2}, {"example.com", PST_TCP, 80, 2},
		{"example.com", PST_TCP, 22, 0},  {"x.b.org", PST_TCP, 22, 3},
		{"b.org", PST_TCP, 22, 0},	  {"x.b.org", PST_TCP, 443, 0},
		{"any.thing", PST_UDP, 5353, 4},  {"c.net", PST_TCP, 65535, 5},
	};
	cleanup(sent_done) struct sent sent = {0};

	(void)state;
	parse(&sent, document);
	write_and_read(&sent);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct relay_name *name =
			relay_policy_name(sent.read, rows[i].name, rows[i].protocol, rows[i].port);

		assert_int_equal(name ? name->rule : 0, rows[i].rule);
	}
}

/* Addresses around the edges of what is in the sets, and anywhere. */
static struct addr draw_addr(const struct sent *sent)
{
	struct addr a = {{0}};
	const struct table_always_row *row = &sent->rows[(size_t)random() % sent->n_rows];

	memcpy(a.bytes, row->key.addr, sizeof(a.bytes));
	for (unsigned i = 0; i < 16; i++) {
		if (8 * i >= row->key.prefixlen || random() % 16 == 0)
			a.bytes[i] = (uint8_t)(random() % 3 ? random() : random() % 2 ? 0 : 255);
	}
	if (random() % 4 == 0)
		a.bytes[random() % 16] ^= (uint8_t)(1 << random() % 8);
	return a;
}

static void what_may_be_dialled_is_what_the_oracle_does_not_call_always_denied(void **state)
{
	cleanup(sent_done) struct sent sent = {0};
	struct explain_input in;
	size_t denied = 0, allowed = 0;

	(void)state;
	parse(&sent, "{\"allowPrivate\":[\"10.7.0.0/16\",\"fd00:7::/32\",\"198.18.5.5\"]}");
	add_cidr(&sent.always.add, "203.0.113.0/24");
	add_cidr(&sent.always.add, "2001:db8::/32");
	add_cidr(&sent.always.except, "10.0.0.0/9");
	add_cidr(&sent.always.except, "fd00:1::/32");
	add_cidr(&sent.always.except, "203.0.113.128/25");
	/* Inside of what is excepted, and of what is lifted. */
	add_addr(&sent.always.host, "10.1.2.3");
	add_addr(&sent.always.host, "10.7.0.1");
	add_addr(&sent.always.host, "fd00:1::5");
	add_addr(&sent.always.host, "93.184.216.34");
	write_and_read(&sent);
	in = (struct explain_input){.policy = sent.policy, .always = &sent.always};
	srandom(1);
	for (int i = 0; i < ADDRESSES; i++) {
		struct addr a = draw_addr(&sent), reading;
		bool closed = explain_find_always_denied(&in, &a, &reading);
		char text[CIDR_TEXT_MAX];

		if (relay_policy_may_dial(sent.read, &a) == closed)
			fail_msg("%s: the oracle says %s", addr_print(&a, text),
				 closed ? "always denied" : "not always denied");
		denied += closed;
		allowed += !closed;
	}
	assert_true(denied > ADDRESSES / 20 && allowed > ADDRESSES / 20);
}

static void another_set_changes_what_is_closed_and_nothing_else(void **state)
{
	cleanup(sent_done) struct sent sent = {0}, as_if = {0};
	char bytes[65536];
	ssize_t size;
	int fd = -1;

	(void)state;
	parse(&sent, document);
	write_and_read(&sent);
	parse(&as_if, document);
	add_addr(&as_if.always.host, "93.184.216.34");
	write_and_read(&as_if);
	assert_true(relay_policy_may_dial(sent.read, &as_if.always.host.items[0]));
	assert_int_equal(blob_close_anew(sent.fd, as_if.rows, as_if.n_rows, &fd), 0);
	size = pread(fd, bytes, sizeof(bytes), 0);
	assert_true(size > 0 && size < (ssize_t)sizeof(bytes));
	close(fd);
	relay_policy_unref(sent.read);
	sent.read = NULL;
	assert_int_equal(relay_policy_parse(bytes, (size_t)size, &sent.read), 0);
	srandom(2);
	for (int i = 0; i < ADDRESSES / 10; i++) {
		struct addr a = draw_addr(&as_if);

		assert_int_equal(relay_policy_may_dial(sent.read, &a),
				 relay_policy_may_dial(as_if.read, &a));
	}
	assert_false(relay_policy_may_dial(sent.read, &as_if.always.host.items[0]));
	assert_string_equal(sent.read->proxy->password, "s3cret");
	assert_int_equal(sent.read->n_names, as_if.read->n_names);
	assert_string_equal(relay_policy_transform(sent.read, "a.com")->headers[0].name, "X-A");
}

static void the_file_is_sealed(void **state)
{
	cleanup(sent_done) struct sent sent = {0};
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	(void)state;
	parse(&sent, document);
	write_and_read(&sent);
	assert_int_equal(fcntl(sent.fd, F_GET_SEALS), seals);
	assert_int_equal(write(sent.fd, "x", 1), -1);
	assert_int_equal(ftruncate(sent.fd, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_what_the_relay_reads),
		cmocka_unit_test(names_keep_their_rules_and_ports),
		cmocka_unit_test(
			what_may_be_dialled_is_what_the_oracle_does_not_call_always_denied),
		cmocka_unit_test(another_set_changes_what_is_closed_and_nothing_else),
		cmocka_unit_test(the_file_is_sealed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

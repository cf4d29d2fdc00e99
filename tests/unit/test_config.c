/* SPDX-License-Identifier: MIT */
/* posternd.json: what is taken, what is refused and with which words. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "daemon/config.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HEX	     "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define HEX_LOWER    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY	     "{\"hash\":\"sha256:" HEX "\",\"role\":\"operator\"}"

struct golden {
	const char *document, *text;
};

static char directory[64], path[96];

static int make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/pst-config-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/posternd.json", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(directory);
}

static int load(const char *document, struct config *ret_config, struct error *err)
{
	struct error io = {.text = ""};

	if (io_replace_file(path, document, strlen(document), &io) < 0)
		fail_msg("%s", io.text);
	return config_load(path, false, ret_config, err);
}

static struct config taken(const char *document)
{
	struct config config = {0};
	struct error err = {.text = ""};

	if (load(document, &config, &err) < 0)
		fail_msg("%s: %s", document, err.text);
	return config;
}

/* The text behind "DIRECTORY/". */
static void assert_refused(const struct golden *golden)
{
	struct config config, untouched;
	struct error err = {.text = ""};
	int r;

	memset(&config, 0x5a, sizeof(config));
	memcpy(&untouched, &config, sizeof(config));
	r = load(golden->document, &config, &err);
	if (r == 0)
		fail_msg("accepted: %s", golden->document);
	assert_int_equal(r, -EINVAL);
	assert_memory_equal(&config, &untouched, sizeof(config));
	assert_memory_equal(err.text, directory, strlen(directory));
	assert_string_equal(err.text + strlen(directory) + 1, golden->text);
}

static void assert_all_refused(const struct golden *goldens, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_refused(&goldens[i]);
}

static void assert_defaults(const struct config *config)
{
	assert_string_equal(config->socket, "/run/postern/postern.sock");
	assert_string_equal(config->state_dir, "/var/lib/postern");
	assert_string_equal(config->bpffs_dir, "/sys/fs/bpf/postern");
	assert_string_equal(config->sandbox_dir, "/etc/postern/sandboxes.d");
	assert_string_equal(config->cgroup_parent, "postern");
	assert_null(config->listen_host);
	assert_int_equal(config->n_keys, 0);
	assert_false(config->has_resolvers);
	assert_int_equal(config->always_add.count + config->always_except.count, 0);
	assert_int_equal(config->existing, POLICY_EXISTING_RECHECK);
	assert_int_equal(config->max_sandboxes, 10000);
	assert_int_equal(config->max_leases, 2048);
	assert_int_equal(config->max_connections, 2048);
	assert_int_equal(config->max_streams, 64);
	assert_int_equal(config->max_body, 9 * 1024 * 1024);
	assert_false(config->log_text);
}

static void an_empty_object_and_no_file_are_the_defaults(void **state)
{
	struct config config = taken("{}");
	struct error err = {.text = "?"};

	(void)state;
	assert_defaults(&config);
	config_done(&config);
	assert_int_equal(config_load("/nonexistent/posternd.json", true, &config, &err), 0);
	assert_string_equal(err.text, "");
	assert_defaults(&config);
	config_done(&config);
	config_done(&config);
}

static void a_file_that_was_asked_for_has_to_be_there(void **state)
{
	struct config config;
	struct error err;

	(void)state;
	assert_int_equal(config_load("/nonexistent/posternd.json", false, &config, &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent/posternd.json: No such file or directory");
	assert_int_equal(config_load(directory, true, &config, &err), -EISDIR);
}

static const char full[] =
	"{\"socket\":\"/a/s\",\"listen\":\"[2001:DB8::1]:65535\",\"listenInsecure\":true,"
	"\"apiKeys\":[" KEY ",{\"owner\":\"team-1\",\"role\":\"tenant\",\"hash\":"
	"\"sha256:ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}],"
	"\"stateDir\":\"/b\",\"bpffsDir\":\"/c/d\",\"sandboxDir\":\"/e\",\"cgroupParent\":\"f.slice/g\","
	"\"resolvers\":[\"10.0.0.1\",\"::ffff:10.0.0.2\",\"fd00::1\"],"
	"\"alwaysDenied\":{\"add\":[\"198.51.100.0/24\"],\"except\":[\"10.0.0.1\",\"fd00::/8\"]},"
	"\"existing\":\"keep\",\"relay\":{},\"limits\":{\"sandboxes\":1,\"leases\":2,\"connections\":3,"
	"\"streams\":4,\"body\":1024},\"log\":\"text\"}";

static void every_key_is_taken(void **state)
{
	struct config config = taken(full);
	char text[CIDR_TEXT_MAX];

	(void)state;
	assert_string_equal(config.socket, "/a/s");
	assert_string_equal(config.listen_host, "2001:db8::1");
	assert_int_equal(config.listen_port, 65535);
	assert_false(config.listen_loopback);
	assert_string_equal(config.state_dir, "/b");
	assert_string_equal(config.bpffs_dir, "/c/d");
	assert_string_equal(config.sandbox_dir, "/e");
	assert_string_equal(config.cgroup_parent, "f.slice/g");
	assert_true(config.has_resolvers);
	assert_int_equal(config.resolvers.count, 3);
	assert_string_equal(addr_print(&config.resolvers.items[1], text), "10.0.0.2");
	assert_int_equal(config.always_add.count, 1);
	assert_string_equal(cidr_print(&config.always_add.items[0], text), "198.51.100.0/24");
	assert_int_equal(config.always_except.count, 2);
	assert_string_equal(cidr_print(&config.always_except.items[1], text), "fd00::/8");
	assert_int_equal(config.existing, POLICY_EXISTING_KEEP);
	assert_int_equal(config.max_sandboxes, 1);
	assert_int_equal(config.max_leases, 2);
	assert_int_equal(config.max_connections, 3);
	assert_int_equal(config.max_streams, 4);
	assert_int_equal(config.max_body, 1024);
	assert_true(config.log_text);
	config_done(&config);
}

static void keys_have_hashes_roles_and_owners(void **state)
{
	struct config config = taken(full);

	(void)state;
	assert_int_equal(config.n_keys, 2);
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(config.keys[0].hash[i], 0x11 * (i % 16));
	assert_int_equal(config.keys[0].role, API_ROLE_OPERATOR);
	assert_string_equal(config.keys[0].owner, "");
	assert_int_equal(config.keys[1].hash[0], 0xff);
	assert_int_equal(config.keys[1].role, API_ROLE_TENANT);
	assert_string_equal(config.keys[1].owner, "team-1");
	config_done(&config);
}

static void an_empty_list_of_resolvers_is_not_the_default(void **state)
{
	struct config config = taken("{\"resolvers\":[]}");

	(void)state;
	assert_true(config.has_resolvers);
	assert_int_equal(config.resolvers.count, 0);
	config_done(&config);
}

static void refuses_what_it_does_not_understand(void **state)
{
	static const struct golden goldens[] = {
		{"", "posternd.json:1:1: expected a value, found the end of the document"},
		{"[]", "posternd.json:1:1: expected an object, found a list"},
		{"{\"log\":\"json\",\"log\":\"text\"}", "posternd.json:1:15: duplicate key 'log'"},
		{"{\n \"apikeys\": []}", "posternd.json:2:2: unknown key 'apikeys'"},
		{"{\"limits\":{\"bodies\":1}}", "posternd.json:1:12: limits: unknown key 'bodies'"},
		{"{\"log\":\"xml\"}",
		 "posternd.json:1:8: log: unknown word 'xml', expected one of 'json', 'text'"},
		{"{\"log\":null}", "posternd.json:1:8: log: expected a string, found null"},
		{"{\"existing\":true}",
		 "posternd.json:1:13: existing: expected a string, found true or false"},
		{"{\"existing\":\"drop\"}",
		 "posternd.json:1:13: existing: unknown word 'drop', expected one of 'recheck', 'keep'"},
		{"{\"relay\":{\"users\":\"x\"}}", "posternd.json:1:11: relay: unknown key 'users'"},
		{"{\"relay\":{\"caBundle\":\"x\"}}",
		 "posternd.json:1:22: relay.caBundle: expected an absolute path, found 'x'"},
		{"{\"relay\":{\"limits\":{\"headBytes\":1}}}",
		 "posternd.json:1:33: relay.limits.headBytes: 1 is out of range, expected 1024..1048576"},
		{"{\"relay\":1}",
		 "posternd.json:1:10: relay: expected an object, found a whole number"},
		{"{\"listenInsecure\":\"yes\"}",
		 "posternd.json:1:19: listenInsecure: expected true or false, found a string"},
	};

	(void)state;
	assert_all_refused(goldens, COUNT(goldens));
}

static void refuses_keys_that_could_not_be_told_apart(void **state)
{
	static const struct golden goldens[] = {
		{"{\n  \"apiKeys\": [\n    {\"hash\": \"secret\", \"role\": \"operator\"}]}",
		 "posternd.json:3:14: apiKeys[0].hash: expected \"sha256:\" and 64 hex digits, found something else of 6 bytes"},
		{"{\"apiKeys\":[{\"hash\":\"sha256:0g" HEX "\",\"role\":\"operator\"}]}",
		 "posternd.json:1:21: apiKeys[0].hash: expected \"sha256:\" and 64 hex digits, found something else of 73 bytes"},
		{"{\"apiKeys\":[{\"hash\":\"SHA256:" HEX "\",\"role\":\"operator\"}]}",
		 "posternd.json:1:21: apiKeys[0].hash: expected \"sha256:\" and 64 hex digits, found something else of 71 bytes"},
		{"{\"apiKeys\":[" KEY ",{\"hash\":\"sha256:" HEX_LOWER
		 "\",\"role\":\"tenant\",\"owner\":\"a\"}]}",
		 "posternd.json:1:122: apiKeys[1].hash: the same hash as apiKeys[0].hash"},
		{"{\"apiKeys\":[{\"role\":\"operator\"}]}",
		 "posternd.json:1:13: apiKeys[0]: no key 'hash'"},
		{"{\"apiKeys\":[{\"hash\":\"sha256:" HEX "\"}]}",
		 "posternd.json:1:13: apiKeys[0]: no key 'role'"},
		{"{\"apiKeys\":[{\"hash\":\"sha256:" HEX "\",\"role\":\"tenant\"}]}",
		 "posternd.json:1:13: apiKeys[0]: role 'tenant' needs the key 'owner'"},
		{"{\"apiKeys\":[{\"hash\":\"sha256:" HEX "\",\"role\":\"root\"}]}",
		 "posternd.json:1:102: apiKeys[0].role: unknown word 'root', expected one of 'tenant', 'operator'"},
		{"{\"apiKeys\":[{\"hash\":\"sha256:" HEX "\",\"role\":\"tenant\",\"owner\":\"\"}]}",
		 "posternd.json:1:119: apiKeys[0].owner: expected 1..64 bytes without control characters, found ''"},
		{"{\"apiKeys\":[{\"hash\":\"sha256:" HEX
		 "\",\"role\":\"tenant\",\"owner\":\"a\\nb\"}]}",
		 "posternd.json:1:119: apiKeys[0].owner: expected 1..64 bytes without control characters, found 'a?b'"},
		{"{\"apiKeys\":{}}",
		 "posternd.json:1:12: apiKeys: expected a list, found an object"},
		{"{\"apiKeys\":[\"x\"]}",
		 "posternd.json:1:13: apiKeys[0]: expected an object, found a string"},
	};

	(void)state;
	assert_all_refused(goldens, COUNT(goldens));
}

static void an_owner_may_have_64_bytes_and_no_more(void **state)
{
	char document[512];
	struct config config;
	struct error err;

	(void)state;
	for (size_t size = 64; size <= 65; size++) {
		char owner[66] = "";

		memset(owner, 'o', size);
		snprintf(
			document, sizeof(document),
			"{\"apiKeys\":[{\"hash\":\"sha256:%s\",\"role\":\"tenant\",\"owner\":\"%s\"}]}",
			HEX, owner);
		assert_int_equal(load(document, &config, &err), size == 64 ? 0 : -EINVAL);
		if (size == 64) {
			assert_string_equal(config.keys[0].owner, owner);
			config_done(&config);
		}
	}
}

static void listening_needs_keys_and_loopback(void **state)
{
	static const struct golden goldens[] = {
		{"{\"listen\":\"127.0.0.1:3000\"}",
		 "posternd.json:1:11: listen: nobody could call: 'apiKeys' has no key for it"},
		{"{\"listen\":\"127.0.0.1:3000\",\"apiKeys\":[]}",
		 "posternd.json:1:11: listen: nobody could call: 'apiKeys' has no key for it"},
		{"{\"listen\":\"0.0.0.0:3000\",\"apiKeys\":[" KEY "]}",
		 "posternd.json:1:11: listen: '0.0.0.0' is not loopback: put TLS in front, or say \"listenInsecure\": true"},
		{"{\"listen\":\"[::]:3000\",\"listenInsecure\":false,\"apiKeys\":[" KEY "]}",
		 "posternd.json:1:11: listen: '::' is not loopback: put TLS in front, or say \"listenInsecure\": true"},
	};
	static const char *const loopback[] = {"127.0.0.1:3000", "127.9.9.9:1", "[::1]:3000",
					       "[::ffff:127.0.0.1]:3000"};

	(void)state;
	assert_all_refused(goldens, COUNT(goldens));
	for (size_t i = 0; i < COUNT(loopback); i++) {
		char document[256];
		struct config config;

		snprintf(document, sizeof(document), "{\"listen\":\"%s\",\"apiKeys\":[%s]}",
			 loopback[i], KEY);
		config = taken(document);
		assert_true(config.listen_loopback);
		config_done(&config);
	}
}

static void refuses_what_is_no_address_with_a_port(void **state)
{
	static const char *const texts[] = {"",
					    "127.0.0.1",
					    "127.0.0.1:",
					    "127.0.0.1:0",
					    "127.0.0.1:65536",
					    "127.0.0.1:0080",
					    "127.0.0.1:+80",
					    "127.0.0.1:80 ",
					    ":3000",
					    "localhost:3000",
					    "::1:3000",
					    "[::1]",
					    "[::1]3000",
					    "[::1:3000",
					    "[127.0.0.1]:3000",
					    "[]:3000",
					    "[:3000",
					    "127.0.0.1/8:3000",
					    "127.0.0.1:999999999999"};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		char document[512], text[512];
		struct golden golden = {document, text};

		snprintf(document, sizeof(document), "{\"listen\":\"%s\",\"apiKeys\":[%s]}",
			 texts[i], KEY);
		snprintf(
			text, sizeof(text),
			"posternd.json:1:11: listen: expected an address and a port 1..65535, such as '127.0.0.1:3000' or '[::1]:3000', found '%s'",
			texts[i]);
		assert_refused(&golden);
	}
}

static void refuses_paths_that_lead_elsewhere(void **state)
{
	static const char *const keys[] = {"socket", "stateDir", "bpffsDir", "sandboxDir"};
	static const char *const paths[] = {"", "/", "a", "./a", "/a/../b", "/..", "/a/."};
	static const char *const parents[] = {"", "/a", "a/", "a//b", ".", "..", "a/../b"};
	char document[256], text[512];
	struct golden golden = {document, text};

	(void)state;
	for (size_t i = 0; i < COUNT(keys) * COUNT(paths); i++) {
		const char *key = keys[i / COUNT(paths)], *value = paths[i % COUNT(paths)];

		snprintf(document, sizeof(document), "{\"%s\":\"%s\"}", key, value);
		snprintf(
			text, sizeof(text),
			"posternd.json:1:%zu: %s: expected an absolute path without '.' and '..', found '%s'",
			strlen(key) + 5, key, value);
		assert_refused(&golden);
	}
	for (size_t i = 0; i < COUNT(parents); i++) {
		snprintf(document, sizeof(document), "{\"cgroupParent\":\"%s\"}", parents[i]);
		snprintf(
			text, sizeof(text),
			"posternd.json:1:17: cgroupParent: expected a path below the cgroup2 mount, such as 'postern' or 'a.slice/b', found '%s'",
			parents[i]);
		assert_refused(&golden);
	}
}

static void a_socket_path_fits_into_its_address(void **state)
{
	char document[256] = "{\"socket\":\"/",
	     text[] = "posternd.json:1:11: socket: a path of 108 bytes, expected at most 107";
	struct golden golden = {document, text};
	struct config config;

	(void)state;
	memset(document + 12, 'a', 106);
	strcpy(document + 12 + 106, "\"}");
	config = taken(document);
	config_done(&config);
	strcpy(document + 12 + 106, "a\"}");
	assert_refused(&golden);
}

static void refuses_addresses_that_mean_nothing(void **state)
{
	static const struct golden goldens[] = {
		{"{\"resolvers\":[\"0.0.0.0\"]}",
		 "posternd.json:1:15: resolvers[0]: a resolver needs an address, found '0.0.0.0'"},
		{"{\"resolvers\":[\"::\"]}",
		 "posternd.json:1:15: resolvers[0]: a resolver needs an address, found '::'"},
		{"{\"resolvers\":\"10.0.0.1\"}",
		 "posternd.json:1:14: resolvers: expected a list, found a string"},
		{"{\"resolvers\":[\"10.0.0.1\",1]}",
		 "posternd.json:1:26: resolvers[1]: expected a string, found a whole number"},
		{"{\"alwaysDenied\":{\"add\":[\"10.0.0.1/8\"]}}",
		 "posternd.json:1:25: alwaysDenied.add[0]: '10.0.0.1/8' has bits beyond its length, did you mean '10.0.0.0/8'?"},
		{"{\"alwaysDenied\":{\"except\":[\"0.0.0.0/0\"]}}",
		 "posternd.json:1:28: alwaysDenied.except[0]: '0.0.0.0/0' is every address of its family"},
		{"{\"alwaysDenied\":{\"but\":[]}}",
		 "posternd.json:1:18: alwaysDenied: unknown key 'but'"},
	};
	struct config config;
	struct error err;

	(void)state;
	assert_all_refused(goldens, COUNT(goldens));
	assert_int_equal(load("{\"resolvers\":[\"example.com\"]}", &config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "posternd.json:1:15: resolvers[0]: "));
	assert_int_equal(load("{\"alwaysDenied\":{\"add\":[\"10.0.0.0/33\"]}}", &config, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "posternd.json:1:25: alwaysDenied.add[0]: "));
}

static void limits_are_bounded_on_both_sides(void **state)
{
	static const struct golden goldens[] = {
		{"{\"limits\":{\"sandboxes\":0}}",
		 "posternd.json:1:24: limits.sandboxes: 0 is out of range, expected 1..100000"},
		{"{\"limits\":{\"leases\":2049}}",
		 "posternd.json:1:21: limits.leases: 2049 is out of range, expected 1..2048"},
		{"{\"limits\":{\"connections\":-1}}",
		 "posternd.json:1:26: limits.connections: -1 is out of range, expected 1..65536"},
		{"{\"limits\":{\"streams\":4294967297}}",
		 "posternd.json:1:22: limits.streams: 4294967297 is out of range, expected 1..65536"},
		{"{\"limits\":{\"body\":1023}}",
		 "posternd.json:1:19: limits.body: 1023 is out of range, expected 1024..67108864"},
		{"{\"limits\":{\"body\":1e6}}",
		 "posternd.json:1:19: limits.body: expected a whole number, found a number with a fraction or an exponent"},
	};

	(void)state;
	assert_all_refused(goldens, COUNT(goldens));
}

static void warns_when_others_can_read_the_hashes(void **state)
{
	static const char document[] = "{\"apiKeys\":[" KEY "]}";
	int fds[2], saved = dup(STDERR_FILENO);
	char expected[256], text[512] = "";
	struct config config = taken(document);
	struct error err;

	(void)state;
	config_done(&config);
	assert_int_equal(pipe(fds), 0);
	assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
	assert_int_equal(config_load(path, false, &config, &err), 0); /* 0600: no warning */
	config_done(&config);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(config_load(path, false, &config, &err), 0);
	config_done(&config);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	close(fds[1]);
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	close(fds[0]);
	snprintf(expected, sizeof(expected),
		 "postern: %s: others can read the hashes of its keys (chmod o-r)\n", path);
	assert_string_equal(text, expected);
}

/* Truncated and changed documents: refused or taken, never crashed, never leaked (the sanitizers look). */
static void survives_any_document(void **state)
{
	char document[sizeof(full)];
	struct config config;
	struct error err;

	(void)state;
	for (size_t i = 0; i < 2 * (sizeof(full) - 1); i++) {
		memcpy(document, full, sizeof(full));
		if (i % 2)
			document[i / 2] = '\0';
		else
			document[i / 2] ^= (char)(1 << i % 7);
		if (load(document, &config, &err) == 0)
			config_done(&config);
		else
			assert_true(err.text[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_object_and_no_file_are_the_defaults),
		cmocka_unit_test(a_file_that_was_asked_for_has_to_be_there),
		cmocka_unit_test(every_key_is_taken),
		cmocka_unit_test(keys_have_hashes_roles_and_owners),
		cmocka_unit_test(an_empty_list_of_resolvers_is_not_the_default),
		cmocka_unit_test(refuses_what_it_does_not_understand),
		cmocka_unit_test(refuses_keys_that_could_not_be_told_apart),
		cmocka_unit_test(an_owner_may_have_64_bytes_and_no_more),
		cmocka_unit_test(listening_needs_keys_and_loopback),
		cmocka_unit_test(refuses_what_is_no_address_with_a_port),
		cmocka_unit_test(refuses_paths_that_lead_elsewhere),
		cmocka_unit_test(a_socket_path_fits_into_its_address),
		cmocka_unit_test(refuses_addresses_that_mean_nothing),
		cmocka_unit_test(limits_are_bounded_on_both_sides),
		cmocka_unit_test(warns_when_others_can_read_the_hashes),
		cmocka_unit_test(survives_any_document),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

/* SPDX-License-Identifier: MIT */
/* posternd.json -> struct config: every key optional, nothing taken that is not understood. Warns, but never prints. */
#include "daemon/config.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "daemon/config_read.h"
#include "pst_limits.h"

#define MAX_BODY (64u * 1024 * 1024)

void config_done(struct config *config)
{
	free(config->socket);
	free(config->state_dir);
	free(config->bpffs_dir);
	free(config->sandbox_dir);
	free(config->cgroup_parent);
	free(config->listen_host);
	free(config->relay_user);
	free(config->relay_ca_bundle);
	free(config->keys);
	free(config->resolvers.items);
	free(config->always_add.items);
	free(config->always_except.items);
	memset(config, 0, sizeof(*config));
}

static int set_defaults(struct config *config)
{
	*config = (struct config){
		.socket = strdup("/run/postern/postern.sock"),
		.state_dir = strdup("/var/lib/postern"),
		.bpffs_dir = strdup("/sys/fs/bpf/postern"),
		.sandbox_dir = strdup("/etc/postern/sandboxes.d"),
		.cgroup_parent = strdup("postern"),
		.max_sandboxes = 10000,
		.max_leases = PST_MAX_LEASES,
		.max_connections = 2048,
		.max_streams = 64,
		.max_labelled = 1000,
		.max_body = 9u * 1024 * 1024,
	};
	return config->socket && config->state_dir && config->bpffs_dir && config->sandbox_dir &&
			       config->cgroup_parent
		       ? 0
		       : -ENOMEM;
}

static int replace(const struct json_reader *rd, const struct json_node *node, const char *text,
		   char **to)
{
	char *copy = strdup(text);

	if (!copy)
		return json_reader_fail(rd, node, -ENOMEM);
	free(*to);
	*to = copy;
	return 0;
}

/* Is one of the parts between slashes "." or ".." (or, with `strict`, empty)? */
static bool has_odd_part(const char *path, bool strict)
{
	for (;;) {
		size_t size = strcspn(path, "/");

		if ((strict && size == 0) || (size == 1 && path[0] == '.') ||
		    (size == 2 && path[0] == '.' && path[1] == '.'))
			return true;
		if (!path[size])
			return false;
		path += size + 1;
	}
}

static int read_path(const struct json_reader *rd, const struct json_node *node, size_t max,
		     char **to)
{
	const char *text = NULL;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	if (text[0] != '/' || !text[1] || has_odd_part(text, false))
		return json_reader_refuse(
			rd, node, "expected an absolute path without '.' and '..', found '%.200s'",
			text);
	if (strlen(text) > max)
		return json_reader_refuse(rd, node, "a path of %zu bytes, expected at most %zu",
					  strlen(text), max);
	return replace(rd, node, text, to);
}

static int read_socket(const struct json_reader *rd, const struct json_node *node, void *context)
{
	/* unix(7): sun_path with its NUL. */
	return read_path(rd, node, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
			 &((struct config *)context)->socket);
}

/* Room is left for the names of what lies in it. */
#define MAX_DIR (PATH_MAX - 512)

static int read_state_dir(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return read_path(rd, node, MAX_DIR, &((struct config *)context)->state_dir);
}

static int read_bpffs_dir(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return read_path(rd, node, MAX_DIR, &((struct config *)context)->bpffs_dir);
}

static int read_sandbox_dir(const struct json_reader *rd, const struct json_node *node,
			    void *context)
{
	return read_path(rd, node, MAX_DIR, &((struct config *)context)->sandbox_dir);
}

static int read_cgroup_parent(const struct json_reader *rd, const struct json_node *node,
			      void *context)
{
	const char *text = NULL;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	if (has_odd_part(text, true) || strlen(text) > MAX_DIR)
		return json_reader_refuse(
			rd, node,
			"expected a path below the cgroup2 mount, such as 'postern' or 'a.slice/b', found '%.200s'",
			text);
	return replace(rd, node, text, &((struct config *)context)->cgroup_parent);
}

static bool parse_port(const char *text, uint16_t *ret_port)
{
	unsigned value = 0;

	if (!text[0] || text[0] == '0' || strlen(text) > 5)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (unsigned)(*text - '0');
	}
	*ret_port = (uint16_t)value;
	return value <= UINT16_MAX;
}

/* "127.0.0.1:3000" or "[::1]:3000": brackets around IPv6 and around nothing else. */
static bool parse_listen(const char *text, struct addr *ret_addr, uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	bool brackets = text[0] == '[';
	char host[CIDR_TEXT_MAX];
	size_t size;

	if (!colon || !parse_port(colon + 1, ret_port))
		return false;
	size = (size_t)(colon - text);
	if (size >= sizeof(host) || (brackets && (size < 2 || text[size - 1] != ']')))
		return false;
	if (brackets) {
		text++;
		size -= 2;
	}
	memcpy(host, text, size);
	host[size] = '\0';
	return !!strchr(host, ':') == brackets && addr_parse(host, ret_addr, NULL) == 0;
}

static bool is_loopback(const struct addr *a)
{
	static const struct addr ipv6 = {.bytes = {[15] = 1}};

	return addr_is_ipv4(a) ? a->bytes[12] == 127 : addr_equal(a, &ipv6);
}

static int read_listen(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct config *config = context;
	char host[CIDR_TEXT_MAX];
	const char *text = NULL;
	struct addr addr;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	if (!parse_listen(text, &addr, &config->listen_port))
		return json_reader_refuse(
			rd, node,
			"expected an address and a port 1..65535, such as '127.0.0.1:3000' or '[::1]:3000', found '%.200s'",
			text);
	config->listen_loopback = is_loopback(&addr);
	return replace(rd, node, addr_print(&addr, host), &config->listen_host);
}

static int read_insecure(const struct json_reader *rd, const struct json_node *node, void *context)
{
	bool ignored;

	(void)context; /* check_listen() looks at it */
	return json_reader_bool(rd, node, &ignored);
}

static int read_existing(const struct json_reader *rd, const struct json_node *node, void *context)
{
	static const struct json_word words[] = {
		{"recheck", POLICY_EXISTING_RECHECK}, {"keep", POLICY_EXISTING_KEEP}, {NULL, 0}};

	return json_reader_word(rd, node, words, &((struct config *)context)->existing);
}

static int read_log(const struct json_reader *rd, const struct json_node *node, void *context)
{
	static const struct json_word words[] = {{"json", false}, {"text", true}, {NULL, 0}};
	unsigned char text = false;
	int r = json_reader_word(rd, node, words, &text);

	if (r == 0)
		((struct config *)context)->log_text = text;
	return r;
}

struct limit {
	const char *name;
	uint32_t min, max;
	size_t offset; /* of a uint32_t in struct config; 0: max_body */
};

static const struct limit limits[] = {
	{"sandboxes", 1, JSON_MAX_ENTRIES, offsetof(struct config, max_sandboxes)},
	{"sandboxesPerOwner", 1, JSON_MAX_ENTRIES, offsetof(struct config, max_per_owner)},
	{"leases", 1, PST_MAX_LEASES, offsetof(struct config, max_leases)},
	{"connections", 1, 65536, offsetof(struct config, max_connections)},
	{"streams", 1, 65536, offsetof(struct config, max_streams)},
	{"metrics", 0, JSON_MAX_ENTRIES, offsetof(struct config, max_labelled)},
	{"body", 1024, MAX_BODY, 0},
};
#define N_LIMITS (sizeof(limits) / sizeof(limits[0]))

static int read_limit(const struct json_reader *rd, const struct json_node *node, void *context)
{
	const struct limit *limit = limits;
	struct config *config = context;
	uint64_t value = 0;
	int r;

	while (strcmp(limit->name, node->key) != 0)
		limit++;
	r = json_reader_integer(rd, node, limit->min, limit->max, &value);
	if (r < 0)
		return r;
	if (limit->offset)
		*(uint32_t *)(void *)((char *)config + limit->offset) = (uint32_t)value;
	else
		config->max_body = value;
	return 0;
}

static int read_limits(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct json_key keys[N_LIMITS + 1] = {{NULL, NULL, false}};

	for (size_t i = 0; i < N_LIMITS; i++)
		keys[i] = (struct json_key){limits[i].name, read_limit, false};
	return json_reader_object(rd, node, keys, context);
}

/* What joins keys: nobody could call without a key, and keys do not cross a network in the clear by accident. */
static int check_listen(const struct json_reader *rd, const struct config *config)
{
	const struct json_node *root = rd->json.nodes, *insecure, *listen;

	listen = json_member(&rd->json, root, "listen");
	insecure = json_member(&rd->json, root, "listenInsecure");
	if (!listen)
		return 0;
	if (!config->n_keys)
		return json_reader_refuse(rd, listen,
					  "nobody could call: 'apiKeys' has no key for it");
	if (!config->listen_loopback && !(insecure && insecure->boolean))
		return json_reader_refuse(
			rd, listen,
			"'%s' is not loopback: put TLS in front, or say \"listenInsecure\": true",
			config->listen_host);
	return 0;
}

static int read_document(const struct json_reader *rd, struct config *config)
{
	static const struct json_key keys[] = {
		{"socket", read_socket, false},
		{"apiKeys", config_read_keys, false},
		{"listen", read_listen, false},
		{"listenInsecure", read_insecure, false},
		{"stateDir", read_state_dir, false},
		{"bpffsDir", read_bpffs_dir, false},
		{"sandboxDir", read_sandbox_dir, false},
		{"cgroupParent", read_cgroup_parent, false},
		{"resolvers", config_read_resolvers, false},
		{"alwaysDenied", config_read_always, false},
		{"existing", read_existing, false},
		{"relay", config_read_relay, false},
		{"limits", read_limits, false},
		{"log", read_log, false},
		{NULL, NULL, false},
	};
	int r = json_reader_object(rd, rd->json.nodes, keys, config);

	return r == 0 ? check_listen(rd, config) : r;
}

/* Hashes of keys that were chosen badly can be guessed from. */
static void warn_of_mode(const char *path, const struct config *config)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	if (st.st_mode & S_IWOTH)
		log_warning("%s: others can write to it (chmod o-w)", path);
	if (config->n_keys && (st.st_mode & S_IROTH))
		log_warning("%s: others can read the hashes of its keys (chmod o-r)", path);
}

static int parse(const char *path, const char *text, size_t size, struct config *config,
		 struct error *err)
{
	cleanup_json_reader struct json_reader rd = {.name = path};
	int r = json_reader_open(path, text, size, err, &rd);

	return r == 0 ? read_document(&rd, config) : r;
}

int config_load(const char *path, bool optional, struct config *ret_config, struct error *err)
{
	cleanup(config_done) struct config config = {0};
	cleanup_free char *text = NULL;
	size_t size;
	int r = set_defaults(&config);

	if (r < 0)
		return error_set(err, r, "%s: %s", path, strerror(-r));
	r = io_read_file(path, JSON_MAX_BYTES, &text, &size, err);
	if (r == 0) {
		r = parse(path, text, size, &config, err);
		if (r == 0)
			warn_of_mode(path, &config);
	} else if (r == -ENOENT && optional) {
		error_set(err, 0, "%s", "");
		r = 0;
	}
	if (r < 0)
		return r;
	*ret_config = config;
	config = (struct config){0};
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* posternd.json -> struct config. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "api/server.h"
#include "base/addr.h"
#include "base/error.h"
#include "policy/policy.h"
#include "supervise/supervise.h"

#define CONFIG_PATH "/etc/postern/posternd.json"

struct config {
	char *socket, *state_dir, *bpffs_dir, *sandbox_dir, *cgroup_parent;
	char *listen_host; /* NULL: no TCP; else an address */
	uint16_t listen_port;
	bool listen_loopback; /* listen_host is a loopback address: Host is checked */
	struct api_key *keys;
	size_t n_keys;
	struct addr_list resolvers;
	bool has_resolvers; /* false: /etc/resolv.conf's */
	struct cidr_list always_add, always_except;
	unsigned char existing; /* enum policy_existing, for policies that do not say */
	uint32_t max_sandboxes; /* limits.sandboxes, 10,000 */
	uint32_t max_per_owner; /* limits.sandboxesPerOwner; 0: no other limit than max_sandboxes */
	uint32_t max_leases;	/* limits.leases, 2,048 */
	uint32_t max_connections; /* limits.connections, 2,048 */
	uint32_t max_streams;	  /* limits.streams, 64 */
	uint32_t max_labelled;	  /* limits.metrics: sandboxes with series of their own, 1,000 */
	uint64_t max_body;	  /* limits.body, 9 MiB */
	char *relay_user, *relay_ca_bundle; /* NULL: the default */
	struct supervise_limits relay_limits;
	bool log_text;
};

/* The defaults when path does not exist and `optional`. -EINVAL with "posternd.json:3:7: apiKeys[0].hash: ..." */
int config_load(const char *path, bool optional, struct config *ret_config, struct error *err);
void config_done(struct config *config);

#endif

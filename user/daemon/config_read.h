/* SPDX-License-Identifier: MIT */
/* How the files of posternd.json's reader share their work. Nobody else includes this. */
#ifndef DAEMON_CONFIG_READ_H
#define DAEMON_CONFIG_READ_H

#include "base/json_reader.h"
#include "daemon/config.h"

/* config_keys.c: apiKeys. */
int config_read_keys(const struct json_reader *rd, const struct json_node *node, void *config);
/* config_lists.c: resolvers, alwaysDenied. */
int config_read_resolvers(const struct json_reader *rd, const struct json_node *node, void *config);
int config_read_always(const struct json_reader *rd, const struct json_node *node, void *config);
/* config_relay.c: relay. */
int config_read_relay(const struct json_reader *rd, const struct json_node *node, void *config);

#endif

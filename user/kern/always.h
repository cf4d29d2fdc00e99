/* SPDX-License-Identifier: MIT */
/* The host's always-denied set in its map. */
#ifndef KERN_ALWAYS_H
#define KERN_ALWAYS_H

#include <stddef.h>

#include "table/table.h"

/* Makes the map hold exactly `rows` (the root first): adds all, then removes what is not among
 * them. Until that is done, pst_open spares no lookup. */
int kern_always_write(int map_fd, int open_fd, const struct table_always_row *rows, size_t count);

#endif

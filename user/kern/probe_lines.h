/* SPDX-License-Identifier: MIT */
/* What the parts of the probe share: the lines they add to. */
#ifndef KERN_PROBE_LINES_H
#define KERN_PROBE_LINES_H

#include "kern/probe.h"

struct probe {
	struct probe_line *lines;
	size_t count;
	int status; /* -ENOMEM: a line was lost */
};

/* Adds a line; `fix` is dropped when the level is PROBE_OK. */
void probe_add(struct probe *probe, enum probe_level level, const char *what, const char *fix,
	       const char *format, ...) __attribute__((format(printf, 5, 6)));

void probe_host(struct probe *probe);	  /* probe_host.c: kernel, mounts, capabilities, names */
void probe_hooks(struct probe *probe);	  /* probe_hooks.c: what Postern attaches */
void probe_devices(struct probe *probe);  /* probe_devices.c: what devices are judged with */
void probe_features(struct probe *probe); /* probe_features.c: what newer kernels have */
void probe_path(
	struct probe *probe); /* probe_path.c: what else sits between a sandbox and the network */

#endif

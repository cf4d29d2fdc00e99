/* SPDX-License-Identifier: MIT */
/* Devices: what is enforced on one, by the calls that `postern run --netns` makes, and the programs that hang on it. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include "tests/bench/lib/bench.h"

/* Of the sandbox's side of every wire: tests/bench/device.py gives them. */
#define BENCH_BOX_MAC  "02:00:00:00:77:02"
#define BENCH_BOX_ADDR "10.77.0.2"

struct bench_device {
	struct bench_sandbox sandbox;
	uint32_t ifindex;
};

/* What the kernel says of a program's runs, while the descriptor of bench_hooks_count() is open. */
enum bench_way { BENCH_FROM = 0, BENCH_TO, BENCH_WAYS };

/* All of these in the device's network namespace. `flows`: as kern_attach_device. */
void bench_device_open(struct bench_device *device, const char *parent, const char *name,
		       const char *interface, const struct table *table, uint32_t flows);
void bench_device_close(struct bench_device *device);
/* A program that has nothing to say, on both ways of a device, for as long as this process lives. */
void bench_device_empty(const char *interface);
/* Such a program, not attached. */
int bench_empty_program(void);
/* Opens the one program that judges that way. */
int bench_device_program(uint32_t ifindex, enum bench_way way);

#endif

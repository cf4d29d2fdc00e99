/* SPDX-License-Identifier: MIT */
/*
 * Included before bpf/postern.bpf.c for $(B)/salted/posternd: programs that do the same by other instructions, as
 * those of another release are. Only a call is rewritten, not the helper's own declaration.
 */
#ifndef TESTS_SALT_BPF_H
#define TESTS_SALT_BPF_H

#define bpf_get_local_storage(map, flags)                                                          \
	({                                                                                         \
		unsigned long salt_;                                                               \
		asm volatile("%0 = 7357" : "=r"(salt_));                                           \
		(bpf_get_local_storage)(map, flags);                                               \
	})

/* The same for the programs of devices, which have no such storage. */
#define bpf_ktime_get_coarse_ns()                                                                  \
	({                                                                                         \
		unsigned long salt_;                                                               \
		asm volatile("%0 = 7357" : "=r"(salt_));                                           \
		(bpf_ktime_get_coarse_ns)();                                                       \
	})

#endif

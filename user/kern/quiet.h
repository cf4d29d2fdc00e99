/* SPDX-License-Identifier: MIT */
/* libbpf's own lines would go to stderr behind the caller's back. */
#ifndef KERN_QUIET_H
#define KERN_QUIET_H

#include <stdarg.h>
#include <bpf/libbpf.h>

static inline int kern_say_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static inline void kern_quiet_end(const libbpf_print_fn_t *before)
{
	(void)libbpf_set_print(*before);
}

/* Until the scope ends. */
#define KERN_QUIET                                                                                 \
	__attribute__((unused)) cleanup(kern_quiet_end) const libbpf_print_fn_t quiet_ =           \
		libbpf_set_print(kern_say_nothing)

#endif

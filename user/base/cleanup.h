/* SPDX-License-Identifier: MIT */
/* Ownership: what a scope holds is given back when the scope ends. Nothing more than this. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define cleanup(fn)   __attribute__((cleanup(fn)))
#define cleanup_free  cleanup(cleanup_free_)
#define cleanup_close cleanup(cleanup_close_)

/* Moves the pointer out and leaves NULL behind. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) take_ptr_ = (p);                                                     \
		(p) = NULL;                                                                        \
		take_ptr_;                                                                         \
	})

/* Moves the descriptor out and leaves -1 behind. */
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int take_fd_ = (fd);                                                               \
		(fd) = -1;                                                                         \
		take_fd_;                                                                          \
	})

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#endif

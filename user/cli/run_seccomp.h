/* SPDX-License-Identifier: MIT */
/* The terminal is shared with the caller: CMD may use it, but not type on it. */
#ifndef CLI_RUN_SECCOMP_H
#define CLI_RUN_SECCOMP_H

/* Makes ioctl(TIOCSTI) and ioctl(TIOCLINUX) fail with EPERM, for good. After no_new_privs. 0 or -errno. */
int run_seccomp_install(void);

#endif

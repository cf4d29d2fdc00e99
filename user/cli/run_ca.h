/* SPDX-License-Identifier: MIT */
/* What CMD is to trust, as a file, and how its libraries are told. */
#ifndef CLI_RUN_CA_H
#define CLI_RUN_CA_H

#include "base/error.h"

/* The run's CA and what is trusted besides (`trust_fd`, PEM; -1: nothing), readable for everybody. The caller frees. */
int run_ca_write(const char *ca, int trust_fd, char **ret_path, struct error *err);
/* NULL is fine. Frees it. */
void run_ca_remove(char *path);
/* In CMD's environment. -errno. */
int run_ca_environment(const char *path);

#endif

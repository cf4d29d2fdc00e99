/* SPDX-License-Identifier: MIT */
/* Prints the benchmarks' policy: `cidrs COUNT` as JSON, `cidrs COUNT CGROUP` as an nftables ruleset for that cgroup;
 * `cidrs COUNT names`: one of so many names. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/bench/lib/names.h"

int main(int argc, char **argv)
{
	cleanup_free struct bench_cidr *cidrs = NULL;
	cleanup_buf struct buf out = {0};
	unsigned count;

	if (argc != 2 && argc != 3)
		bench_fail("usage: cidrs COUNT [CGROUP|names]", EINVAL);
	count = bench_count(argv[1]);
	cidrs = bench_cidrs(count);
	if (argc == 2)
		bench_policy_text(cidrs, count, &out);
	else if (strcmp(argv[2], "names") == 0)
		bench_names_text("20.0.0.0/8", count, &out);
	else
		bench_nft_text(cidrs, count, argv[2], &out);
	return fputs(out.data, stdout) < 0;
}

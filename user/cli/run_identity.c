/* SPDX-License-Identifier: MIT */
/* Who CMD runs as: the user who called sudo, else root. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/run_identity.h"
#include "cli/run_privileges.h"

/* 0 when unset; ids are decimal, and (uid_t)-1 means "unchanged" to the kernel. */
static int read_id(const char *variable, bool *ret_set, unsigned *ret_id, struct error *err)
{
	const char *text = getenv(variable);
	unsigned long id;
	char *end;

	*ret_set = text != NULL;
	if (!text)
		return 0;
	errno = 0;
	id = strtoul(text, &end, 10);
	if (errno || *end || text[0] < '0' || text[0] > '9' || id >= 0xffffffffUL)
		return error_set(err, -EINVAL, "%s='%s' is not an id", variable, text);
	*ret_id = (unsigned)id;
	return 0;
}

static int load_groups(struct run_identity *identity)
{
	int count = 64;

	for (;;) {
		gid_t *groups = reallocarray(identity->groups, (size_t)count, sizeof(*groups));
		int found = count;

		if (!groups)
			return -ENOMEM;
		identity->groups = groups;
		if (getgrouplist(identity->name, identity->gid, groups, &found) >= 0) {
			identity->n_groups = found;
			return 0;
		}
		count = found > count ? found : 2 * count;
	}
}

static int load_account(struct run_identity *identity)
{
	const struct passwd *account = getpwuid(identity->uid);

	if (!account) {
		identity->groups = calloc(1, sizeof(*identity->groups));
		if (!identity->groups)
			return -ENOMEM;
		identity->groups[0] = identity->gid;
		identity->n_groups = 1;
		return 0;
	}
	identity->name = strdup(account->pw_name);
	identity->home = strdup(account->pw_dir);
	identity->shell = strdup(account->pw_shell[0] ? account->pw_shell : "/bin/sh");
	if (!identity->name || !identity->home || !identity->shell)
		return -ENOMEM;
	return load_groups(identity);
}

int run_identity_load(struct run_identity *ret_identity, struct error *err)
{
	struct run_identity identity = {0};
	bool has_uid, has_gid;
	unsigned uid = 0, gid = 0;
	int r;

	r = read_id("SUDO_UID", &has_uid, &uid, err);
	if (r == 0)
		r = read_id("SUDO_GID", &has_gid, &gid, err);
	if (r < 0)
		return r;
	identity.is_root = !has_uid || uid == 0;
	if (!identity.is_root && !has_gid)
		return error_set(err, -EINVAL, "SUDO_UID is set and SUDO_GID is not");
	identity.uid = uid;
	identity.gid = gid;
	if (!identity.is_root) {
		r = load_account(&identity);
		if (r < 0) {
			run_identity_done(&identity);
			return error_set(err, r, "cannot look up user %u: %s", uid, strerror(-r));
		}
	}
	*ret_identity = identity;
	return 0;
}

void run_identity_done(struct run_identity *identity)
{
	free(identity->groups);
	free(identity->name);
	free(identity->home);
	free(identity->shell);
}

static int become(const struct run_identity *identity)
{
	if (identity->is_root)
		return 0;
	if (setgroups((size_t)identity->n_groups, identity->groups) < 0 ||
	    setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
	    setresuid(identity->uid, identity->uid, identity->uid) < 0)
		return -errno;
	return 0;
}

int run_identity_enter(const struct run_identity *identity, bool own_net, struct error *err)
{
	int r;

	r = privileges_bound(own_net);
	if (r < 0)
		return error_set(err, r, "cannot drop privileges: %s", strerror(-r));
	r = become(identity);
	if (r < 0)
		return error_set(err, r, "cannot become user %u: %s", identity->uid, strerror(-r));
	r = privileges_drop(own_net);
	if (r < 0)
		return error_set(err, r, "cannot drop privileges: %s", strerror(-r));
	return 0;
}

int run_identity_environment(const struct run_identity *identity)
{
	if (identity->is_root || !identity->name)
		return 0;
	if (setenv("HOME", identity->home, 1) < 0 || setenv("USER", identity->name, 1) < 0 ||
	    setenv("LOGNAME", identity->name, 1) < 0 || setenv("SHELL", identity->shell, 1) < 0)
		return -errno;
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* Whom relays believe: the system's certificates, and what the operator adds. Read once, while files can be read. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "supervise/parts.h"

#define BUNDLE_MAX (16U * 1024 * 1024)

/* Debian and Alpine; Fedora; the BSDs' and OpenSSL's own. */
static const char *const systems[] = {"/etc/ssl/certs/ca-certificates.crt",
				      "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

static int copy(int fd, const char *path, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t size = 0;
	int r = io_read_file(path, BUNDLE_MAX, &text, &size, err);

	if (!r)
		r = io_write_all(fd, text, size);
	if (!r)
		r = io_write_all(fd, "\n", 1);
	return r < 0 && !err->text[0] ? error_set(err, r, "%s: %s", path, strerror(-r)) : r;
}

int trust_new(const char *ca_bundle, int *ret_fd, struct error *err)
{
	cleanup_close int fd = memfd_create("postern-trust", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct error none = {0};
	size_t found = 0;
	int r = 0;

	if (fd < 0)
		return error_set(err, -errno, "memfd: %s", strerror(errno));
	for (size_t i = 0; !found && i < sizeof(systems) / sizeof(systems[0]); i++)
		found += !copy(fd, systems[i], &none);
	if (ca_bundle)
		r = copy(fd, ca_bundle, err);
	if (r < 0)
		return error_prepend(err, r, "certificates to trust: ");
	if (!found && !ca_bundle)
		return 0;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return error_set(err, -errno, "memfd: %s", strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

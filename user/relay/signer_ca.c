/* SPDX-License-Identifier: MIT */
/*
 * The CA: a P-256 key and its certificate, made once and kept as ca.key (0600) and ca.pem, or held in memory. A
 * file that is not as it should be is refused: making another CA would end the trust of everything that runs.
 */
#include "relay/signer_ca.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"

#define KEY_FILE  "ca.key"
#define CERT_FILE "ca.pem"
#define FILE_MAX  8192

#define CA_S	 (10L * 365 * 24 * 3600)
#define BEFORE_S (3600L)

static int bio_text(BIO *bio, char **ret_text)
{
	char *at;
	long size = BIO_get_mem_data(bio, &at);
	char *text = size > 0 ? strndup(at, (size_t)size) : NULL;

	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

static int cert_text(X509 *cert, char **ret_text)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int r = -ENOMEM;

	if (bio && PEM_write_bio_X509(bio, cert) == 1)
		r = bio_text(bio, ret_text);
	BIO_free(bio);
	return r;
}

static int key_text(EVP_PKEY *key, char **ret_text)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	int r = -ENOMEM;

	if (bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1)
		r = bio_text(bio, ret_text);
	BIO_free(bio);
	return r;
}

/* Two CAs of two hosts in one trust store are told apart by their name. */
static bool set_ca_name(X509 *cert)
{
	char text[64];
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	const unsigned char *bytes = ASN1_STRING_get0_data(serial);

	snprintf(text, sizeof(text), "Postern CA %02x%02x%02x%02x", bytes[0], bytes[1], bytes[2],
		 bytes[3]);
	return signer_set_name(X509_get_subject_name(cert), text) &&
	       X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1;
}

static X509 *make_cert(EVP_PKEY *key)
{
	X509 *cert = X509_new();

	if (cert && X509_set_version(cert, X509_VERSION_3) == 1 && signer_set_serial(cert) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -BEFORE_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), CA_S) && X509_set_pubkey(cert, key) == 1 &&
	    set_ca_name(cert) &&
	    signer_add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	    signer_add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	    signer_add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
	    X509_sign(cert, key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

/* A regular file that nobody else may read, where it has to be so. Text is NULL when there is none. */
static int read_file(int dir, const char *name, bool is_secret, char **ret_text)
{
	char text[FILE_MAX];
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;
	ssize_t size;

	*ret_text = NULL;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || (is_secret && status.st_mode & 077))
		return -EPERM;
	size = pread(fd, text, sizeof(text), 0);
	if (size <= 0 || (size_t)size == sizeof(text))
		return size < 0 ? -errno : -EINVAL;
	*ret_text = strndup(text, (size_t)size);
	OPENSSL_cleanse(text, sizeof(text));
	return *ret_text ? 0 : -ENOMEM;
}

/* Whole or not at all, and on the disk before anybody trusts it. */
static int write_file(int dir, const char *name, mode_t mode, const char *text)
{
	char draft[64];
	cleanup_close int fd = -1;
	int r;

	snprintf(draft, sizeof(draft), ".%s.new", name);
	if (unlinkat(dir, draft, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dir, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = fchmod(fd, mode) < 0 ? -errno : io_write_all(fd, text, strlen(text));
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dir, draft, dir, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(dir, draft, 0);
	return r == 0 && fsync(dir) < 0 ? -errno : r;
}

static EVP_PKEY *parse_key(const char *text)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	char none[] = ""; /* no pass phrase is ever asked for */
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, none) : NULL;

	BIO_free(bio);
	if (key && signer_is_p256(key))
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

static X509 *parse_cert(const char *text, const EVP_PKEY *key)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	if (cert && X509_check_private_key(cert, key) == 1 && X509_check_ca(cert) == 1 &&
	    X509_cmp_current_time(X509_get0_notAfter(cert)) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static int load_key(struct signer *signer, int dir, bool has_cert, struct error *err)
{
	char *text;
	int r = read_file(dir, KEY_FILE, true, &text);

	if (r < 0)
		return error_set(err, r, "%s: %s", KEY_FILE, strerror(-r));
	if (!text && has_cert)
		return error_set(err, -EINVAL, "%s is there, but not its %s", CERT_FILE, KEY_FILE);
	if (text) {
		signer->key = parse_key(text);
		OPENSSL_cleanse(text, strlen(text));
		free(text);
		return signer->key ? 0 : error_set(err, -EINVAL, "%s is no P-256 key", KEY_FILE);
	}
	signer->key = EVP_EC_gen("P-256");
	if (!signer->key || key_text(signer->key, &text) < 0)
		return error_set(err, -ENOMEM, "no key could be made");
	r = write_file(dir, KEY_FILE, 0600, text);
	OPENSSL_cleanse(text, strlen(text));
	free(text);
	return r < 0 ? error_set(err, r, "%s: %s", KEY_FILE, strerror(-r)) : 0;
}

static int load(struct signer *signer, int dir, struct error *err)
{
	cleanup_free char *text = NULL;
	int r = read_file(dir, CERT_FILE, false, &text);

	if (r < 0)
		return error_set(err, r, "%s: %s", CERT_FILE, strerror(-r));
	r = load_key(signer, dir, text != NULL, err);
	if (r < 0)
		return r;
	signer->cert = text ? parse_cert(text, signer->key) : make_cert(signer->key);
	if (!signer->cert)
		return error_set(err, -EINVAL, "%s is no valid certificate of the CA in %s",
				 CERT_FILE, KEY_FILE);
	r = cert_text(signer->cert, &signer->pem);
	if (r == 0 && !text)
		r = write_file(dir, CERT_FILE, 0644, signer->pem);
	return r < 0 ? error_set(err, r, "%s: %s", CERT_FILE, strerror(-r)) : 0;
}

static int make(struct signer *signer, struct error *err)
{
	signer->key = EVP_EC_gen("P-256");
	signer->cert = signer->key ? make_cert(signer->key) : NULL;
	if (!signer->cert || cert_text(signer->cert, &signer->pem) < 0)
		return error_set(err, -ENOMEM, "no CA could be made");
	return 0;
}

int signer_new(int dir_fd, struct signer **ret_signer, struct error *err)
{
	struct signer *signer = calloc(1, sizeof(*signer));
	int r;

	if (!signer)
		return error_set(err, -ENOMEM, "out of memory");
	r = dir_fd < 0 ? make(signer, err) : load(signer, dir_fd, err);
	if (r < 0) {
		signer_free(signer);
		return r;
	}
	*ret_signer = signer;
	return 0;
}

void signer_free(struct signer *signer)
{
	if (!signer)
		return;
	EVP_PKEY_free(signer->key);
	X509_free(signer->cert);
	free(signer->pem);
	free(signer);
}

const char *signer_ca(const struct signer *signer)
{
	return signer->pem;
}

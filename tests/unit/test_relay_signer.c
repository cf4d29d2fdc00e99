/* SPDX-License-Identifier: MIT */
/* The CA: made once and kept, what it signs and what it does not, and the messages about it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdbool.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "relay/signer.h"

struct place {
	char path[64];
	int fd;
};

static void place_new(struct place *place)
{
	snprintf(place->path, sizeof(place->path), "/tmp/pst-signer-%d-XXXXXX", (int)getpid());
	assert_non_null(mkdtemp(place->path));
	place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(place->fd >= 0);
}

static void place_done(struct place *place)
{
	unlinkat(place->fd, "ca.key", 0);
	unlinkat(place->fd, "ca.pem", 0);
	close(place->fd);
	assert_int_equal(rmdir(place->path), 0);
}

static void put(const struct place *place, const char *name, const char *text, mode_t mode)
{
	cleanup_close int fd = openat(place->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
}

static X509 *read_pem(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

static size_t make_key(const char *group, uint8_t bytes[PST_RELAY_MAX_KEY])
{
	EVP_PKEY *key = EVP_EC_gen(group);
	unsigned char *at = bytes;
	int size = i2d_PUBKEY(key, NULL);

	assert_true(size > 0 && size <= PST_RELAY_MAX_KEY);
	size = i2d_PUBKEY(key, &at);
	EVP_PKEY_free(key);
	return (size_t)size;
}

static X509 *sign(const struct signer *signer, const char *name)
{
	uint8_t key[PST_RELAY_MAX_KEY], der[PST_RELAY_MAX_CERT];
	const unsigned char *at = der;
	int size = signer_sign(signer, name, key, make_key("P-256", key), der);
	X509 *cert;

	assert_true(size > 0);
	cert = d2i_X509(NULL, &at, size);
	assert_non_null(cert);
	assert_true(at == der + size);
	return cert;
}

static bool verifies(const struct signer *signer, X509 *cert, const char *name)
{
	X509 *ca = read_pem(signer_ca(signer));
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	bool is_valid;

	X509_STORE_add_cert(store, ca);
	X509_STORE_CTX_init(context, store, cert, NULL);
	X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(context), name, 0);
	X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
	is_valid = X509_verify_cert(context) == 1;
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	X509_free(ca);
	return is_valid;
}

static void what_it_signs_is_valid_for_that_name_alone(void **state)
{
	static const char *const names[] = {
		"api.example.com", "a_b.example", "xn--bcher-kva.example", "a",
		"a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.example.com"};
	struct signer *signer;

	(void)state;
	assert_int_equal(signer_new(-1, &signer, NULL), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		X509 *cert = sign(signer, names[i]);
		int days, seconds;

		assert_true(verifies(signer, cert, names[i]));
		assert_false(verifies(signer, cert, "other.example"));
		assert_int_equal(X509_check_ca(cert), 0);
		assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER);
		assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)),
				 1);
		assert_in_range(days, 1, 2);
		assert_true(X509_cmp_current_time(X509_get0_notBefore(cert)) < 0);
		X509_free(cert);
	}
	signer_free(signer);
}

static void serials_are_random(void **state)
{
	struct signer *signer;
	X509 *a, *b;

	(void)state;
	assert_int_equal(signer_new(-1, &signer, NULL), 0);
	a = sign(signer, "a.example");
	b = sign(signer, "a.example");
	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)),
			     0);
	assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(a)), 16);
	X509_free(a);
	X509_free(b);
	signer_free(signer);
}

static void refuses_what_is_no_plain_name(void **state)
{
	static const char *const bad[] = {"",
					  ".",
					  "a.example.",
					  "A.example",
					  "*.example.com",
					  "*",
					  "a..b",
					  ".a",
					  "1.2.3.4",
					  "::1",
					  "a.example,DNS:evil.example",
					  "a.example\nDNS:b",
					  "a.example/",
					  "z\xc3\xbcrich.example",
					  "a b.example"};
	uint8_t key[PST_RELAY_MAX_KEY], der[PST_RELAY_MAX_CERT];
	size_t size = make_key("P-256", key);
	struct signer *signer;

	(void)state;
	assert_int_equal(signer_new(-1, &signer, NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(signer_sign(signer, bad[i], key, size, der), -EINVAL);
	signer_free(signer);
}

static void refuses_keys_other_than_p256(void **state)
{
	uint8_t key[PST_RELAY_MAX_KEY + 1] = {0}, der[PST_RELAY_MAX_CERT];
	struct signer *signer;
	size_t size;

	(void)state;
	assert_int_equal(signer_new(-1, &signer, NULL), 0);
	size = make_key("P-384", key);
	assert_int_equal(signer_sign(signer, "a.example", key, size, der), -EINVAL);
	size = make_key("secp256k1", key);
	assert_int_equal(signer_sign(signer, "a.example", key, size, der), -EINVAL);
	size = make_key("P-256", key);
	assert_int_equal(signer_sign(signer, "a.example", key, 0, der), -EINVAL);
	assert_int_equal(signer_sign(signer, "a.example", key, size - 1, der), -EINVAL);
	assert_int_equal(signer_sign(signer, "a.example", key, size + 1, der), -EINVAL);
	assert_int_equal(signer_sign(signer, "a.example", key, PST_RELAY_MAX_KEY + 1, der),
			 -EINVAL);
	key[size - 1] ^= 1; /* off the curve */
	assert_int_equal(signer_sign(signer, "a.example", key, size, der), -EINVAL);
	signer_free(signer);
}

static void the_ca_is_kept(void **state)
{
	struct signer *first, *second;
	struct place place;
	struct stat status;
	X509 *cert;

	(void)state;
	place_new(&place);
	assert_int_equal(signer_new(place.fd, &first, NULL), 0);
	assert_int_equal(fstatat(place.fd, "ca.key", &status, 0), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(signer_new(place.fd, &second, NULL), 0);
	assert_string_equal(signer_ca(first), signer_ca(second));
	cert = sign(second, "a.example");
	assert_true(verifies(first, cert, "a.example"));
	X509_free(cert);
	signer_free(second);
	/* Between the two files the first start was ended: the key is kept. */
	assert_int_equal(unlinkat(place.fd, "ca.pem", 0), 0);
	assert_int_equal(signer_new(place.fd, &second, NULL), 0);
	assert_string_not_equal(signer_ca(first), signer_ca(second));
	signer_free(second);
	signer_free(first);
	place_done(&place);
}

static void a_ca_that_is_not_as_it_should_be_is_refused(void **state)
{
	static const char *const rows[][2] = {
		{"ca.key", "nonsense"}, {"ca.pem", "nonsense"}, {"ca.key", ""}, {"ca.pem", ""}};
	struct signer *signer, *other;
	struct place place;
	struct error err;

	(void)state;
	assert_int_equal(signer_new(-1, &other, NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		place_new(&place);
		assert_int_equal(signer_new(place.fd, &signer, NULL), 0);
		signer_free(signer);
		put(&place, rows[i][0], rows[i][1], 0600);
		assert_int_equal(signer_new(place.fd, &signer, &err), -EINVAL);
		assert_non_null(strstr(err.text, rows[i][0]));
		place_done(&place);
	}
	place_new(&place);
	assert_int_equal(signer_new(place.fd, &signer, NULL), 0);
	signer_free(signer);
	put(&place, "ca.pem", signer_ca(other), 0644); /* of another key */
	assert_int_equal(signer_new(place.fd, &signer, &err), -EINVAL);
	assert_int_equal(unlinkat(place.fd, "ca.key", 0), 0);
	assert_int_equal(signer_new(place.fd, &signer, &err), -EINVAL);
	assert_string_equal(err.text, "ca.pem is there, but not its ca.key");
	place_done(&place);
	signer_free(other);
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	struct signer *signer;
	struct place place;
	struct error err;

	(void)state;
	place_new(&place);
	assert_int_equal(signer_new(place.fd, &signer, NULL), 0);
	signer_free(signer);
	assert_int_equal(fchmodat(place.fd, "ca.key", 0640, 0), 0);
	assert_int_equal(signer_new(place.fd, &signer, &err), -EPERM);
	assert_int_equal(unlinkat(place.fd, "ca.key", 0), 0);
	assert_int_equal(symlinkat("/etc/hostname", place.fd, "ca.key"), 0);
	assert_int_equal(signer_new(place.fd, &signer, &err), -ELOOP);
	place_done(&place);
}

/* ---- messages ---- */

struct answer {
	struct pst_relay_answer answer;
	uint8_t cert[PST_RELAY_MAX_CERT];
};

/* Serves in a child; returns its pid, and the starter's end, with CA taken off it. */
static pid_t serve(int *ret_fd)
{
	char bytes[PST_RELAY_MAX_MESSAGE];
	struct pst_relay_header header;
	int pair[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		struct signer *signer;
		int r = signer_new(-1, &signer, NULL);

		close(pair[0]);
		_exit(r < 0 ? 99 : -signer_serve(signer, pair[1]));
	}
	assert_true(pid > 0);
	close(pair[1]);
	assert_true(recv(pair[0], bytes, sizeof(bytes), 0) > (ssize_t)sizeof(header));
	memcpy(&header, bytes, sizeof(header));
	assert_int_equal(header.type, PST_RELAY_CA);
	assert_memory_equal(bytes + sizeof(header), "-----BEGIN CERTIFICATE-----\n", 28);
	*ret_fd = pair[0];
	return pid;
}

static int status_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static struct pst_relay_sign make_sign(const char *name)
{
	struct pst_relay_sign ask = {
		.header = {.type = PST_RELAY_SIGN, .size = sizeof(ask), .sandbox = 3, .seq = 77}};

	strncpy(ask.name, name, sizeof(ask.name) - 1);
	ask.key_size = (__u32)make_key("P-256", ask.key);
	return ask;
}

static void answers_each_request_and_ends_with_its_starter(void **state)
{
	struct pst_relay_sign ask = make_sign("a.example"), bad = make_sign("*.example");
	struct answer answer;
	pid_t pid;
	int fd;

	(void)state;
	pid = serve(&fd);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send(fd, &ask, sizeof(ask), 0), sizeof(ask));
		assert_true(recv(fd, &answer, sizeof(answer), 0) >
			    (ssize_t)sizeof(answer.answer) + 300);
		assert_int_equal(answer.answer.header.type, PST_RELAY_SIGNED);
		assert_int_equal(answer.answer.header.seq, 77);
		assert_int_equal(answer.answer.header.sandbox, 3);
		assert_int_equal(answer.answer.status, 0);
	}
	assert_int_equal(send(fd, &bad, sizeof(bad), 0), sizeof(bad));
	assert_int_equal(recv(fd, &answer, sizeof(answer), 0), sizeof(answer.answer));
	assert_int_equal(answer.answer.status, -EINVAL);
	close(fd);
	assert_int_equal(status_of(pid), 0);
}

static void what_it_does_not_understand_ends_it(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		struct pst_relay_sign ask = make_sign("a.example");
		size_t size = sizeof(ask);
		pid_t pid;
		int fd;

		if (i == 0)
			ask.header.type = PST_RELAY_LEASE;
		else if (i == 1)
			ask.header.size--;
		else if (i == 2)
			size--;
		else if (i == 3)
			ask.key_size = PST_RELAY_MAX_KEY + 1;
		else
			memset(ask.name, 'a', sizeof(ask.name));
		pid = serve(&fd);
		assert_int_equal(send(fd, &ask, size, 0), size);
		assert_int_equal(status_of(pid), EPROTO);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_signs_is_valid_for_that_name_alone),
		cmocka_unit_test(serials_are_random),
		cmocka_unit_test(refuses_what_is_no_plain_name),
		cmocka_unit_test(refuses_keys_other_than_p256),
		cmocka_unit_test(the_ca_is_kept),
		cmocka_unit_test(a_ca_that_is_not_as_it_should_be_is_refused),
		cmocka_unit_test(a_key_that_others_may_read_is_refused),
		cmocka_unit_test(answers_each_request_and_ends_with_its_starter),
		cmocka_unit_test(what_it_does_not_understand_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

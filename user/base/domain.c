/* SPDX-License-Identifier: MIT */
/* Domain names and patterns; see domain.h. libidn2 is asked about U-labels only: with STD3 rules it deletes
 * characters, so the check of what a label may hold is our own. */
#include "base/domain.h"

#include <errno.h>
#include <idn2.h>
#include <libpsl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define LABEL_MAX 63

struct draft {
	char name[DOMAIN_MAX + 2]; /* a trailing dot may still be there */
	size_t size;
};

static bool is_ascii(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if ((unsigned char)text[i] >= 0x80)
			return false;
	}
	return true;
}

static int draft_add(struct draft *d, const char *text, size_t size, struct error *err)
{
	if (size > sizeof(d->name) - 1 - d->size)
		return error_set(err, -EINVAL, "name longer than %u characters", DOMAIN_MAX);
	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		d->name[d->size++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	d->name[d->size] = '\0';
	return 0;
}

/* A U-label becomes an A-label; UTS 46 without transitional processing, as browsers do it. */
static int add_u_label(struct draft *d, const char *label, size_t size, struct error *err)
{
	cleanup_free char *a_label = NULL;
	char text[4 * LABEL_MAX + 1];
	int code;

	if (size >= sizeof(text))
		return error_set(err, -EINVAL, "label longer than %d characters", LABEL_MAX);
	memcpy(text, label, size);
	text[size] = '\0';
	code = idn2_to_ascii_8z(text, &a_label, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (code == IDN2_MALLOC)
		return -ENOMEM;
	if (code != IDN2_OK)
		return error_set(err, -EINVAL, "bad label '%s': %s", text, idn2_strerror(code));
	return draft_add(d, a_label, strlen(a_label), err);
}

static int add_label(struct draft *d, const char *label, size_t size, struct error *err)
{
	if (is_ascii(label, size))
		return draft_add(d, label, size, err);
	return add_u_label(d, label, size, err);
}

static bool is_label_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static int check_label(const char *label, size_t size, struct error *err)
{
	if (size == 0)
		return error_set(err, -EINVAL, "empty label");
	if (size > LABEL_MAX)
		return error_set(err, -EINVAL, "label longer than %d characters", LABEL_MAX);
	for (size_t i = 0; i < size; i++) {
		if (label[i] == '*')
			return error_set(err, -EINVAL, "'*' only as the whole leftmost label");
		if (!is_label_character(label[i]))
			return error_set(err, -EINVAL, "bad character '%c'", label[i]);
	}
	return 0;
}

/* No top-level domain is a number, and no resolver is ever asked for such a name: it is an address, mistyped or in one
 * of the forms that inet_aton() takes (0xa9fea9fe). */
static bool is_number(const char *label)
{
	if (label[0] == '0' && label[1] == 'x')
		return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
	return label[strspn(label, "0123456789")] == '\0';
}

static int check_name(const char *name, struct error *err)
{
	const char *label = name;

	if (!*name)
		return error_set(err, -EINVAL, "empty name");
	if (strlen(name) > DOMAIN_MAX)
		return error_set(err, -EINVAL, "name longer than %u characters", DOMAIN_MAX);
	for (;;) {
		size_t size = strcspn(label, ".");

		if (check_label(label, size, err) < 0)
			return -EINVAL;
		if (!label[size])
			break;
		label += size + 1;
	}
	if (is_number(label))
		return error_set(err, -EINVAL, "neither an address nor a name");
	return 0;
}

/* Text without a wildcard -> checked, lower-case A-labels. err names what is wrong, not the name. */
static int convert(const char *text, char ret_name[DOMAIN_MAX + 1], struct error *err)
{
	struct draft d = {.size = 0};
	const char *label = text;
	int r;

	for (;;) {
		size_t size = strcspn(label, ".");

		r = add_label(&d, label, size, err);
		if (r == 0 && label[size])
			r = draft_add(&d, ".", 1, err);
		if (r < 0)
			return r;
		if (!label[size])
			break;
		label += size + 1;
	}
	if (d.size > 1 && d.name[d.size - 1] == '.')
		d.name[--d.size] = '\0';
	r = check_name(d.name, err);
	if (r == 0)
		memcpy(ret_name, d.name, d.size + 1);
	return r;
}

int domain_parse_name(const char *text, char ret_name[DOMAIN_MAX + 1], struct error *err)
{
	int r = convert(text, ret_name, err);

	return r == -EINVAL ? error_prepend(err, r, "bad name '%.300s': ", text) : r;
}

int domain_parse(const char *text, struct domain *ret_domain, struct error *err)
{
	struct domain d = {.kind = DOMAIN_EXACT};
	int r;

	if (strcmp(text, "*") == 0) {
		d.kind = DOMAIN_ANY;
		*ret_domain = d;
		return 0;
	}
	if (strncmp(text, "*.", 2) == 0)
		d.kind = DOMAIN_WILDCARD;
	r = convert(d.kind == DOMAIN_WILDCARD ? text + 2 : text, d.name, err);
	if (r == -EINVAL)
		return error_prepend(err, r, "bad name '%.300s': ", text);
	if (r < 0)
		return r;
	*ret_domain = d;
	return 0;
}

const char *domain_print(const struct domain *d, char text[DOMAIN_MAX + 3])
{
	static const char *const prefix[] = {
		[DOMAIN_EXACT] = "", [DOMAIN_WILDCARD] = "*.", [DOMAIN_ANY] = "*"};

	snprintf(text, DOMAIN_MAX + 3, "%s%s", prefix[d->kind], d->name);
	return text;
}

/* A name from elsewhere may have empty labels; nothing but "any name at all" may cover those, and not even that. */
static bool is_well_formed(const char *name)
{
	size_t size = strlen(name);

	return size > 0 && size <= DOMAIN_MAX && name[0] != '.' && name[size - 1] != '.' &&
	       !strstr(name, "..");
}

bool domain_matches(const struct domain *d, const char *name)
{
	size_t size = strlen(name), tail = strlen(d->name);

	if (!is_well_formed(name))
		return false;
	if (d->kind == DOMAIN_ANY)
		return true;
	if (d->kind == DOMAIN_EXACT)
		return strcmp(d->name, name) == 0;
	return size > tail + 1 && name[size - tail - 1] == '.' &&
	       strcmp(name + size - tail, d->name) == 0;
}

bool domain_is_above_public_suffix(const struct domain *d)
{
	const psl_ctx_t *psl = psl_builtin();

	if (d->kind != DOMAIN_WILDCARD || !psl)
		return false;
	return psl_is_public_suffix2(psl, d->name, PSL_TYPE_ANY | PSL_TYPE_NO_STAR_RULE) != 0;
}

int domain_to_key(const char *name, struct pst_name_key *ret_key)
{
	size_t size = strlen(name);

	if (size > DOMAIN_MAX)
		return -EINVAL;
	memset(ret_key, 0, sizeof(*ret_key));
	ret_key->prefixlen = (__u32)(size + 1) * 8;
	for (size_t i = 0; i < size; i++)
		ret_key->name[i] = name[size - 1 - i];
	return 0;
}

const char *domain_from_key(const struct pst_name_key *key, char text[DOMAIN_MAX + 1])
{
	size_t size = key->prefixlen / 8;

	text[0] = '\0';
	if (!size || size > DOMAIN_MAX + 1 || memchr(key->name, '\0', size) != key->name + size - 1)
		return text;
	size--;
	for (size_t i = 0; i < size; i++) {
		char c = key->name[size - 1 - i];

		text[i] = c > ' ' && c < 0x7f ? c : '?';
	}
	text[size] = '\0';
	if (!size)
		memcpy(text, ".", 2);
	return text;
}
PST_ASSERT("the key of the longest name fits",
	   DOMAIN_MAX + 1 <= PST_NAME_SIZE && DOMAIN_MAX == PST_NAME_MAX);

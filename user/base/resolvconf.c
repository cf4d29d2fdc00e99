/* SPDX-License-Identifier: MIT */
/* resolv.conf(5) text -> the addresses of its nameservers. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/resolvconf.h"

static bool list_has(const struct addr *items, size_t count, const struct addr *address)
{
	for (size_t i = 0; i < count; i++) {
		if (addr_equal(&items[i], address))
			return true;
	}
	return false;
}

/* The keyword stands at the very beginning of the line and blanks follow it (resolv.conf(5)). */
static bool parse_line(const char *line, size_t size, struct addr *ret_address)
{
	static const char keyword[] = "nameserver";
	const size_t skip = sizeof(keyword) - 1;
	char word[CIDR_TEXT_MAX];
	size_t begin, end;

	if (size <= skip || memcmp(line, keyword, skip) != 0 || !strchr(" \t", line[skip]))
		return false;
	for (begin = skip; begin < size && strchr(" \t", line[begin]); begin++)
		;
	for (end = begin; end < size && line[end] && !strchr(" \t\r%;#", line[end]); end++)
		;
	if (end - begin >= sizeof(word))
		return false;
	memcpy(word, line + begin, end - begin);
	word[end - begin] = '\0';
	return addr_parse(word, ret_address, NULL) == 0;
}

int resolvconf_parse(const char *text, struct addr_list *ret_list)
{
	cleanup_free struct addr *items = calloc(RESOLVCONF_MAX, sizeof(*items));
	size_t count = 0;

	if (!items)
		return -ENOMEM;
	while (*text && count < RESOLVCONF_MAX) {
		size_t size = strcspn(text, "\n");
		struct addr address;

		if (parse_line(text, size, &address) && !list_has(items, count, &address))
			items[count++] = address;
		text += size;
		text += *text == '\n';
	}
	ret_list->items = TAKE_PTR(items);
	ret_list->count = count;
	return 0;
}

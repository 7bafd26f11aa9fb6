/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "url.h"

#include <string.h>

#define STREAM_PATH "/v1/stream"

static bool starts(const char **text, const char *with)
{
	size_t i = 0;
	for (; with[i]; i++) {
		char c = (*text)[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c + 32);
		if (c != with[i])
			return false;
	}
	*text += i;
	return true;
}

static bool is_plain(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] <= ' ' || text[i] == 127 || strchr("@\"<>\\^`{|}?#", text[i]))
			return false;
	return true;
}

static bool read_port(const char *text, size_t size, uint16_t *port)
{
	unsigned value = 0;
	if (!size || size > 5)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*port = (uint16_t)value;
	return value > 0 && value < 65536;
}

static bool read_host(struct url *url, const char *text, size_t size)
{
	const char *end = text + size, *colon;
	url->is_ipv6 = size && *text == '[';
	if (url->is_ipv6) {
		const char *close = memchr(text, ']', size);
		if (!close || (close + 1 < end && close[1] != ':'))
			return false;
		colon = close + 1 < end ? close + 1 : NULL;
		text++;
		size = (size_t)(close - text);
	} else {
		colon = memchr(text, ':', size);
		size = colon ? (size_t)(colon - text) : size;
	}
	if (!size || size >= sizeof(url->host))
		return false;
	memcpy(url->host, text, size);
	url->host[size] = 0;
	return !colon || read_port(colon + 1, (size_t)(end - colon - 1), &url->port);
}

enum url_verdict url_read(struct url *url, const char *text)
{
	memset(url, 0, sizeof(*url)); /* callers compare it as a whole */
	url->port = URL_PORT;
	while (*text == ' ')
		text++;
	size_t size = strlen(text);
	while (size && text[size - 1] == ' ')
		size--;
	const char *end = text + size;
	if (!size)
		return URL_EMPTY;
	if (starts(&text, "wss://") || starts(&text, "https://"))
		return URL_ENCRYPTED;
	if (!starts(&text, "ws://"))
		starts(&text, "http://");
	if (text > end || !is_plain(text, (size_t)(end - text)))
		return URL_BAD;
	const char *slash = memchr(text, '/', (size_t)(end - text));
	const char *host_end = slash ? slash : end;
	if (!read_host(url, text, (size_t)(host_end - text)))
		return URL_BAD;
	size_t prefix = (size_t)(end - host_end), tail = sizeof(STREAM_PATH) - 1;
	if (prefix >= tail && memcmp(end - tail, STREAM_PATH, tail) == 0)
		prefix -= tail;
	while (prefix && host_end[prefix - 1] == '/')
		prefix--;
	if (prefix >= sizeof(url->prefix))
		return URL_BAD;
	memcpy(url->prefix, host_end, prefix);
	url->is_local = !strcmp(url->host, "localhost") || !strncmp(url->host, "127.", 4) || !strcmp(url->host, "::1");
	return URL_GOOD;
}

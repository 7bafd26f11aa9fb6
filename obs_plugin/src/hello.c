/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hello.h"

#include <stdio.h>
#include <string.h>

#include "websocket.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool same(const char *text, const char *other, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (lower(text[i]) != lower(other[i]))
			return false;
	return true;
}

/* Whether a field of the head has exactly this value; `exact` for values that know capitals. */
static bool has(const char *head, const char *name, const char *value, bool exact)
{
	size_t name_size = strlen(name), value_size = strlen(value);
	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		size_t size = strcspn(line, "\r\n");
		if (size < name_size + 1 || !same(line, name, name_size) || line[name_size] != ':')
			continue;
		const char *text = line + name_size + 1, *end = line + size;
		while (text < end && *text == ' ')
			text++;
		while (end > text && end[-1] == ' ')
			end--;
		if ((size_t)(end - text) == value_size &&
		    (exact ? !memcmp(text, value, value_size) : same(text, value, value_size)))
			return true;
	}
	return false;
}

static size_t address(char *out, size_t room, const struct url *url)
{
	const char *form = url->is_ipv6 ? "[%s]:%u" : "%s:%u";
	return (size_t)snprintf(out, room, form, url->host, url->port);
}

size_t hello_request(char *out, const struct url *url, const char *key)
{
	char host[sizeof(url->host) + 16];
	address(host, sizeof(host), url);
	return (size_t)snprintf(out, HELLO_MOST,
				"GET %s/v1/stream HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
				"Sec-WebSocket-Protocol: timbral.v1\r\n\r\n",
				url->prefix, host, key);
}

size_t hello_voices(char *out, const struct url *url, const char *token)
{
	char host[sizeof(url->host) + 16], bearer[600] = "";
	address(host, sizeof(host), url);
	if (*token && !strpbrk(token, "\r\n"))
		snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n", token);
	return (size_t)snprintf(out, HELLO_MOST, "GET %s/v1/voices HTTP/1.0\r\nHost: %s\r\n%s\r\n", url->prefix, host,
				bearer);
}

int hello_code(const char *head)
{
	int code = 0;
	if (strncmp(head, "HTTP/1.", 7) || !head[7] || head[8] != ' ')
		return 0;
	for (const char *digit = head + 9; *digit >= '0' && *digit <= '9' && code < 1000; digit++)
		code = code * 10 + (*digit - '0');
	return code;
}

const char *hello_status(char *head)
{
	int code = hello_code(head);
	if (!code || code == 101)
		return "";
	snprintf(head, sizeof("HTTP 1000"), "HTTP %d", code);
	return head;
}

enum trouble hello_verdict(const char *head, const char *key)
{
	char accept[WEBSOCKET_ACCEPT + 1];
	int code = hello_code(head);
	if (code == 503)
		return TROUBLE_LOADING;
	if (code == 401 || code == 403)
		return TROUBLE_TOKEN;
	websocket_accept(key, accept);
	bool agreed = code == 101 && has(head, "Upgrade", "websocket", false) &&
		      has(head, "Sec-WebSocket-Accept", accept, true) &&
		      has(head, "Sec-WebSocket-Protocol", "timbral.v1", true);
	return agreed ? TROUBLE_NONE : TROUBLE_STRANGER;
}

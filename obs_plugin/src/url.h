/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A server's address as people write it. */
struct url {
	char host[256]; /* a name or a number, an IPv6 one without brackets */
	uint16_t port;
	char prefix[128]; /* of every path: "" or like "/voice" */
	bool is_local;    /* this machine */
	bool is_ipv6;
};

enum { URL_PORT = 8765 };

enum url_verdict {
	URL_GOOD = 1,
	URL_EMPTY = 2,
	URL_ENCRYPTED = 3, /* wss: or https:, which this client does not speak */
	URL_BAD = 4,
};

/* Understands "host", "host:port", "ws://host:port/prefix" and http:// in place of ws://. */
enum url_verdict url_read(struct url *url, const char *text);

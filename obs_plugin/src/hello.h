/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>

#include "trouble.h"
#include "url.h"

/* The HTTP before the WebSocket, and beside it. Pure functions. */

enum { HELLO_MOST = 2048 };

/* Both write a request into `out`, which has room for HELLO_MOST, and return its length. */
size_t hello_request(char *out, const struct url *url, const char *key);
/* token  may be "" */
size_t hello_voices(char *out, const struct url *url, const char *token);

/* What an answer's head, up to and with the empty line, means for the request with `key`. */
enum trouble hello_verdict(const char *head, const char *key);
/* Like "HTTP 404", or "". Valid until the head changes or this is called again with it. */
const char *hello_status(char *head);
/* The number in an answer's first line; 0 for what is no HTTP. */
int hello_code(const char *head);

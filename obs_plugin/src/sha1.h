/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SHA1_MOST = 119 };

/* FIPS 180-4, for messages of SHA1_MOST bytes at most. A WebSocket's handshake asks for it; it
 * protects nothing. */
void sha1(const uint8_t *data, size_t size, uint8_t digest[20]);

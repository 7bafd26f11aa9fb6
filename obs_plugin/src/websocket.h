/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The client's side of a WebSocket (RFC 6455) as bytes in, bytes out: no socket, no clock. */

enum websocket_kind { WEBSOCKET_TEXT = 1, WEBSOCKET_BINARY = 2, WEBSOCKET_CLOSE = 8, WEBSOCKET_PING = 9, WEBSOCKET_PONG = 10 };

enum { WEBSOCKET_KEY = 24, WEBSOCKET_ACCEPT = 28, WEBSOCKET_HEADER = 14 };

/* `out`, with the 0 at its end, has room for the key's or the answer's length + 1. */
void websocket_key(const uint8_t random[16], char *out);
/* What a server must answer to `key`. */
void websocket_accept(const char *key, char *out);

/* The header of a client's frame that is whole, and `data` masked in place.
 * header  room for WEBSOCKET_HEADER bytes; returns how many were written */
size_t websocket_write(uint8_t *header, enum websocket_kind kind, const uint8_t mask[4], uint8_t *data, size_t size);

/* What a server sends, put together from whatever pieces arrive.
 *
 * Law: the messages do not depend on how the bytes are cut. What the RFC forbids ends it.
 */
struct websocket_reader;

/* A whole message or control frame; `data` is valid during the call. Returns false to stop. */
typedef bool (*websocket_message)(void *context, enum websocket_kind kind, const uint8_t *data, size_t size);

/* most  bytes that a message may have; NULL without memory */
struct websocket_reader *websocket_reader_create(size_t most);
void websocket_reader_destroy(struct websocket_reader *reader);
/* Ready for a new connection. */
void websocket_reader_reset(struct websocket_reader *reader);
/* NULL, or what was wrong: then nothing more can be read. */
const char *websocket_read(struct websocket_reader *reader, const uint8_t *data, size_t size, websocket_message message,
			   void *context);

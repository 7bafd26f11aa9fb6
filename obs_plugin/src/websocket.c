/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "websocket.h"

#include <stdlib.h>
#include <string.h>

#include "sha1.h"

enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, CONTROL = 0x08, CONTROL_MOST = 125 };

struct websocket_reader {
	size_t most;
	uint8_t header[10]; /* of the frame that is being read: servers do not mask */
	size_t header_got, header_size;
	uint64_t left;    /* bytes of its payload that are to come */
	uint8_t opcode;   /* of the message that is being put together; 0 for none */
	size_t got;       /* its bytes so far */
	size_t control;   /* bytes so far of a control frame between its pieces */
	uint8_t small[CONTROL_MOST];
	uint8_t message[];
};

static void base64(const uint8_t *data, size_t size, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < size; i += 3) {
		uint32_t bits = (uint32_t)data[i] << 16;
		if (i + 1 < size)
			bits |= (uint32_t)data[i + 1] << 8;
		if (i + 2 < size)
			bits |= data[i + 2];
		*out++ = digits[bits >> 18];
		*out++ = digits[bits >> 12 & 63];
		*out++ = i + 1 < size ? digits[bits >> 6 & 63] : '=';
		*out++ = i + 2 < size ? digits[bits & 63] : '=';
	}
	*out = 0;
}

void websocket_key(const uint8_t random[16], char *out)
{
	base64(random, 16, out);
}

void websocket_accept(const char *key, char *out)
{
	static const char suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t text[WEBSOCKET_KEY + sizeof(suffix) - 1], digest[20];
	memcpy(text, key, WEBSOCKET_KEY);
	memcpy(text + WEBSOCKET_KEY, suffix, sizeof(suffix) - 1);
	sha1(text, sizeof(text), digest);
	base64(digest, sizeof(digest), out);
}

size_t websocket_write(uint8_t *header, enum websocket_kind kind, const uint8_t mask[4], uint8_t *data, size_t size)
{
	size_t at = 2, bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
	header[0] = (uint8_t)(FIN | kind);
	header[1] = (uint8_t)(MASKED | (bytes == 0 ? size : bytes == 2 ? 126 : 127));
	while (bytes--)
		header[at++] = (uint8_t)((uint64_t)size >> 8 * bytes);
	memcpy(header + at, mask, 4);
	for (size_t i = 0; i < size; i++)
		data[i] ^= mask[i & 3];
	return at + 4;
}

struct websocket_reader *websocket_reader_create(size_t most)
{
	struct websocket_reader *reader = malloc(sizeof(*reader) + most);
	if (reader) {
		reader->most = most;
		websocket_reader_reset(reader);
	}
	return reader;
}

void websocket_reader_destroy(struct websocket_reader *reader)
{
	free(reader);
}

void websocket_reader_reset(struct websocket_reader *reader)
{
	reader->header_got = reader->got = reader->control = 0;
	reader->header_size = 2;
	reader->left = 0;
	reader->opcode = 0;
}

/* The header is whole: what follows it? */
static const char *begin_frame(struct websocket_reader *reader)
{
	uint8_t first = reader->header[0], length = reader->header[1] & 127, opcode = first & OPCODE;
	if (first & RESERVED || reader->header[1] & MASKED)
		return "forbidden bits in a WebSocket frame";
	reader->left = length;
	if (length > CONTROL_MOST) {
		reader->left = 0;
		for (size_t i = 2; i < reader->header_size; i++)
			reader->left = reader->left << 8 | reader->header[i];
	}
	if (opcode & CONTROL) {
		bool known = opcode >= WEBSOCKET_CLOSE && opcode <= WEBSOCKET_PONG;
		if (!known || !(first & FIN) || length > CONTROL_MOST)
			return "a WebSocket control frame of a forbidden kind";
		reader->control = 0;
		return NULL;
	}
	if (opcode > WEBSOCKET_BINARY || (opcode == 0) != (reader->opcode != 0))
		return "a WebSocket frame of a forbidden kind";
	if (reader->left > reader->most - reader->got)
		return "a message that is too long";
	if (opcode)
		reader->opcode = opcode;
	return NULL;
}

/* The payload is whole. Returns false when the listener has had enough. */
static bool end_frame(struct websocket_reader *reader, websocket_message message, void *context)
{
	uint8_t opcode = reader->header[0] & OPCODE;
	bool whole = reader->header[0] & FIN, go_on = true;
	reader->header_got = 0;
	reader->header_size = 2;
	if (opcode & CONTROL) {
		go_on = message(context, (enum websocket_kind)opcode, reader->small, reader->control);
	} else if (whole) {
		enum websocket_kind kind = (enum websocket_kind)reader->opcode;
		size_t size = reader->got;
		reader->opcode = 0;
		reader->got = 0;
		go_on = message(context, kind, reader->message, size);
	}
	return go_on;
}

const char *websocket_read(struct websocket_reader *reader, const uint8_t *data, size_t size, websocket_message message,
			   void *context)
{
	while (size) {
		if (reader->header_got < reader->header_size) {
			reader->header[reader->header_got++] = *data++;
			size--;
			if (reader->header_got == 2) {
				uint8_t length = reader->header[1] & 127;
				reader->header_size = length < 126 ? 2 : length == 126 ? 4 : 10;
			}
			if (reader->header_got < reader->header_size)
				continue;
			const char *wrong = begin_frame(reader);
			if (wrong)
				return wrong;
		}
		bool control = reader->header[0] & CONTROL;
		size_t *got = control ? &reader->control : &reader->got;
		size_t count = reader->left < size ? (size_t)reader->left : size;
		memcpy((control ? reader->small : reader->message) + *got, data, count);
		*got += count;
		reader->left -= count;
		data += count;
		size -= count;
		if (!reader->left && !end_frame(reader, message, context))
			return NULL;
	}
	return NULL;
}

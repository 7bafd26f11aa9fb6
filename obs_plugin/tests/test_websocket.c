/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "websocket.h"

#include <string.h>

#include "check.h"
#include "sha1.h"

enum { MOST = 1000, STREAM = 20000 };

struct heard {
	size_t count, bytes;
	uint64_t digest;
};

static bool hear(void *context, enum websocket_kind kind, const uint8_t *data, size_t size)
{
	struct heard *heard = context;
	heard->count++;
	heard->bytes += size;
	heard->digest = heard->digest * 31 + kind;
	for (size_t i = 0; i < size; i++)
		heard->digest = heard->digest * 31 + data[i];
	return true;
}

static size_t add_frame(uint8_t *out, uint8_t first, const uint8_t *data, size_t size)
{
	size_t at = 0;
	out[at++] = first;
	out[at++] = (uint8_t)(size < 126 ? size : size < 65536 ? 126 : 127);
	for (size_t bytes = size < 126 ? 0 : size < 65536 ? 2 : 8; bytes--;)
		out[at++] = (uint8_t)((uint64_t)size >> 8 * bytes);
	memcpy(out + at, data, size);
	return at + size;
}

/* Messages, some in pieces, with control frames between them; returns the length. */
static size_t make_stream(uint8_t *out, size_t *messages)
{
	static const size_t sizes[] = {0, 1, 63, 64, 65, 125, 126, 127, 999, 300};
	uint8_t data[MOST];
	uint64_t state = 3;
	size_t size = 0;
	*messages = 0;
	for (int turn = 0; turn < 30; turn++) {
		size_t whole = sizes[turn % 10], first = whole / 2;
		for (size_t i = 0; i < whole; i++)
			data[i] = (uint8_t)draw(&state);
		if (turn % 3) {
			size += add_frame(out + size, (uint8_t)(0x80 | (1 + turn % 2)), data, whole);
		} else {
			size += add_frame(out + size, (uint8_t)(1 + turn % 2), data, first);
			size += add_frame(out + size, 0x89, data, first < 125 ? first : 125);
			size += add_frame(out + size, 0x80, data + first, whole - first);
			++*messages;
		}
		++*messages;
	}
	return size;
}

static void messages_do_not_depend_on_how_bytes_are_cut(void)
{
	static uint8_t stream[STREAM];
	static const size_t cuts[] = {STREAM, 1, 2, 63, 64, 65, 1000};
	size_t messages, size = make_stream(stream, &messages);
	struct heard first = {0};
	struct websocket_reader *reader = websocket_reader_create(MOST);
	for (size_t c = 0; c < sizeof(cuts) / sizeof(*cuts); c++) {
		struct heard heard = {0};
		websocket_reader_reset(reader);
		for (size_t at = 0; at < size; at += cuts[c]) {
			size_t count = size - at < cuts[c] ? size - at : cuts[c];
			uint8_t *piece = malloc(count);
			memcpy(piece, stream + at, count);
			CHECK(!websocket_read(reader, piece, count, hear, &heard));
			free(piece);
		}
		CHECK_EQUAL(heard.count, messages);
		if (c == 0)
			first = heard;
		CHECK(heard.digest == first.digest);
	}
	websocket_reader_destroy(reader);
}

static void what_the_standard_forbids_ends_it(void)
{
	static const struct {
		uint8_t bytes[12];
		size_t size;
	} bad[] = {
		{{0xc1, 0}, 2},                                 /* a reserved bit */
		{{0x81, 0x80, 0, 0, 0, 0}, 6},                  /* masked by a server */
		{{0x83, 0}, 2},                                 /* an unknown kind */
		{{0x80, 0}, 2},                                 /* going on with nothing */
		{{0x01, 0, 0x81, 0}, 4},                        /* a message within a message */
		{{0x09, 0}, 2},                                 /* a ping in pieces */
		{{0x89, 126, 0, 200}, 4},                       /* a long ping */
		{{0x8b, 0}, 2},                                 /* an unknown control frame */
		{{0x82, 126, 0xff, 0xff}, 4},                   /* more than there is room for */
		{{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 10},
		{{0x02, 126, 2, 88, 0x80}, 5},                  /* see below */
	};
	struct websocket_reader *reader = websocket_reader_create(MOST);
	struct heard heard = {0};
	for (size_t i = 0; i + 1 < sizeof(bad) / sizeof(*bad); i++) {
		websocket_reader_reset(reader);
		CHECK(websocket_read(reader, bad[i].bytes, bad[i].size, hear, &heard));
	}
	/* two pieces of 600 bytes, each of which would fit */
	uint8_t long_message[1300] = {0x02, 126, 2, 88};
	long_message[604] = 0x80;
	long_message[605] = 126;
	long_message[606] = 2;
	long_message[607] = 88;
	websocket_reader_reset(reader);
	CHECK(websocket_read(reader, long_message, 1208, hear, &heard));
	CHECK_EQUAL(heard.count, 0);
	websocket_reader_destroy(reader);
}

/* Bytes that are nearly right get further in than random ones. */
static void nothing_that_arrives_does_harm(void)
{
	static uint8_t stream[STREAM];
	size_t messages, size = make_stream(stream, &messages);
	uint64_t state = 11;
	for (int turn = 0; turn < 20000; turn++) {
		struct websocket_reader *reader = websocket_reader_create(draw(&state) % MOST);
		struct heard heard = {0};
		size_t from = draw(&state) % size, count = draw(&state) % (size - from < 400 ? size - from : 400);
		uint8_t *piece = malloc(count + 1);
		if (turn % 2)
			from = 0;
		memcpy(piece, stream + from, count);
		for (uint32_t k = draw(&state) % 6; k && count; k--)
			piece[draw(&state) % count] = (uint8_t)draw(&state);
		size_t cut = count ? draw(&state) % count : 0;
		if (!websocket_read(reader, piece, cut, hear, &heard))
			websocket_read(reader, piece + cut, count - cut, hear, &heard);
		CHECK(heard.bytes <= count);
		free(piece);
		websocket_reader_destroy(reader);
	}
}

static void what_is_written_can_be_unmasked(void)
{
	static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536};
	static uint8_t data[65536], header[WEBSOCKET_HEADER];
	uint8_t mask[4] = {1, 2, 3, 255};
	for (size_t s = 0; s < 6; s++) {
		memset(data, 7, sizeof(data));
		size_t size = websocket_write(header, WEBSOCKET_BINARY, mask, data, sizes[s]);
		CHECK_EQUAL(header[0], 0x82);
		CHECK_EQUAL(size, sizes[s] < 126 ? 6 : sizes[s] < 65536 ? 8 : 14);
		for (size_t i = 0; i < sizes[s]; i++)
			CHECK_EQUAL(data[i] ^ mask[i % 4], 7);
		if (sizes[s] == 65536)
			CHECK_EQUAL(header[7], 1);
	}
}

static void the_handshake_is_the_standards_example(void)
{
	char accept[WEBSOCKET_ACCEPT + 1], key[WEBSOCKET_KEY + 1];
	uint8_t digest[20];
	websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", accept);
	CHECK(!strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
	websocket_key((const uint8_t *)"the sample nonce", key);
	CHECK(!strcmp(key, "dGhlIHNhbXBsZSBub25jZQ=="));
	sha1((const uint8_t *)"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, digest);
	CHECK(!memcmp(digest, "\x84\x98\x3e\x44\x1c\x3b\xd2\x6e\xba\xae\x4a\xa1\xf9\x51\x29\xe5\xe5\x46\x70\xf1", 20));
}

int main(void)
{
	messages_do_not_depend_on_how_bytes_are_cut();
	what_the_standard_forbids_ends_it();
	nothing_that_arrives_does_harm();
	what_is_written_can_be_unmasked();
	the_handshake_is_the_standards_example();
	return 0;
}

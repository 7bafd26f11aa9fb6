/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sha1.h"

#include <string.h>

static uint32_t rotate(uint32_t value, int bits)
{
	return value << bits | value >> (32 - bits);
}

static void add_block(uint32_t state[5], const uint8_t *block)
{
	uint32_t w[80], v[5];
	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
		       (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
	for (int i = 16; i < 80; i++)
		w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	memcpy(v, state, sizeof(v));
	for (int i = 0; i < 80; i++) {
		uint32_t mix, add;
		if (i < 20) {
			mix = (v[1] & v[2]) | (~v[1] & v[3]);
			add = 0x5a827999;
		} else if (i < 40) {
			mix = v[1] ^ v[2] ^ v[3];
			add = 0x6ed9eba1;
		} else if (i < 60) {
			mix = (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]);
			add = 0x8f1bbcdc;
		} else {
			mix = v[1] ^ v[2] ^ v[3];
			add = 0xca62c1d6;
		}
		uint32_t next = rotate(v[0], 5) + mix + v[4] + add + w[i];
		v[4] = v[3];
		v[3] = v[2];
		v[2] = rotate(v[1], 30);
		v[1] = v[0];
		v[0] = next;
	}
	for (int i = 0; i < 5; i++)
		state[i] += v[i];
}

void sha1(const uint8_t *data, size_t size, uint8_t digest[20])
{
	uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	uint8_t padded[128] = {0};
	if (size > SHA1_MOST)
		size = SHA1_MOST;
	memcpy(padded, data, size);
	padded[size] = 0x80;
	size_t end = size < 56 ? 64 : 128;
	for (size_t i = 0; i < 4; i++)
		padded[end - 1 - i] = (uint8_t)(size * 8 >> 8 * i);
	for (size_t at = 0; at < end; at += 64)
		add_block(state, padded + at);
	for (size_t i = 0; i < 20; i++)
		digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Audio frames of the wire protocol, version 1: see server/PROTOCOL.md. The bytes in tests/golden/
 * are the same for this file and for server/protocol.py. Pure functions. */

enum { FRAME_HEADER = 16, FRAME_MOST = 256 * 1024 };
enum { FRAME_CONCEALED = 1, FRAME_SILENCE = 2, FRAME_GAP = 4 };
enum frame_encoding { FRAME_S16 = 1, FRAME_F32 = 2 };

struct frame {
	uint8_t flags;
	uint32_t seq;
	uint64_t position;
	uint32_t count;      /* samples */
	const uint8_t *data; /* the samples as sent, within what was read */
};

/* False for what is no audio frame: then `frame` is unchanged, and `why` says why. */
bool frame_read(struct frame *frame, enum frame_encoding encoding, const uint8_t *data, size_t size, const char **why);
/* `count` samples of the frame from its sample `from` on, as floats; what is no number is 0. */
void frame_samples(const struct frame *frame, enum frame_encoding encoding, uint32_t from, float *samples,
		   uint32_t count);
/* The header and `count` floats as f32le; `out` has room for FRAME_HEADER + 4 * count bytes. */
void frame_write(uint8_t *out, uint32_t seq, uint64_t position, const float *samples, uint32_t count);

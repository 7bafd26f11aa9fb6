/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "frame.h"

#include <string.h>

static uint64_t read_le(const uint8_t *data, size_t bytes)
{
	uint64_t value = 0;
	while (bytes--)
		value = value << 8 | data[bytes];
	return value;
}

static void write_le(uint8_t *data, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++, value >>= 8)
		data[i] = (uint8_t)value;
}

bool frame_read(struct frame *frame, enum frame_encoding encoding, const uint8_t *data, size_t size, const char **why)
{
	size_t width = encoding == FRAME_S16 ? 2 : 4;
	*why = NULL;
	if (size <= FRAME_HEADER || size > FRAME_MOST || (size - FRAME_HEADER) % width)
		*why = "a frame has an odd size";
	else if (data[0] != 1)
		*why = "a frame is no audio";
	else if (data[1] > (FRAME_CONCEALED | FRAME_SILENCE | FRAME_GAP) || data[2] || data[3])
		*why = "reserved bits of a frame are set";
	else if (read_le(data + 8, 8) > INT64_MAX - (size - FRAME_HEADER) / width)
		*why = "a frame's position is too far";
	if (*why)
		return false;
	*frame = (struct frame){
		.flags = data[1],
		.seq = (uint32_t)read_le(data + 4, 4),
		.position = read_le(data + 8, 8),
		.count = (uint32_t)((size - FRAME_HEADER) / width),
		.data = data + FRAME_HEADER,
	};
	return true;
}

void frame_samples(const struct frame *frame, enum frame_encoding encoding, uint32_t from, float *samples,
		   uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (encoding == FRAME_S16) {
			int value = (int)read_le(frame->data + 2 * (size_t)(from + i), 2);
			samples[i] = (float)(value < 32768 ? value : value - 65536) / 32768.0f;
		} else {
			uint32_t bits = (uint32_t)read_le(frame->data + 4 * (size_t)(from + i), 4);
			memcpy(samples + i, &bits, 4);
			if (!(samples[i] > -8.0f && samples[i] < 8.0f))
				samples[i] = 0.0f;
		}
	}
}

void frame_write(uint8_t *out, uint32_t seq, uint64_t position, const float *samples, uint32_t count)
{
	write_le(out, 1, 4);
	write_le(out + 4, seq, 4);
	write_le(out + 8, position, 8);
	for (uint32_t i = 0; i < count; i++) {
		float sample = samples[i];
		uint32_t bits;
		if (!(sample >= -8.0f && sample <= 8.0f)) /* a server takes these for a fault */
			sample = sample > 8.0f ? 8.0f : sample < -8.0f ? -8.0f : 0.0f;
		memcpy(&bits, &sample, 4);
		write_le(out + FRAME_HEADER + 4 * (size_t)i, bits, 4);
	}
}

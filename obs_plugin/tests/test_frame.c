/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "frame.h"

#include <string.h>

#include "check.h"

/* What tests/golden/make_frames.py says that the files hold. */
static const struct golden {
	const char *name;
	enum frame_encoding encoding;
	uint8_t flags;
	uint32_t seq;
	uint64_t position;
	uint32_t count;
	float samples[5];
} goldens[] = {
	{"frame_first_s16le", FRAME_S16, 0, 0, 0, 5, {0, 1 / 32768.0f, -1 / 32768.0f, 32767 / 32768.0f, -1}},
	{"frame_first_f32le", FRAME_F32, 0, 0, 0, 4, {0, 1, -1, 0.5f}},
	{"frame_silence", FRAME_S16, FRAME_SILENCE, 7, 6720, 4, {0}},
	{"frame_concealed", FRAME_S16, FRAME_CONCEALED | FRAME_SILENCE, 8, 6724, 2, {0}},
	{"frame_after_gap", FRAME_S16, FRAME_GAP, 9, UINT64_C(48000) * 3600 * 24, 1, {0x1234 / 32768.0f}},
	{"frame_last", FRAME_S16, 0, UINT32_MAX, INT64_MAX - 1, 1, {1 / 32768.0f}},
};

static size_t read_golden(const char *name, uint8_t *data, size_t room)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s.bin", GOLDEN, name);
	FILE *file = fopen(path, "rb");
	CHECK(file);
	size_t size = fread(data, 1, room, file);
	fclose(file);
	return size;
}

static void golden_frames_hold_what_python_put_in(void)
{
	for (size_t i = 0; i < sizeof(goldens) / sizeof(*goldens); i++) {
		const struct golden *golden = goldens + i;
		uint8_t data[64];
		const char *why;
		float samples[5];
		struct frame frame;
		size_t size = read_golden(golden->name, data, sizeof(data));
		CHECK(frame_read(&frame, golden->encoding, data, size, &why));
		CHECK_EQUAL(frame.flags, golden->flags);
		CHECK_EQUAL(frame.seq, golden->seq);
		CHECK(frame.position == golden->position);
		CHECK_EQUAL(frame.count, golden->count);
		frame_samples(&frame, golden->encoding, 0, samples, frame.count);
		for (uint32_t k = 0; k < frame.count; k++)
			CHECK_EQUAL(samples[k], golden->samples[k]);
	}
}

static void what_is_written_is_the_golden_frame(void)
{
	uint8_t data[64], own[64];
	float samples[4] = {0, 1, -1, 0.5f};
	size_t size = read_golden("frame_first_f32le", data, sizeof(data));
	frame_write(own, 0, 0, samples, 4);
	CHECK_EQUAL(size, FRAME_HEADER + 16);
	CHECK(!memcmp(data, own, size));
}

static void what_is_no_number_or_too_loud_is_not_passed_on(void)
{
	uint8_t data[64];
	const char *why;
	float in[4], out[4];
	struct frame frame;
	uint32_t nan = 0x7fc00000, infinite = 0xff800000;
	memcpy(in, &nan, 4);
	memcpy(in + 1, &infinite, 4);
	in[2] = 100;
	in[3] = 7;
	frame_write(data, 1, 2, in, 4);
	memcpy(data + FRAME_HEADER, &nan, 4);
	CHECK(frame_read(&frame, FRAME_F32, data, FRAME_HEADER + 16, &why));
	frame_samples(&frame, FRAME_F32, 0, out, 4);
	CHECK_EQUAL(out[0], 0);
	CHECK_EQUAL(out[3], 7);
	for (int i = 0; i < 4; i++)
		CHECK(out[i] >= -8 && out[i] <= 8);
}

static void no_bytes_are_read_beyond_the_frame(void)
{
	uint64_t state = 7;
	for (int turn = 0; turn < 200000; turn++) {
		size_t size = draw(&state) % 40;
		uint8_t *data = malloc(size + 1); /* exactly: so that a sanitizer sees one byte too many */
		const char *why;
		struct frame frame;
		float samples[40];
		enum frame_encoding encoding = turn % 2 ? FRAME_F32 : FRAME_S16;
		for (size_t i = 0; i < size; i++)
			data[i] = i < 4 ? (uint8_t)(draw(&state) % 2) : (uint8_t)draw(&state);
		if (frame_read(&frame, encoding, data, size, &why)) {
			CHECK(FRAME_HEADER + frame.count * (turn % 2 ? 4u : 2u) == size);
			frame_samples(&frame, encoding, 0, samples, frame.count);
		} else {
			CHECK(why);
		}
		free(data);
	}
}

int main(void)
{
	golden_frames_hold_what_python_put_in();
	what_is_written_is_the_golden_frame();
	what_is_no_number_or_too_loud_is_not_passed_on();
	no_bytes_are_read_beyond_the_frame();
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "line.h"

#include <math.h>
#include <string.h>

#include "check.h"

/* A line, and a server that answers with half of every sample, `lag` samples late. */
enum { RATE = 48000, LONGEST = 48000, FADE = 384, MOST = 8192, PAST = 1 << 20 };

struct bench {
	struct ring *asked, *answered;
	struct line *line;
	uint64_t in;         /* samples put in, gaps included */
	uint64_t base;       /* the line's position of the first */
	uint64_t lag;        /* of the server */
	bool away;           /* it does not answer */
	uint64_t due;        /* position up to which it answered */
	float *heard;        /* [PAST] what it was asked, by position */
	uint64_t heard_to;
	struct line_settings settings;
};

/* An hour takes seconds; where a sanitizer makes everything slow, a minute does. */
enum { LONG_S = IS_SLOW ? 60 : 3600, SHORT_TURNS = IS_SLOW ? 300 : 3000 };

static float waves[RATE]; /* a second of sound, never below 0 */

static float sound(uint64_t n)
{
	return waves[n % RATE];
}

static struct bench *bench_create(uint32_t channels)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct line_shape shape = {.rate = RATE, .channels = channels, .longest = LONGEST, .centre = -1};
	b->asked = ring_create(4 * RATE);
	b->answered = ring_create(4 * RATE);
	b->line = line_create(&shape, b->asked, b->answered);
	b->heard = calloc(PAST, sizeof(float));
	b->settings = (struct line_settings){.delay = 9600, .wet = 1};
	b->lag = 4000;
	CHECK(b->line && b->heard);
	return b;
}

static void bench_destroy(struct bench *b)
{
	line_destroy(b->line);
	ring_destroy(b->asked);
	ring_destroy(b->answered);
	free(b->heard);
	free(b);
}

static void serve(struct bench *b)
{
	struct block block;
	while (ring_peek(b->asked, &block)) {
		float part[MOST];
		if (!b->base)
			b->base = b->due = block.position;
		ring_copy(b->asked, 0, part, block.count);
		for (uint32_t i = 0; i < block.count; i++)
			b->heard[(block.position + i) % PAST] = part[i];
		b->heard_to = block.position + block.count;
		ring_drop(b->asked);
	}
	if (b->away) {
		b->due = b->heard_to;
		return;
	}
	while (b->due + b->lag < b->heard_to) {
		float part[777];
		struct block answer = {.position = b->due, .count = 777};
		if (answer.count > b->heard_to - b->lag - b->due)
			answer.count = (uint32_t)(b->heard_to - b->lag - b->due);
		for (uint32_t i = 0; i < answer.count; i++)
			part[i] = 0.5f * b->heard[(b->due + i) % PAST];
		CHECK(ring_put(b->answered, &answer, part));
		b->due += answer.count;
	}
}

/* One packet through the line; all channels in `out` are what came out. */
static void packet(struct bench *b, float out[][MOST], uint32_t channels, uint32_t frames)
{
	float *planes[LINE_CHANNELS] = {0};
	for (uint32_t c = 0; c < channels; c++) {
		planes[c] = out[c];
		for (uint32_t i = 0; i < frames; i++)
			out[c][i] = sound(b->in + i);
	}
	line_process(b->line, planes, frames, &b->settings);
	b->in += frames;
	serve(b);
}

static const uint32_t sizes[] = {480, 1, 63, 64, 65, 1024, 4096, 5000, 0};

static void an_hour_keeps_its_delay_to_the_sample(void)
{
	struct bench *b = bench_create(2);
	float out[2][MOST];
	uint64_t hour = (uint64_t)LONG_S * RATE;
	for (uint32_t turn = 0; b->in < hour; turn++) {
		uint64_t before = b->in;
		uint32_t frames = turn < SHORT_TURNS ? sizes[turn % 9] : 4800;
		packet(b, out, 2, frames);
		for (uint32_t i = 0; i < frames; i += turn < SHORT_TURNS ? 1 : 331) {
			uint64_t at = before + i;
			if (at < 9600 + 2 * FADE)
				continue;
			CHECK_EQUAL(out[0][i], 0.5f * sound(at - 9600));
			CHECK_EQUAL(out[1][i], out[0][i]);
		}
	}
	struct line_counts counts = line_counts(b->line);
	CHECK_EQUAL(counts.played, b->in);
	CHECK_EQUAL(counts.missing, 9600);
	CHECK_EQUAL(counts.lost, 0);
	bench_destroy(b);
}

static void a_server_that_goes_leaves_silence_and_no_click(void)
{
	struct bench *b = bench_create(1);
	float out[1][MOST], last = 0, step = 0;
	uint32_t silent = 0;
	for (uint32_t turn = 0; turn < 600; turn++) {
		b->away = turn / 60 % 2;
		packet(b, out, 1, 480);
		for (uint32_t i = 0; i < 480; i++) {
			step = fmaxf(step, fabsf(out[0][i] - last));
			last = out[0][i];
			silent += turn > 60 && out[0][i] == 0.0f;
		}
	}
	CHECK(step < 0.008f); /* of the sound itself: 0.0072; a cut would be 0.1 and more */
	CHECK(silent > 5 * 60 * 480 - 20 * 480);
	bench_destroy(b);
}

static void nothing_of_the_original_is_heard_unless_it_is_asked_for(void)
{
	struct bench *b = bench_create(2);
	float out[2][MOST];
	b->away = true;
	for (uint32_t turn = 0; turn < 200; turn++) {
		b->settings.delay = turn % 50 < 25 ? 9600 : 2400;
		if (turn % 70 == 69)
			line_skip(b->line, 1000);
		packet(b, out, 2, sizes[turn % 9]);
		for (uint32_t i = 0; i < sizes[turn % 9]; i++) {
			CHECK_EQUAL(out[0][i], 0);
			CHECK_EQUAL(out[1][i], 0);
		}
	}
	b->settings.original = true;
	b->settings.delay = 2400;
	for (uint32_t turn = 0; turn < 50; turn++)
		packet(b, out, 2, 480);
	CHECK_EQUAL(out[1][100], sound(b->in - 480 + 100 - 2400));
	bench_destroy(b);
}

static void bypass_and_mixture_are_the_original_delayed_alike(void)
{
	struct bench *b = bench_create(1);
	float out[1][MOST];
	for (uint32_t turn = 0; turn < 150; turn++) {
		b->settings.bypass = turn >= 50 && turn < 100;
		b->settings.wet = turn < 100 ? 1.0f : 0.5f;
		packet(b, out, 1, 480);
		float gain = turn < 52 ? 0.5f : turn < 100 ? 1.0f : 0.75f;
		float wanted = gain * sound(b->in - 480 + 470 - 9600);
		if (turn % 50 > 30)
			CHECK(fabsf(out[0][470] - wanted) < 1e-6f);
	}
	bench_destroy(b);
}

static void the_converted_voice_is_on_the_front_channels_only(void)
{
	struct bench *b = bench_create(6);
	static float out[6][MOST];
	for (uint32_t turn = 0; turn < 50; turn++)
		packet(b, out, 6, 480);
	for (uint32_t c = 0; c < 6; c++)
		CHECK_EQUAL(out[c][0] != 0, c < 2);
	b->settings.bypass = true;
	for (uint32_t turn = 0; turn < 50; turn++)
		packet(b, out, 6, 480);
	for (uint32_t c = 0; c < 6; c++)
		CHECK_EQUAL(out[c][9], sound(b->in - 480 + 9 - 9600));
	bench_destroy(b);
}

static void a_small_change_of_the_delay_is_done_in_two_hops(void)
{
	struct bench *b = bench_create(1);
	float out[1][MOST];
	uint32_t before = 9600, least = UINT32_MAX;
	b->settings.hop = 3840;
	for (uint32_t turn = 0; turn < 300; turn++) {
		b->settings.delay = turn < 100 ? 9600 : turn < 200 ? 10000 : 6000;
		packet(b, out, 1, 480);
		uint32_t now = line_delay(b->line), change = now > before ? now - before : before - now;
		if (change && change < least)
			least = change;
		before = now;
	}
	CHECK_EQUAL(before, 6000);
	CHECK(least >= 3840);
	CHECK_EQUAL(out[0][300], 0.5f * sound(b->in - 480 + 300 - 6000));
	bench_destroy(b);
}

static void a_gap_in_time_is_one_in_the_line(void)
{
	struct bench *b = bench_create(1);
	float out[1][MOST];
	for (uint32_t turn = 0; turn < 300; turn++) {
		if (turn == 100 || turn == 200) {
			uint64_t gap = turn == 100 ? 12345 : 10 * LONGEST;
			line_skip(b->line, gap);
			b->in += gap;
			b->due = b->base + b->in; /* the server answers no gap */
		}
		packet(b, out, 1, 480);
		if (turn % 100 > 60)
			CHECK_EQUAL(out[0][7], 0.5f * sound(b->in - 480 + 7 - 9600));
	}
	bench_destroy(b);
}

static void the_delay_that_was_needed_is_told(void)
{
	struct bench *b = bench_create(1);
	float out[1][MOST];
	for (uint32_t turn = 0; turn < 100; turn++)
		packet(b, out, 1, 480);
	uint32_t needed = line_counts(b->line).needed;
	CHECK(needed >= b->lag + FADE && needed <= b->lag + FADE + 2 * 480 + 777);
	b->settings.delay = needed; /* is enough, from here on */
	for (uint32_t turn = 0; turn < 30; turn++)
		packet(b, out, 1, 480);
	uint64_t missing = line_counts(b->line).missing;
	for (uint32_t turn = 0; turn < 100; turn++) {
		packet(b, out, 1, 480);
		CHECK_EQUAL(out[0][470], 0.5f * sound(b->in - 480 + 470 - needed));
	}
	CHECK_EQUAL(line_counts(b->line).missing, missing);
	bench_destroy(b);
}

static void a_hostile_server_cannot_write_elsewhere(void)
{
	struct bench *b = bench_create(1);
	float out[1][MOST], junk[MOST] = {0};
	uint64_t state = 1;
	b->away = true;
	for (uint32_t turn = 0; turn < 2000; turn++) {
		struct block block = {.count = draw(&state) % MOST};
		block.position = (uint64_t)draw(&state) << (draw(&state) % 40);
		if (turn % 3 == 0)
			block.position = UINT64_MAX - draw(&state) % 10000;
		if (turn % 3 == 1)
			block.position = b->base + b->in - draw(&state) % 10000 + 5000;
		ring_put(b->answered, &block, junk);
		packet(b, out, 1, 64);
	}
	bench_destroy(b);
}

int main(void)
{
	for (int i = 0; i < RATE; i++)
		waves[i] = 0.25f * sinf((float)i * 440 * 6.2831853f / RATE) + 0.25f;
	an_hour_keeps_its_delay_to_the_sample();
	a_server_that_goes_leaves_silence_and_no_click();
	nothing_of_the_original_is_heard_unless_it_is_asked_for();
	bypass_and_mixture_are_the_original_delayed_alike();
	the_converted_voice_is_on_the_front_channels_only();
	a_small_change_of_the_delay_is_done_in_two_hops();
	a_gap_in_time_is_one_in_the_line();
	the_delay_that_was_needed_is_told();
	a_hostile_server_cannot_write_elsewhere();
	return 0;
}

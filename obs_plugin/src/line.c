/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "line.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 2048, FADE_MS = 8 };

struct line {
	struct line_shape shape;
	struct ring *asked, *answered;
	uint32_t fade;     /* samples of a fade from 0 to 1 */
	uint32_t size;     /* samples of each memory below, a power of two */
	uint64_t position; /* of the next sample that comes in */
	uint64_t since;    /* where the last gap in time ended */
	uint32_t delay;
	bool hopped; /* half of a small change of the delay is done */

	/* where the gains are, each on its way to 0 or 1 */
	float voice, open, bypass, original, wet;

	float *dry[LINE_CHANNELS], *converted;
	uint8_t *known; /* 1 where `converted` holds something */
	float mono[CHUNK], gain_dry[CHUNK], gain_converted[CHUNK], part[CHUNK];

	atomic_uint_least64_t played, missing, lost;
	atomic_uint needed;
};

static bool allocate(struct line *line)
{
	line->converted = calloc(line->size, sizeof(float));
	line->known = calloc(line->size, 1);
	bool done = line->converted && line->known;
	for (uint32_t c = 0; c < line->shape.channels; c++) {
		line->dry[c] = calloc(line->size, sizeof(float));
		done = done && line->dry[c];
	}
	return done;
}

struct line *line_create(const struct line_shape *shape, struct ring *asked, struct ring *answered)
{
	struct line *line = calloc(1, sizeof(*line));
	if (!line)
		return NULL;
	line->shape = *shape;
	line->asked = asked;
	line->answered = answered;
	line->fade = shape->rate * FADE_MS / 1000;
	line->size = 1;
	while (line->size < shape->longest + 2 * CHUNK + line->fade)
		line->size *= 2;
	line->position = line->since = line->size; /* so that nothing lies before 0 */
	line->hopped = true;                       /* the first delay is taken as it is */
	line->wet = 1.0f;
	if (allocate(line))
		return line;
	line_destroy(line);
	return NULL;
}

void line_destroy(struct line *line)
{
	if (!line)
		return;
	for (uint32_t c = 0; c < LINE_CHANNELS; c++)
		free(line->dry[c]);
	free(line->converted);
	free(line->known);
	free(line);
}

/* `count` samples of a memory <-> `samples`, wherever the memory's end lies */
static void store(const struct line *line, float *memory, uint64_t position, const float *samples, uint32_t count)
{
	uint32_t at = (uint32_t)position & (line->size - 1);
	uint32_t first = line->size - at < count ? line->size - at : count;
	memcpy(memory + at, samples, first * sizeof(float));
	memcpy(memory, samples + first, (count - first) * sizeof(float));
}

static void recall(const struct line *line, const float *memory, uint64_t position, float *samples, uint32_t count)
{
	uint32_t at = (uint32_t)position & (line->size - 1);
	uint32_t first = line->size - at < count ? line->size - at : count;
	memcpy(samples, memory + at, first * sizeof(float));
	memcpy(samples + first, memory, (count - first) * sizeof(float));
}

static void mark(struct line *line, uint64_t position, uint64_t count, uint8_t known)
{
	if (count > line->size)
		count = line->size;
	uint32_t at = (uint32_t)position & (line->size - 1);
	uint32_t first = line->size - at < count ? line->size - at : (uint32_t)count;
	memset(line->known + at, known, first);
	memset(line->known, known, count - first);
}

/* How many samples from `position` on are known, `most` at most. */
static uint32_t run(const struct line *line, uint64_t position, uint32_t most)
{
	uint32_t at = (uint32_t)position & (line->size - 1);
	uint32_t first = line->size - at < most ? line->size - at : most;
	const uint8_t *end = memchr(line->known + at, 0, first);
	if (end)
		return (uint32_t)(end - (line->known + at));
	end = memchr(line->known, 0, most - first);
	return first + (end ? (uint32_t)(end - line->known) : most - first);
}

/* Lay what was answered over the original, as far as it can still be, or once was, heard. */
static void take_answers(struct line *line)
{
	struct block block;
	while (ring_peek(line->answered, &block)) {
		uint64_t oldest = line->position - line->size + CHUNK;
		if (block.position >= oldest && block.count <= line->size - CHUNK &&
		    block.position <= line->position - block.count) {
			for (uint32_t done = 0; done < block.count;) {
				uint32_t count = block.count - done < CHUNK ? block.count - done : CHUNK;
				ring_copy(line->answered, done, line->part, count);
				store(line, line->converted, block.position + done, line->part, count);
				done += count;
			}
			mark(line, block.position, block.count, 1);
			uint32_t needed = (uint32_t)(line->position - block.position) + line->fade;
			if (block.position >= line->since &&
			    needed > atomic_load_explicit(&line->needed, memory_order_relaxed))
				atomic_store_explicit(&line->needed, needed, memory_order_relaxed);
		}
		ring_drop(line->answered);
	}
}

static void remember(struct line *line, float *const *planes, uint32_t count)
{
	float front = line->shape.channels > 1 && planes[1] ? 0.5f : 1.0f;
	memset(line->mono, 0, count * sizeof(float));
	for (uint32_t c = 0; c < line->shape.channels; c++) {
		if (!planes[c])
			continue;
		store(line, line->dry[c], line->position, planes[c], count);
		float share = c < 2 ? front : (int)c == line->shape.centre ? 1.0f : 0.0f;
		if (share > 0.0f)
			for (uint32_t i = 0; i < count; i++)
				line->mono[i] += share * planes[c][i];
	}
	mark(line, line->position, count, 0);
	struct block block = {.position = line->position, .count = count};
	if (!ring_put(line->asked, &block, line->mono))
		atomic_fetch_add_explicit(&line->lost, count, memory_order_relaxed);
	line->position += count;
}

static float towards(float value, float target, float step)
{
	if (value < target)
		return value + step < target ? value + step : target;
	return value - step > target ? value - step : target;
}

/* Nothing is heard while this is called: the delay may change, at once or by the first of two hops. */
static void change_delay(struct line *line, const struct line_settings *settings)
{
	uint32_t now = line->delay, wanted = settings->delay, hop = settings->hop;
	uint32_t low = now < wanted ? now : wanted, high = now < wanted ? wanted : now;
	if (line->hopped || high - low >= hop) {
		line->delay = wanted;
		line->hopped = false;
		return;
	}
	line->delay = low >= hop ? low - hop : high + hop;
	line->hopped = true;
}

/* How much of the converted voice is heard, into gain_converted; returns how many samples miss it. */
static uint32_t move_voice(struct line *line, uint64_t position, uint32_t count)
{
	float step = 1.0f / (float)line->fade, voice = line->voice;
	uint32_t end = run(line, position, count + line->fade), i = 0, missing = 0;
	while (i < count) {
		/* known up to `end`, so that from `sure` on it must have faded out */
		uint32_t until = end < count ? end : count, sure = end > line->fade ? end - line->fade : 0;
		for (; i < until && i <= sure && voice < 1.0f; i++)
			line->gain_converted[i] = voice = towards(voice, 1.0f, step);
		for (; i < until && i <= sure; i++)
			line->gain_converted[i] = 1.0f;
		for (; i < until; i++)
			line->gain_converted[i] = voice = towards(voice, 0.0f, step);
		for (; i < count && !line->known[(uint32_t)(position + i) & (line->size - 1)]; i++, missing++)
			line->gain_converted[i] = voice = towards(voice, 0.0f, step);
		if (i < count)
			end = i + run(line, position + i, count + line->fade - i);
	}
	line->voice = voice;
	return missing;
}

/* The four other gains, once they are where they should be: nearly always. */
static void hold_gains(struct line *line, uint32_t count)
{
	float through = line->open * (1.0f - line->bypass), base = line->open * line->bypass;
	float wet = through * line->wet, dry = through * (1.0f - line->wet), away = through * line->original;
	for (uint32_t i = 0; i < count; i++) {
		float voice = line->gain_converted[i];
		line->gain_dry[i] = base + voice * dry + (1.0f - voice) * away;
		line->gain_converted[i] = voice * wet;
	}
}

/* The gains of the next `count` samples, the first of which is at `position`. */
static void move_gains(struct line *line, uint64_t position, uint32_t count, const struct line_settings *settings)
{
	float step = 1.0f / (float)line->fade;
	float open = line->delay == settings->delay ? 1.0f : 0.0f, bypass = settings->bypass ? 1.0f : 0.0f;
	float original = settings->original ? 1.0f : 0.0f;
	uint32_t missing = move_voice(line, position, count);
	atomic_fetch_add_explicit(&line->played, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&line->missing, missing, memory_order_relaxed);
	if (line->open == open && line->bypass == bypass && line->original == original && line->wet == settings->wet) {
		hold_gains(line, count);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		line->open = towards(line->open, open, step);
		line->bypass = towards(line->bypass, bypass, step);
		line->original = towards(line->original, original, step);
		line->wet = towards(line->wet, settings->wet, step);
		float voice = line->gain_converted[i], through = line->open * (1.0f - line->bypass);
		line->gain_converted[i] = through * voice * line->wet;
		line->gain_dry[i] = line->open * line->bypass +
				    through * (voice * (1.0f - line->wet) + (1.0f - voice) * line->original);
	}
}

static bool is_front(const struct line *line, uint32_t channel)
{
	return channel < 2 || line->shape.channels == 1;
}

static void play(struct line *line, float *const *planes, uint32_t count, const struct line_settings *settings)
{
	uint64_t position = line->position - count - line->delay;
	move_gains(line, position, count, settings);
	recall(line, line->converted, position, line->mono, count);
	for (uint32_t c = 0; c < line->shape.channels; c++) {
		if (!planes[c])
			continue;
		recall(line, line->dry[c], position, line->part, count);
		float *out = planes[c];
		for (uint32_t i = 0; i < count; i++)
			out[i] = line->gain_dry[i] * line->part[i];
		if (is_front(line, c))
			for (uint32_t i = 0; i < count; i++)
				out[i] += line->gain_converted[i] * line->mono[i];
	}
}

void line_process(struct line *line, float *const *planes, uint32_t frames, const struct line_settings *settings)
{
	struct line_settings now = *settings;
	if (now.delay > line->shape.longest)
		now.delay = line->shape.longest;
	if (now.delay < line->fade)
		now.delay = line->fade; /* what is looked ahead at has come in */
	take_answers(line);
	if (line->open <= 0.0f && line->delay != now.delay)
		change_delay(line, &now);
	for (uint32_t done = 0; done < frames;) {
		uint32_t count = frames - done < CHUNK ? frames - done : CHUNK;
		float *part[LINE_CHANNELS] = {0};
		for (uint32_t c = 0; c < line->shape.channels; c++)
			part[c] = planes[c] ? planes[c] + done : NULL;
		remember(line, part, count);
		play(line, part, count, &now);
		done += count;
	}
}

void line_skip(struct line *line, uint64_t samples)
{
	mark(line, line->position, samples, 0);
	uint64_t clear = samples < line->size ? samples : line->size;
	memset(line->part, 0, sizeof(line->part));
	for (uint64_t done = 0; done < clear; done += CHUNK) {
		uint32_t count = clear - done < CHUNK ? (uint32_t)(clear - done) : CHUNK;
		for (uint32_t c = 0; c < line->shape.channels; c++)
			store(line, line->dry[c], line->position + done, line->part, count);
	}
	line->position += samples;
	line->since = line->position;
	line->open = 0.0f; /* what follows does not continue what was heard */
}

uint32_t line_delay(const struct line *line)
{
	return line->delay;
}

struct line_counts line_counts(struct line *line)
{
	return (struct line_counts){
		.played = atomic_load_explicit(&line->played, memory_order_relaxed),
		.missing = atomic_load_explicit(&line->missing, memory_order_relaxed),
		.lost = atomic_load_explicit(&line->lost, memory_order_relaxed),
		.needed = atomic_exchange_explicit(&line->needed, 0, memory_order_relaxed),
	};
}

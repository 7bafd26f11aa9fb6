/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ring.h"

/* A delay line whose delay is constant, with the converted voice laid over the original.
 *
 * Every sample that comes in has an absolute position. What comes out lies `delay` samples before
 * what comes in: the converted voice where it has arrived, otherwise silence or, if that is asked
 * for, the original. Laws:
 *   - frames out = frames in; the sample heard at p is the one that came in, or was converted, at p
 *   - the converted voice is heard in full only where it is there for the next 8 ms too, so that it
 *     fades, over 8 ms, where it ends; no gain ever jumps
 *   - without `original`, `bypass` and a dry part, no sample of the original is ever heard
 *   - nothing here allocates, locks, waits or logs once the line is created
 *
 * All functions but create and destroy belong to the audio thread.
 */
struct line;

enum { LINE_CHANNELS = 8 };

struct line_shape {
	uint32_t rate;     /* Hz */
	uint32_t channels; /* 1..LINE_CHANNELS */
	uint32_t longest;  /* the longest delay, samples; three times the hop at least */
	int centre;        /* the channel that is the front centre, or -1 */
};

struct line_settings {
	uint32_t delay;  /* samples */
	uint32_t hop;    /* samples by which the delay changes at least; less is done in two hops */
	float wet;       /* 0 original .. 1 converted, where there is a conversion */
	bool bypass;     /* the original, delayed */
	bool original;   /* the original where there is no conversion */
};

/* What was heard, in samples since the line was created; `needed` since it was last asked for. */
struct line_counts {
	uint64_t played;
	uint64_t missing; /* without a conversion */
	uint64_t lost;    /* that the other thread did not take in time */
	uint32_t needed;  /* the delay at which nothing that arrived would have been late */
};

/* asked     is given the voice, mono, for conversion
 * answered  brings back what was converted
 * Both belong to the caller and outlive the line. NULL without memory. */
struct line *line_create(const struct line_shape *shape, struct ring *asked, struct ring *answered);
void line_destroy(struct line *line);

/* Play `frames` samples of each channel, in place; a channel may be NULL. */
void line_process(struct line *line, float *const *planes, uint32_t frames, const struct line_settings *settings);
/* `samples` of time passed in which nothing came in. */
void line_skip(struct line *line, uint64_t samples);
/* The delay, in samples, of what `line_process` gave last. */
uint32_t line_delay(const struct line *line);

/* From any thread. */
struct line_counts line_counts(struct line *line);

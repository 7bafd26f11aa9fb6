/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Blocks of audio from one thread to another, without locks.
 *
 * One thread writes, one reads; both may be at it at once, and neither ever waits. Law: the blocks
 * read are the blocks written, whole and in order; one that does not fit is not written at all.
 */
struct ring;

/* Samples that belong together; the first has the absolute position `position`. */
struct block {
	uint64_t position;
	uint32_t count;
	uint32_t flags;
};

/* room  samples that fit at least, if they come in blocks of 16 or more; NULL without memory */
struct ring *ring_create(size_t room);
/* No thread may be using it any more. */
void ring_destroy(struct ring *ring);

/* Writer: false, and nothing written, where there is no room. */
bool ring_put(struct ring *ring, const struct block *block, const float *samples);

/* Reader: the next block, without taking it; false when there is none. */
bool ring_peek(struct ring *ring, struct block *block);
/* Reader, after ring_peek: copy `count` samples of the next block, from its sample `from` on. */
void ring_copy(struct ring *ring, uint32_t from, float *samples, uint32_t count);
/* Reader, after ring_peek: the next block is done with. */
void ring_drop(struct ring *ring);

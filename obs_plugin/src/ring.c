/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ring.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define HEADER sizeof(struct block)

struct ring {
	atomic_size_t written; /* bytes, ever */
	atomic_size_t read;
	size_t size; /* a power of two */
	uint8_t bytes[];
};

static void put_bytes(struct ring *ring, size_t at, const void *from, size_t count)
{
	size_t start = at & (ring->size - 1);
	size_t first = ring->size - start < count ? ring->size - start : count;
	memcpy(ring->bytes + start, from, first);
	memcpy(ring->bytes, (const uint8_t *)from + first, count - first);
}

static void get_bytes(const struct ring *ring, size_t at, void *to, size_t count)
{
	size_t start = at & (ring->size - 1);
	size_t first = ring->size - start < count ? ring->size - start : count;
	memcpy(to, ring->bytes + start, first);
	memcpy((uint8_t *)to + first, ring->bytes, count - first);
}

struct ring *ring_create(size_t room)
{
	size_t size = 64;
	while (size < room * (sizeof(float) + 1))
		size *= 2;
	struct ring *ring = calloc(1, sizeof(struct ring) + size);
	if (ring)
		ring->size = size;
	return ring;
}

void ring_destroy(struct ring *ring)
{
	free(ring);
}

bool ring_put(struct ring *ring, const struct block *block, const float *samples)
{
	size_t body = block->count * sizeof(float);
	size_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
	size_t read = atomic_load_explicit(&ring->read, memory_order_acquire);
	if (ring->size - (written - read) < HEADER + body)
		return false;
	put_bytes(ring, written, block, HEADER);
	put_bytes(ring, written + HEADER, samples, body);
	atomic_store_explicit(&ring->written, written + HEADER + body, memory_order_release);
	return true;
}

bool ring_peek(struct ring *ring, struct block *block)
{
	size_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
	if (atomic_load_explicit(&ring->written, memory_order_acquire) == read)
		return false;
	get_bytes(ring, read, block, HEADER);
	return true;
}

void ring_copy(struct ring *ring, uint32_t from, float *samples, uint32_t count)
{
	size_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
	get_bytes(ring, read + HEADER + from * sizeof(float), samples, count * sizeof(float));
}

void ring_drop(struct ring *ring)
{
	struct block block;
	size_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
	get_bytes(ring, read, &block, HEADER);
	atomic_store_explicit(&ring->read, read + HEADER + block.count * sizeof(float), memory_order_release);
}

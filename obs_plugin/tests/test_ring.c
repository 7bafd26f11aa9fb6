/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ring.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "check.h"

enum { BLOCKS = IS_SLOW ? 7000 : 70000, LONGEST = 300 };

static uint32_t size_of(uint32_t number)
{
	static const uint32_t sizes[] = {0, 1, 63, 64, 65, LONGEST, 7};
	return sizes[number % 7];
}

static void *write_blocks(void *data)
{
	struct ring *ring = data;
	float samples[LONGEST];
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct block block = {.position = (uint64_t)i << 33, .count = size_of(i), .flags = i};
		for (uint32_t k = 0; k < block.count; k++)
			samples[k] = (float)(i % 1000) + (float)k / 512;
		while (!ring_put(ring, &block, samples))
			sched_yield();
	}
	return NULL;
}

static void blocks_arrive_whole_and_in_order(void)
{
	struct ring *ring = ring_create(1024);
	pthread_t writer;
	float samples[LONGEST];
	CHECK(pthread_create(&writer, NULL, write_blocks, ring) == 0);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct block block;
		while (!ring_peek(ring, &block))
			sched_yield();
		CHECK_EQUAL(block.flags, i);
		CHECK(block.position == (uint64_t)i << 33);
		CHECK_EQUAL(block.count, size_of(i));
		uint32_t from = block.count / 3;
		ring_copy(ring, from, samples, block.count - from);
		for (uint32_t k = from; k < block.count; k++)
			CHECK_EQUAL(samples[k - from], (float)(i % 1000) + (float)k / 512);
		ring_drop(ring);
	}
	pthread_join(writer, NULL);
	ring_destroy(ring);
}

static void what_does_not_fit_is_not_written(void)
{
	static const uint32_t counts[] = {1, 2, 3, 5, 100};
	float samples[100], got[100];
	for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
		struct ring *ring = ring_create(100);
		struct block block = {.count = counts[c]}, next;
		unsigned put = 0, read = 0;
		for (bool fits = true; fits; put += fits) {
			block.position = put;
			for (uint32_t i = 0; i < block.count; i++)
				samples[i] = (float)(put + i);
			fits = ring_put(ring, &block, samples);
		}
		CHECK(put >= 1);
		for (; ring_peek(ring, &next); read++) {
			CHECK_EQUAL(next.count, counts[c]);
			CHECK_EQUAL(next.position, read);
			ring_copy(ring, 0, got, next.count);
			CHECK_EQUAL(got[next.count - 1], read + next.count - 1);
			ring_drop(ring);
		}
		CHECK_EQUAL(read, put);
		CHECK(ring_put(ring, &block, samples));
		ring_destroy(ring);
	}
}

int main(void)
{
	blocks_arrive_whole_and_in_order();
	what_does_not_fit_is_not_written();
	return 0;
}

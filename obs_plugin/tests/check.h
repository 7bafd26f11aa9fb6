/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SLOW 1 /* a sanitizer watches */
#else
#define IS_SLOW 0
#endif

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* As assert, but whatever NDEBUG says, and with the numbers of a comparison. */
#define CHECK(condition)                                                                      \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);       \
			exit(1);                                                              \
		}                                                                             \
	} while (0)

#define CHECK_EQUAL(got, wanted)                                                              \
	do {                                                                                  \
		double got_ = (double)(got), wanted_ = (double)(wanted);                      \
		if (got_ != wanted_) {                                                        \
			fprintf(stderr, "%s:%d: %s is %.9g, not %.9g\n", __FILE__, __LINE__,  \
				#got, got_, wanted_);                                         \
			exit(1);                                                              \
		}                                                                             \
	} while (0)

/* Numbers that look random and are the same in every run. */
static inline uint32_t draw(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

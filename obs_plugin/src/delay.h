/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Chooses the delay: as small as is safe, and changed seldom, because a change is heard.
 *
 * Law: after a conversation began, and after the server told what it needs, the delay is
 * `latency + p99 of computing + 50 ms` at most (more when OBS's packets are longer than 21 ms),
 * unless answers were late at that: then it is what would have sufficed, and 10 ms.
 */
struct delay_choice {
	uint32_t ms;       /* the choice; 0 until there is one */
	uint32_t calm_ms;  /* for how long less would have done */
	bool is_raised;    /* because answers were late */
	uint32_t reports;  /* of the conversation; 0 before its first */
};

struct delay_facts {
	double latency_ms, hop_ms, compute_p99_ms, packet_ms;
	uint32_t reports;    /* how often compute_p99_ms was told; 0: not yet */
	double needed_ms;    /* of what arrived since the last call; 0 for nothing */
	bool was_late;       /* something was missing since the last call */
	uint32_t elapsed_ms; /* since the last call */
};

enum { DELAY_LEAST_MS = 20, DELAY_MOST_MS = 3000 };

/* The smallest delay that is safe by what the server tells. */
uint32_t delay_safe_ms(const struct delay_facts *facts);
/* A conversation began. */
void delay_begin(struct delay_choice *choice, const struct delay_facts *facts);
/* Time passed in it; returns whether the choice changed. */
bool delay_update(struct delay_choice *choice, const struct delay_facts *facts);

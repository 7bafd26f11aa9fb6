/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "delay.h"

static const double RESERVE_MS = 50, PACKET_MS = 1024 / 48.0, LATE_RESERVE_MS = 10;
static const double GUESS = 0.4; /* of a hop, for computing, until the server tells */
enum { BETTER_MS = 30, BETTER_FOR_MS = 20000, WITHIN_RESERVE_MS = 10 };

static uint32_t bounded(double ms)
{
	if (!(ms > DELAY_LEAST_MS))
		return DELAY_LEAST_MS;
	return ms < DELAY_MOST_MS ? (uint32_t)ms : DELAY_MOST_MS;
}

uint32_t delay_safe_ms(const struct delay_facts *facts)
{
	double compute = facts->reports ? facts->compute_p99_ms : GUESS * facts->hop_ms;
	double longer = facts->packet_ms > PACKET_MS + 1 ? facts->packet_ms - PACKET_MS : 0;
	return bounded(facts->latency_ms + compute + RESERVE_MS + longer);
}

void delay_begin(struct delay_choice *choice, const struct delay_facts *facts)
{
	uint32_t safe = delay_safe_ms(facts), before = choice->ms;
	*choice = (struct delay_choice){.ms = safe};
	/* as it was, if that is nearly the same: a change is heard */
	if (before >= safe && before < safe + BETTER_MS)
		choice->ms = before;
}

bool delay_update(struct delay_choice *choice, const struct delay_facts *facts)
{
	uint32_t before = choice->ms, safe = delay_safe_ms(facts);
	bool is_first = !choice->reports && facts->reports;
	choice->reports = facts->reports;
	choice->calm_ms += facts->elapsed_ms;
	if (facts->needed_ms + LATE_RESERVE_MS + BETTER_MS > choice->ms)
		choice->calm_ms = 0;
	if (facts->was_late && facts->needed_ms > choice->ms) {
		choice->ms = bounded(facts->needed_ms + LATE_RESERVE_MS);
		choice->is_raised = true;
	} else if (safe > choice->ms + WITHIN_RESERVE_MS) {
		choice->ms = safe;
	} else if (is_first && !choice->is_raised && choice->ms > safe) {
		choice->ms = safe;
	} else if (choice->calm_ms >= BETTER_FOR_MS && choice->ms >= safe + BETTER_MS) {
		choice->ms = safe;
		choice->is_raised = false;
	}
	if (choice->ms != before)
		choice->calm_ms = 0;
	return choice->ms != before;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "delay.h"

#include "check.h"

static const struct delay_facts low = {
	.latency_ms = 62.8, .hop_ms = 20, .compute_p99_ms = 11, .packet_ms = 21.3, .elapsed_ms = 200};

static void the_choice_is_what_the_server_needs_and_fifty(void)
{
	struct delay_choice choice = {0};
	struct delay_facts facts = low;
	delay_begin(&choice, &facts);
	CHECK(choice.ms <= 62.8 + 0.4 * 20 + 50);
	facts.reports = 1;
	delay_update(&choice, &facts);
	CHECK(choice.ms <= 62.8 + 11 + 50);
	CHECK(choice.ms > 62.8 + 8);
}

static void small_changes_of_computing_change_nothing(void)
{
	struct delay_choice choice = {0};
	struct delay_facts facts = low;
	delay_begin(&choice, &facts);
	facts.reports = 1;
	delay_update(&choice, &facts);
	uint32_t before = choice.ms;
	for (int i = 0; i < 1000; i++) {
		facts.reports++;
		facts.compute_p99_ms = 9 + i % 8;
		CHECK(!delay_update(&choice, &facts));
	}
	CHECK_EQUAL(choice.ms, before);
}

static void late_answers_raise_the_delay_and_time_lowers_it(void)
{
	struct delay_choice choice = {0};
	struct delay_facts facts = low;
	delay_begin(&choice, &facts);
	facts.reports = 1;
	delay_update(&choice, &facts);
	facts.was_late = true;
	facts.needed_ms = 400;
	CHECK(delay_update(&choice, &facts));
	CHECK_EQUAL(choice.ms, 410);
	facts.was_late = false;
	facts.needed_ms = 100;
	unsigned waited = 0;
	while (choice.ms == 410 && waited < 60000) {
		delay_update(&choice, &facts);
		waited += facts.elapsed_ms;
	}
	CHECK(waited >= 20000 && waited < 30000);
	CHECK_EQUAL(choice.ms, delay_safe_ms(&facts));
}

static void long_packets_and_nonsense_are_borne(void)
{
	struct delay_facts facts = low;
	facts.packet_ms = 100;
	CHECK(delay_safe_ms(&facts) >= 62 + 50 + 78);
	facts.latency_ms = -1e300;
	CHECK_EQUAL(delay_safe_ms(&facts), DELAY_LEAST_MS);
	facts.latency_ms = 1e300;
	CHECK_EQUAL(delay_safe_ms(&facts), DELAY_MOST_MS);
}

int main(void)
{
	the_choice_is_what_the_server_needs_and_fifty();
	small_changes_of_computing_change_nothing();
	late_answers_raise_the_delay_and_time_lowers_it();
	long_packets_and_nonsense_are_borne();
	return 0;
}

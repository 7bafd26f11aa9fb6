/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <util/base.h>

/* Every line in OBS's log that is ours begins so. */
#define LOG(level, format, ...) blog(level, "[timbral] " format, ##__VA_ARGS__)

void filter_register(void);

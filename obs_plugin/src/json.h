/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* As much JSON (RFC 8259) as the protocol needs. Pure functions, no locale, no memory of their own. */

enum json_kind { JSON_NULL = 1, JSON_BOOL = 2, JSON_NUMBER = 3, JSON_STRING = 4 };

enum { JSON_PATH = 128, JSON_TEXT = 1024, JSON_DEPTH = 16 };

struct json_value {
	enum json_kind kind;
	bool is_true;
	double number;
	const char *text; /* UTF-8; cut at a character's border to less than JSON_TEXT bytes */
};

/* Told of every value that is no object and no array; its path is like "voices.3.name". */
typedef void (*json_visitor)(void *context, const char *path, const struct json_value *value);

/* False for what is no JSON, nested deeper than JSON_DEPTH, or has a path longer than JSON_PATH;
 * the visitor was told of what came before. */
bool json_read(const char *text, size_t size, json_visitor visitor, void *context);

/* Text that grows in `out`, is always ended by a 0, and stops growing at `room`: then `full`. */
struct json_writer {
	char *out;
	size_t room, size;
	bool full, comma;
};

void json_begin(struct json_writer *json, char *out, size_t room);
/* name  NULL for the outermost object */
void json_open(struct json_writer *json, const char *name);
void json_close(struct json_writer *json);
void json_text(struct json_writer *json, const char *name, const char *value);
/* rounded to thousandths */
void json_number(struct json_writer *json, const char *name, double value);
void json_bool(struct json_writer *json, const char *name, bool value);

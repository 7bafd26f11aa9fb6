/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct reader {
	const char *at, *end;
	json_visitor visitor;
	void *context;
	size_t path_size, depth;
	char path[JSON_PATH], text[JSON_TEXT];
};

static bool read_value(struct reader *r);

static void skip_space(struct reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
}

static bool take(struct reader *r, char wanted)
{
	skip_space(r);
	if (r->at == r->end || *r->at != wanted)
		return false;
	r->at++;
	return true;
}

static bool take_word(struct reader *r, const char *word)
{
	size_t size = strlen(word);
	if ((size_t)(r->end - r->at) < size || memcmp(r->at, word, size) != 0)
		return false;
	r->at += size;
	return true;
}

static bool read_hex(struct reader *r, uint32_t *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++) {
		if (r->at == r->end)
			return false;
		char c = *r->at++;
		uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
				 : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
				 : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
							: 16;
		if (digit == 16)
			return false;
		*code = *code << 4 | digit;
	}
	return true;
}

static size_t utf8(uint32_t code, char *out)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	out[0] = (char)((0xff00 >> (more + 1) & 0xff) | code >> 6 * more);
	for (size_t i = 1; i <= more; i++)
		out[i] = (char)(0x80 | (code >> 6 * (more - i) & 0x3f));
	return more + 1;
}

/* What follows a backslash, as UTF-8 in `out`; 0 for what JSON does not know. */
static size_t read_escape(struct reader *r, char out[4])
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	if (r->at == r->end)
		return 0;
	char c = *r->at++;
	const char *known = c ? strchr(names, c) : NULL;
	if (known) {
		out[0] = values[known - names];
		return 1;
	}
	uint32_t code, low;
	if (c != 'u' || !read_hex(r, &code))
		return 0;
	if (code >= 0xd800 && code < 0xdc00) {
		const char *before = r->at;
		if (take_word(r, "\\u") && read_hex(r, &low) && low >= 0xdc00 && low < 0xe000) {
			code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		} else {
			r->at = before;
		}
	}
	if (code == 0 || (code >= 0xd800 && code < 0xe000))
		code = 0xfffd;
	return utf8(code, out);
}

/* The text after an opening quote, up to and with the closing one. */
static bool read_string(struct reader *r, char *out, size_t room)
{
	size_t size = 0;
	bool cut = false;
	while (r->at < r->end && *r->at != '"') {
		char piece[4];
		size_t count = 1;
		piece[0] = *r->at++;
		if ((unsigned char)piece[0] < 0x20)
			return false;
		if (piece[0] == '\\' && !(count = read_escape(r, piece)))
			return false;
		cut = cut || size + count >= room;
		if (!cut) {
			memcpy(out + size, piece, count);
			size += count;
		}
	}
	while (cut && size && ((unsigned char)out[size - 1] & 0xc0) == 0x80)
		size--;
	if (cut && size && (unsigned char)out[size - 1] >= 0xc0)
		size--;
	out[size] = 0;
	if (r->at == r->end)
		return false;
	r->at++;
	return true;
}

static bool is_digit(const struct reader *r)
{
	return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static bool read_number(struct reader *r, double *number)
{
	bool negative = r->at < r->end && *r->at == '-';
	if (negative)
		r->at++;
	if (!is_digit(r))
		return false;
	double value = 0, scale = 1;
	while (is_digit(r))
		value = value * 10 + (*r->at++ - '0');
	if (r->at < r->end && *r->at == '.') {
		r->at++;
		if (!is_digit(r))
			return false;
		for (; is_digit(r); r->at++)
			value += (*r->at - '0') * (scale /= 10);
	}
	if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
		r->at++;
		bool down = r->at < r->end && *r->at == '-';
		if (r->at < r->end && (*r->at == '-' || *r->at == '+'))
			r->at++;
		if (!is_digit(r))
			return false;
		int power = 0;
		for (; is_digit(r); r->at++)
			power = power < 400 ? power * 10 + (*r->at - '0') : power;
		while (power-- > 0)
			value = down ? value / 10 : value * 10;
	}
	*number = negative ? -value : value;
	return true;
}

static bool enter(struct reader *r, const char *name)
{
	size_t dot = r->path_size ? 1 : 0, size = strlen(name);
	if (r->path_size + dot + size >= JSON_PATH)
		return false;
	if (dot)
		r->path[r->path_size] = '.';
	memcpy(r->path + r->path_size + dot, name, size + 1);
	r->path_size += dot + size;
	return true;
}

static void leave(struct reader *r, size_t path_size)
{
	r->path_size = path_size;
	r->path[path_size] = 0;
}

/* An object's or an array's members, up to and with the closing bracket. */
static bool read_members(struct reader *r, bool named)
{
	char name[JSON_PATH];
	size_t outside = r->path_size;
	char close = named ? '}' : ']';
	if (++r->depth > JSON_DEPTH)
		return false;
	for (unsigned i = 0; !take(r, close); i++) {
		if (i && !take(r, ','))
			return false;
		if (named) {
			if (!take(r, '"') || !read_string(r, name, sizeof(name)) || !take(r, ':'))
				return false;
		} else {
			snprintf(name, sizeof(name), "%u", i);
		}
		if (!enter(r, name) || !read_value(r))
			return false;
		leave(r, outside);
	}
	r->depth--;
	return true;
}

static bool read_value(struct reader *r)
{
	if (take(r, '{'))
		return read_members(r, true);
	if (take(r, '['))
		return read_members(r, false);
	struct json_value value = {.kind = JSON_NULL, .text = ""};
	if (take(r, '"')) {
		value.kind = JSON_STRING;
		value.text = r->text;
		if (!read_string(r, r->text, sizeof(r->text)))
			return false;
	} else if (take_word(r, "true") || take_word(r, "false")) {
		value.kind = JSON_BOOL;
		value.is_true = r->at[-2] == 'u';
	} else if (!take_word(r, "null")) {
		value.kind = JSON_NUMBER;
		if (!read_number(r, &value.number))
			return false;
	}
	r->visitor(r->context, r->path, &value);
	return true;
}

bool json_read(const char *text, size_t size, json_visitor visitor, void *context)
{
	struct reader r = {.at = text, .end = text + size, .visitor = visitor, .context = context};
	if (!read_value(&r))
		return false;
	skip_space(&r);
	return r.at == r.end;
}

static void add(struct json_writer *json, const char *text, size_t size)
{
	if (json->full || json->room - json->size <= size) {
		json->full = true;
		return;
	}
	memcpy(json->out + json->size, text, size);
	json->size += size;
	json->out[json->size] = 0;
}

static void add_quoted(struct json_writer *json, const char *text)
{
	add(json, "\"", 1);
	for (; *text; text++) {
		char escape[8];
		if (*text == '"' || *text == '\\') {
			snprintf(escape, sizeof(escape), "\\%c", *text);
			add(json, escape, 2);
		} else if ((unsigned char)*text < 0x20) {
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)(unsigned char)*text);
			add(json, escape, 6);
		} else {
			add(json, text, 1);
		}
	}
	add(json, "\"", 1);
}

static void add_name(struct json_writer *json, const char *name)
{
	if (json->comma)
		add(json, ",", 1);
	json->comma = true;
	if (name) {
		add_quoted(json, name);
		add(json, ":", 1);
	}
}

void json_begin(struct json_writer *json, char *out, size_t room)
{
	*json = (struct json_writer){.out = out, .room = room};
	out[0] = 0;
}

void json_open(struct json_writer *json, const char *name)
{
	add_name(json, name);
	add(json, "{", 1);
	json->comma = false;
}

void json_close(struct json_writer *json)
{
	add(json, "}", 1);
	json->comma = true;
}

void json_text(struct json_writer *json, const char *name, const char *value)
{
	add_name(json, name);
	add_quoted(json, value);
}

void json_number(struct json_writer *json, const char *name, double value)
{
	char text[40];
	long long thousandths = (long long)(value * 1000 + (value < 0 ? -0.5 : 0.5));
	unsigned long long size = (unsigned long long)(thousandths < 0 ? -thousandths : thousandths);
	const char *sign = thousandths < 0 ? "-" : "";
	if (size % 1000)
		snprintf(text, sizeof(text), "%s%llu.%03llu", sign, size / 1000, size % 1000);
	else
		snprintf(text, sizeof(text), "%s%llu", sign, size / 1000);
	add_name(json, name);
	add(json, text, strlen(text));
}

void json_bool(struct json_writer *json, const char *name, bool value)
{
	add_name(json, name);
	add(json, value ? "true" : "false", value ? 4 : 5);
}

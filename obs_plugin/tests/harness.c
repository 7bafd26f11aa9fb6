/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <obs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <util/config-file.h>
#include <util/platform.h>

/* The plugin inside libobs, without OBS, driven by lines on stdin.
 *
 *   harness PLUGIN.so DATA RATE SPEAKERS SIGNAL.f32 FOLDER FRAMES {"a source's":"settings"} …
 *
 * Feeds the mono SIGNAL at the pace of time to every channel of every source, in packets of FRAMES,
 * and writes what each source's filter makes of it: FOLDER/N.f32, channels interleaved, and
 * FOLDER/N.packets, lines of "timestamp in, timestamp out, frames". Every command is answered by one
 * line. All times are in samples of the signal, all timestamps in ns.
 */

enum { SOURCES = 8, CHANNELS = 8, PACKET_MOST = 8192 };

struct feed {
	obs_source_t *source, *filter;
	FILE *audio, *packets;
	uint64_t timestamp_in;
	size_t channels;
};

static struct feed feeds[SOURCES];
static size_t feed_count;
static float *signal_samples;
static size_t signal_size;
static uint32_t rate, frames;
static enum speaker_layout speakers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the next four */
static int64_t jump_ns;
static size_t fed;
static bool is_paused, is_over;

/* OBS's own answers to the question whether audio buffering is of the low-latency kind. */
static config_t *frontend_config;
__attribute__((visibility("default"))) config_t *obs_frontend_get_global_config(void);
config_t *obs_frontend_get_global_config(void)
{
	return frontend_config;
}

static const char *source_name(void *unused)
{
	(void)unused;
	return "feed";
}

static void *source_create(obs_data_t *settings, obs_source_t *source)
{
	(void)settings;
	return source;
}

static void source_destroy(void *data)
{
	(void)data;
}

static struct obs_source_info source_info = {
	.id = "feed",
	.type = OBS_SOURCE_TYPE_INPUT,
	.output_flags = OBS_SOURCE_AUDIO,
	.get_name = source_name,
	.create = source_create,
	.destroy = source_destroy,
};

static void captured(void *data, obs_source_t *source, const struct audio_data *audio, bool muted)
{
	struct feed *feed = data;
	static float row[CHANNELS];
	(void)source;
	(void)muted;
	for (uint32_t i = 0; i < audio->frames; i++) {
		for (size_t c = 0; c < feed->channels; c++)
			row[c] = audio->data[c] ? ((const float *)audio->data[c])[i] : 0;
		fwrite(row, sizeof(float), feed->channels, feed->audio);
	}
	fflush(feed->audio);
	fprintf(feed->packets, "%llu %llu %u\n", (unsigned long long)feed->timestamp_in,
		(unsigned long long)audio->timestamp, audio->frames);
	fflush(feed->packets);
}

static void feed_packet(size_t at, uint64_t timestamp)
{
	static float packet[PACKET_MOST];
	for (uint32_t i = 0; i < frames; i++)
		packet[i] = signal_samples[(at + i) % signal_size];
	struct obs_source_audio audio = {
		.frames = frames,
		.speakers = speakers,
		.format = AUDIO_FORMAT_FLOAT_PLANAR,
		.samples_per_sec = rate,
		.timestamp = timestamp,
	};
	for (size_t c = 0; c < CHANNELS; c++)
		audio.data[c] = (uint8_t *)packet;
	for (size_t i = 0; i < feed_count; i++) {
		feeds[i].timestamp_in = timestamp;
		obs_source_output_audio(feeds[i].source, &audio);
	}
}

static void *feed_all(void *unused)
{
	(void)unused;
	uint64_t start = os_gettime_ns(), packets = 0;
	for (;;) {
		os_sleepto_ns(start + packets++ * frames * 1000000000ull / rate);
		pthread_mutex_lock(&lock);
		size_t at = fed;
		uint64_t shift = (uint64_t)jump_ns;
		bool paused = is_paused, over = is_over;
		if (!paused)
			fed += frames;
		pthread_mutex_unlock(&lock);
		if (over)
			return NULL;
		if (!paused)
			feed_packet(at, start + shift + (packets - 1) * frames * 1000000000ull / rate);
	}
}

static void open_feed(const char *folder, const char *settings_json)
{
	struct feed *feed = feeds + feed_count;
	char path[1024], name[32];
	obs_data_t *settings = obs_data_create_from_json(settings_json);
	snprintf(name, sizeof(name), "feed %zu", feed_count);
	feed->source = obs_source_create("feed", name, NULL, NULL);
	snprintf(name, sizeof(name), "voice %zu", feed_count);
	feed->filter = obs_source_create("timbral_filter", name, settings, NULL);
	obs_data_release(settings);
	if (!feed->filter)
		exit(3);
	feed->channels = get_audio_channels(speakers);
	snprintf(path, sizeof(path), "%s/%zu.f32", folder, feed_count);
	feed->audio = fopen(path, "wb");
	snprintf(path, sizeof(path), "%s/%zu.packets", folder, feed_count);
	feed->packets = fopen(path, "w");
	obs_source_add_audio_capture_callback(feed->source, captured, feed);
	obs_source_filter_add(feed->source, feed->filter);
	feed_count++;
}

static void nothing(void *unused)
{
	(void)unused;
}

/* libobs destroys sources in a thread of its own, and without video does not wait for it at its end:
 * both would free the same hotkeys, and the count of what is left would be less than none. The
 * destruction of a filter ends the last use of its source, which is destroyed after it: so twice. */
static void end_destruction(void)
{
	for (int i = 0; i < 2; i++)
		obs_queue_task(OBS_TASK_DESTROY, nothing, NULL, true);
}

static void close_feed(struct feed *feed)
{
	obs_source_remove_audio_capture_callback(feed->source, captured, feed);
	obs_source_filter_remove(feed->source, feed->filter);
	obs_source_release(feed->filter);
	obs_source_release(feed->source);
	fclose(feed->audio);
	fclose(feed->packets);
}

static void answer(obs_data_t *data)
{
	puts(obs_data_get_json(data));
	obs_data_release(data);
}

static void copy_ints(obs_data_t *to, const calldata_t *from)
{
	static const char *const names[] = {"state",    "trouble", "delay_ms", "safe_ms",  "sessions", "played",
					    "missing", "late_ms", "packets",  "restarts", "over_budget"};
	static const char *const texts[] = {"status", "text", "notice", "voice"};
	static const char *const numbers[] = {"latency_ms", "compute_p99_ms", "mean_cost_us", "worst_cost_us"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		obs_data_set_int(to, names[i], calldata_int(from, names[i]));
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		obs_data_set_string(to, texts[i], calldata_string(from, texts[i]));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		obs_data_set_double(to, numbers[i], calldata_float(from, numbers[i]));
	obs_data_set_bool(to, "sync", calldata_bool(from, "sync"));
	obs_data_set_bool(to, "bypassed", calldata_bool(from, "bypassed"));
}

static obs_data_t *stats(const struct feed *feed)
{
	calldata_t call = {0};
	obs_data_t *data = obs_data_create();
	proc_handler_call(obs_source_get_proc_handler(feed->filter), "timbral_stats", &call);
	copy_ints(data, &call);
	calldata_free(&call);
	pthread_mutex_lock(&lock);
	obs_data_set_int(data, "at", (long long)fed);
	pthread_mutex_unlock(&lock);
	return data;
}

/* Every property with its kind, what it says and whether it is shown. */
static void list_properties(obs_properties_t *properties, obs_data_array_t *list)
{
	for (obs_property_t *p = obs_properties_first(properties); p; obs_property_next(&p)) {
		obs_data_t *one = obs_data_create();
		obs_data_set_string(one, "name", obs_property_name(p));
		obs_data_set_string(one, "text", obs_property_description(p));
		obs_data_set_bool(one, "shown", obs_property_visible(p));
		obs_data_array_t *items = obs_data_array_create();
		if (obs_property_get_type(p) == OBS_PROPERTY_LIST)
			for (size_t i = 0; i < obs_property_list_item_count(p); i++) {
				obs_data_t *item = obs_data_create();
				obs_data_set_string(item, "value", obs_property_list_item_string(p, i));
				obs_data_array_push_back(items, item);
				obs_data_release(item);
			}
		obs_data_set_array(one, "items", items);
		obs_data_array_release(items);
		obs_data_array_push_back(list, one);
		obs_data_release(one);
		if (obs_property_get_type(p) == OBS_PROPERTY_GROUP)
			list_properties(obs_property_group_content(p), list);
	}
}

static void show(struct feed *feed, const char *click)
{
	obs_properties_t *properties = obs_source_properties(feed->filter);
	obs_data_t *settings = obs_source_get_settings(feed->filter), *data = obs_data_create();
	obs_properties_apply_settings(properties, settings);
	if (*click)
		obs_property_button_clicked(obs_properties_get(properties, click), feed->filter);
	obs_data_array_t *list = obs_data_array_create();
	list_properties(properties, list);
	obs_data_set_array(data, "properties", list);
	obs_data_set_string(data, "diagnostics", obs_data_get_string(settings, "diagnostics"));
	obs_data_array_release(list);
	obs_data_release(settings);
	obs_properties_destroy(properties);
	answer(data);
}

struct press {
	const char *name;
	bool is_down, is_done;
};

static bool press_one(void *data, obs_hotkey_id id, obs_hotkey_t *hotkey)
{
	struct press *press = data;
	press->is_done = !strcmp(obs_hotkey_get_name(hotkey), press->name);
	if (press->is_done)
		obs_hotkey_trigger_routed_callback(id, press->is_down);
	return !press->is_done;
}

/* The slowest of `count` filters put on a source and taken off again. */
static void churn(struct feed *feed, unsigned count)
{
	static const char *const servers[] = {"ws://127.0.0.1:1", "wss://x", "", "ws://[::1]:1", "%s"};
	obs_data_t *own = obs_source_get_settings(feed->filter), *data = obs_data_create();
	uint64_t worst = 0;
	for (unsigned i = 0; i < count; i++) {
		obs_data_t *settings = obs_data_create();
		const char *server = i % 5 < 4 ? servers[i % 5] : obs_data_get_string(own, "server");
		obs_data_set_string(settings, "server", server);
		obs_data_set_string(settings, "voice", "ada");
		uint64_t began = os_gettime_ns();
		obs_source_t *filter = obs_source_create("timbral_filter", "churned", settings, NULL);
		obs_source_filter_add(feed->source, filter);
		if (i % 10 == 0)
			os_sleep_ms(30);
		obs_source_filter_remove(feed->source, filter);
		obs_source_release(filter);
		uint64_t took = os_gettime_ns() - began - (i % 10 == 0 ? 30000000 : 0);
		worst = took > worst ? took : worst;
		obs_data_release(settings);
	}
	obs_data_set_double(data, "worst_ms", (double)worst / 1e6);
	obs_data_release(own);
	answer(data);
}

static void set(struct feed *feed, const char *json)
{
	obs_data_t *settings = obs_data_create_from_json(json);
	obs_source_update(feed->filter, settings);
	obs_data_release(settings);
	answer(stats(feed));
}

static void obey(const char *word, struct feed *feed, const char *rest)
{
	struct press press = {.name = rest, .is_down = strcmp(word, "release") != 0};
	if (!strcmp(word, "set")) {
		set(feed, rest);
		return;
	}
	if (!strcmp(word, "show")) {
		show(feed, rest);
		return;
	}
	if (!strcmp(word, "churn")) {
		churn(feed, (unsigned)atoi(rest));
		return;
	}
	pthread_mutex_lock(&lock);
	if (!strcmp(word, "jump"))
		jump_ns += atoll(rest) * 1000000;
	if (!strcmp(word, "pause"))
		is_paused = atoi(rest);
	pthread_mutex_unlock(&lock);
	if (!strcmp(word, "enable"))
		obs_source_set_enabled(feed->filter, atoi(rest));
	if (!strcmp(word, "press") || !strcmp(word, "release"))
		obs_enum_hotkeys(press_one, &press);
	obs_data_t *data = stats(feed);
	obs_data_set_bool(data, "pressed", press.is_done);
	answer(data);
}

static void converse(void)
{
	char line[4096];
	while (fgets(line, sizeof(line), stdin)) {
		char word[32] = "";
		int which = 0, at = 0;
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%31s %d %n", word, &which, &at) < 2 || !strcmp(word, "quit"))
			break;
		obey(word, feeds + which, line + at);
		fflush(stdout);
	}
}

static void route(void *data, obs_hotkey_id id, bool pressed)
{
	(void)data;
	obs_hotkey_trigger_routed_callback(id, pressed);
}

static void read_signal(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		exit(2);
	fseek(file, 0, SEEK_END);
	signal_size = (size_t)ftell(file) / sizeof(float);
	rewind(file);
	signal_samples = malloc(signal_size * sizeof(float));
	if (fread(signal_samples, sizeof(float), signal_size, file) != signal_size)
		exit(2);
	fclose(file);
}

static void load(const char *plugin, const char *data)
{
	obs_module_t *module;
	struct obs_audio_info audio = {.samples_per_sec = rate, .speakers = speakers};
	if (!obs_startup("en-US", NULL, NULL) || !obs_reset_audio(&audio))
		exit(2);
	obs_hotkey_enable_callback_rerouting(true);
	obs_hotkey_set_callback_routing_func(route, NULL);
	obs_register_source(&source_info);
	if (obs_open_module(&module, plugin, data) != MODULE_SUCCESS || !obs_init_module(module))
		exit(2);
}

int main(int argc, char **argv)
{
	pthread_t feeder;
	if (argc < 9 || argc - 8 > SOURCES)
		return 2;
	rate = (uint32_t)atoi(argv[3]);
	speakers = (enum speaker_layout)atoi(argv[4]);
	frames = (uint32_t)atoi(argv[7]);
	if (frames > PACKET_MOST)
		return 2;
	config_open_string(&frontend_config, getenv("LOW_LATENCY") ? "[Audio]\nLowLatencyAudioBuffering=true\n" : "");
	read_signal(argv[5]);
	load(argv[1], argv[2]);
	for (int i = 8; i < argc; i++)
		open_feed(argv[6], argv[i]);
	pthread_create(&feeder, NULL, feed_all, NULL);
	puts("ready");
	fflush(stdout);
	converse();
	pthread_mutex_lock(&lock);
	is_over = true;
	pthread_mutex_unlock(&lock);
	pthread_join(feeder, NULL);
	uint64_t began = os_gettime_ns();
	for (size_t i = 0; i < feed_count; i++)
		close_feed(feeds + i);
	config_close(frontend_config);
	end_destruction();
	obs_shutdown();
	printf("{\"leaks\":%ld,\"shutdown_ms\":%.1f}\n", bnum_allocs(), (double)(os_gettime_ns() - began) / 1e6);
	free(signal_samples);
	return 0;
}

/* graphpipe cache: what the row cache of this machine has, and how to forget it. It may be in use. */
#include "cli/cli.h"

#include "cache/store.h"
#include "cli/cache_dir.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

struct cache_values {
    const char *cache_dir;
};

static const struct option cache_options[] = {
    {.name = "cache-dir",
     .env = "GP_CACHE_DIR",
     .argument = "DIR",
     .kind = OPTION_TEXT,
     OPTION_AT(cache_values, cache_dir),
     .help = "the folder that serve was given; rows are in DIR/rows\n"
             "(default: $XDG_CACHE_HOME/graphpipe or ~/.cache/graphpipe)"},
};

static int print_stats(struct store *store, const char *path)
{
    const struct store_counts counts = store_count(store);
    const double mib = 1 << 20;
    struct text text = {0};
    text_puts(&text, path);
    text_printf(&text, ": %llu rows, %.1f of %.1f MiB\n",
                (unsigned long long)counts.n_rows, (double)counts.size_bytes / mib,
                (double)counts.max_bytes / mib);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

static int flush_rows(struct store *store, const char *path)
{
    const struct store_counts counts = store_count(store);
    struct gp_error err;
    struct text text = {0};
    if (store_flush(store, &err) != GP_OK)
        return cli_fail("%s", err.message);
    text_puts(&text, path);
    text_printf(&text, ": %llu rows are forgotten\n", (unsigned long long)counts.n_rows);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

/* Nothing is made where there is no cache. */
static bool is_cache(const char *path)
{
    char file[PATH_MAX + 16];
    (void)snprintf(file, sizeof file, "%s/generation", path);
    return access(file, F_OK) == 0;
}

static int cache_run(struct options *options)
{
    const struct cache_values *values = options->values;
    const char *word = options->words.items[0];
    const bool is_flush = strcmp(word, "flush") == 0;
    char path[PATH_MAX];
    struct gp_error err;
    if (!is_flush && strcmp(word, "stats") != 0)
        return cli_misuse(
            "cache wants stats or flush, not \"%s\"\nTry: graphpipe cache --help", word);
    if (!cache_dir_rows(values->cache_dir, path, sizeof path))
        return cli_fail(
            "there is no HOME, and no --cache-dir that says where the cache is");
    if (!is_cache(path))
        return cli_fail("there is no row cache in %s: graphpipe serve --cache makes one",
                        path);
    struct store *store = store_open(&(struct store_options){.dir = path}, &err);
    if (!store)
        return cli_fail("%s", err.message);
    const int status = is_flush ? flush_rows(store, path) : print_stats(store, path);
    store_close(store);
    return status;
}

const struct command cache_command = {
    .name = "cache",
    .summary = "show or forget the rows that serve --cache keeps",
    .usage = "[OPTIONS] stats|flush",
    .about =
        "stats says how many rows are kept on disk, and how much of the room they take.\n"
        "flush forgets them all. Servers that use the cache may run meanwhile, and\n"
        "forget them at once. What a server has found and stored is in its /metrics.\n",
    .examples = "  graphpipe cache stats\n"
                "  graphpipe cache stats --cache-dir /var/cache/graphpipe\n"
                "  graphpipe cache flush\n",
    .options = cache_options,
    .n_options = sizeof cache_options / sizeof *cache_options,
    .values_size = sizeof(struct cache_values),
    .min_words = 1,
    .max_words = 1,
    .run = cache_run,
};

/* The option parser: where values come from, what they may be, and the words of its
 * errors. */
#include "cli/option_help.c"
#include "cli/option_values.c"
#include "cli/options.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct values {
    bool flag;
    const char *text;
    struct option_list list;
    struct option_list names;
    uint32_t count;
    uint64_t size;
    uint32_t time_ms;
    uint32_t choice;
};

#define AT(field) OPTION_AT(values, field)
static const struct option table[] = {
    {.name = "flag",
     .letter = 'f',
     .env = "GPT_FLAG",
     .kind = OPTION_FLAG,
     .into = "list",
     AT(flag),
     .help = "a flag"},
    {.name = "text",
     .letter = 't',
     .env = "GPT_TEXT",
     .argument = "TEXT",
     .kind = OPTION_TEXT,
     .into = "list",
     AT(text),
     .fallback = "none",
     .help = "a text"},
    {.name = "list",
     .letter = 'l',
     .env = "GPT_LIST",
     .argument = "ITEM",
     .kind = OPTION_LIST,
     AT(list),
     .fallback = "one",
     .help = "a list"},
    {.name = "names",
     .argument = "NAME,...",
     .kind = OPTION_NAMES,
     AT(names),
     .help = "names"},
    {.group = "Numbers",
     .name = "count",
     .letter = 'c',
     .env = "GPT_COUNT",
     .argument = "N",
     .kind = OPTION_COUNT,
     AT(count),
     .min = 1,
     .max = 10,
     .fallback = "3",
     .help = "a count"},
    {.name = "max-size",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(size),
     .max = 1 << 30,
     .help = "a size\non two lines"},
    {.name = "time",
     .argument = "TIME",
     .kind = OPTION_DURATION,
     AT(time_ms),
     .help = "a duration"},
    {.name = "log-format",
     .argument = "text|json",
     .kind = OPTION_CHOICE,
     AT(choice),
     .fallback = "text",
     .help = "a choice"},
};
#undef AT

static struct gp_arena *arena;
static struct values values;
static struct options options;
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    static const char *const names[] = {"GPT_FLAG", "GPT_TEXT", "GPT_LIST", "GPT_COUNT"};
    for (size_t i = 0; i < 4; i++)
        unsetenv(names[i]);
    arena = gp_arena_create();
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gp_arena_destroy(arena);
    return 0;
}

/* Parses words separated by blanks; "" is none. */
static enum gp_status parse(const char *line)
{
    static char words[256];
    char *argv[32] = {NULL};
    (void)snprintf(words, sizeof words, "%s", line);
    size_t n = 0;
    for (char *rest, *word = strtok_r(words, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest))
        argv[n++] = word;
    values = (struct values){0};
    err = (struct gp_error){0};
    options = (struct options){.table = table,
                               .n = sizeof table / sizeof *table,
                               .values = &values,
                               .arena = arena};
    return options_parse(&options, argv, &err);
}

static void refused(const char *line, const char *message)
{
    assert_int_equal(parse(line), GP_INVALID);
    assert_string_equal(err.message, message);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse(""), GP_OK);
    assert_false(values.flag);
    assert_string_equal(values.text, "none");
    assert_int_equal(values.list.n, 1);
    assert_int_equal(values.count, 3);
    assert_int_equal(values.size, 0);
    assert_int_equal(values.choice, 0);
    assert_int_equal(options_source(&options, "text"), OPTION_DEFAULT);
}

static void test_every_spelling(void **state)
{
    (void)state;
    assert_int_equal(
        parse("a --text=x=y --list 1 -l2 -l 3 --max_size 4K b -fc7 -- -f --x"), GP_OK);
    assert_string_equal(values.text, "x=y");
    assert_int_equal(values.list.n, 3);
    assert_string_equal(values.list.items[2], "3");
    assert_int_equal(values.size, 4096);
    assert_true(values.flag);
    assert_int_equal(values.count, 7);
    assert_int_equal(options.words.n, 4);
    assert_string_equal(options.words.items[1], "b");
    assert_string_equal(options.words.items[2], "-f");
    assert_int_equal(parse("- -1.5"), GP_OK);
    assert_int_equal(options.words.n, 2);
    assert_int_equal(parse("--flag=false --text -x --names a,b --names c"), GP_OK);
    assert_false(values.flag);
    assert_string_equal(values.text, "-x");
    assert_int_equal(values.names.n, 3);
    assert_string_equal(values.names.items[1], "b");
}

static void test_precedence(void **state)
{
    (void)state;
    setenv("GPT_TEXT", "from environment", 1);
    setenv("GPT_LIST", "x,y", 1);
    setenv("GPT_COUNT", "", 1); /* set to nothing: not set */
    setenv("GPT_FLAG", "yes", 1);
    assert_int_equal(parse(""), GP_OK);
    assert_string_equal(values.text, "from environment");
    assert_int_equal(values.list.n, 2);
    assert_int_equal(values.count, 3);
    assert_true(values.flag);
    assert_int_equal(options_source(&options, "list"), OPTION_ENVIRONMENT);
    assert_int_equal(parse("--list z,z --text t --flag=0"), GP_OK);
    assert_string_equal(values.text, "t");
    assert_int_equal(values.list.n, 1);
    assert_string_equal(values.list.items[0], "z,z");
    assert_false(values.flag);
    assert_int_equal(options_source(&options, "list"), OPTION_COMMAND_LINE);
}

/* Of two sets of values: a file's comes before a default, after all else, and before a file's
 * that is further from it. */
static void test_inheritance(void **state)
{
    (void)state;
    struct values near_values = {0};
    struct options near = {.table = table,
                           .n = sizeof table / sizeof *table,
                           .values = &near_values,
                           .arena = arena,
                           .file = "near.json"};
    const struct option *text = options_find(&near, "text");
    const struct option *count = options_find(&near, "count");
    const struct option *names = options_find(&near, "names");
    assert_null(options_find(&near, "max_size"));
    assert_int_equal(options_take(&near, text, OPTION_FILE, "x", "near", NULL), GP_OK);
    assert_int_equal(options_take(&near, count, OPTION_FILE, "x", "9", NULL), GP_OK);
    near.lines[count - table] = 7;
    assert_int_equal(parse("--text far --time 2s"), GP_OK);
    assert_int_equal(options_take(&options, names, OPTION_FILE, "x", "a,b", NULL), GP_OK);
    assert_int_equal(options_take(&options, count, OPTION_FILE, "x", "8", NULL), GP_OK);
    options_inherit(&near, &options);
    assert_string_equal(near_values.text, "far");
    assert_int_equal(near_values.count, 9);
    assert_int_equal(near_values.time_ms, 2000);
    assert_int_equal(near_values.names.n, 2);
    assert_int_equal(options_source(&near, "max-size"), OPTION_DEFAULT);
    char label[OPTION_LABEL_BYTES];
    options_label(label, &near, "count");
    assert_string_equal(label, "near.json:7: count");
    options_label(label, &near, "time");
    assert_string_equal(label, "--time");
    /* the items are shared, the lists are not */
    assert_true(option_list_add(&near_values.names, arena, "c"));
    assert_true(option_list_add(&values.names, arena, "d"));
    assert_string_equal(near_values.names.items[2], "c");
    struct text printed = {0};
    options_print(&printed, &near, false);
    assert_non_null(strstr(printed.data, "# near.json:7\n"));
    text_finish(&printed);
}

static void test_sizes_and_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"0", 0},          {"17", 17},      {"1K", 1024},      {"1KiB", 1024},
                 {"2k", 2048},      {"1kB", 1000},   {"64M", 64 << 20}, {"3MB", 3000000},
                 {"1GiB", 1 << 30}, {"1G", 1 << 30}, {"5B", 5},         {"1Gi", 1 << 30},
                 {"2Mi", 2 << 20},  {"3Ki", 3072}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "--max-size %s", sizes[i].text);
        assert_int_equal(parse(line), GP_OK);
        assert_int_equal(values.size, sizes[i].bytes);
    }
    static const struct {
        const char *text;
        uint32_t ms;
    } times[] = {{"0", 0},       {"500ms", 500},  {"10s", 10000},
                 {"2m", 120000}, {"1h", 3600000}, {"5", 5000}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "--time %s", times[i].text);
        assert_int_equal(parse(line), GP_OK);
        assert_int_equal(values.time_ms, times[i].ms);
    }
}

/* It stands for the largest number, which nobody can give as one. */
static void test_a_word_for_a_number(void **state)
{
    const struct option most = {.name = "most",
                                .kind = OPTION_COUNT,
                                .word = "auto",
                                OPTION_AT(values, count),
                                .max = 9};
    struct text text = {0};
    (void)state;
    assert_int_equal(option_read(&most, "--most", "auto", true, &values, arena, &err),
                     GP_OK);
    assert_int_equal(values.count, UINT32_MAX);
    option_write(&text, &most, &values);
    assert_string_equal(text.data, "auto");
    text_finish(&text);
    assert_int_equal(option_read(&most, "--most", "9", true, &values, arena, &err),
                     GP_OK);
    assert_int_equal(values.count, 9);
    static const char *const bad[] = {"aut", "automatic", "", "10", "4294967295"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char wanted[80];
        (void)snprintf(wanted, sizeof wanted,
                       "--most wants a number, from 0 to 9, or auto, not \"%s\"", bad[i]);
        assert_int_equal(option_read(&most, "--most", bad[i], true, &values, arena, &err),
                         GP_INVALID);
        assert_string_equal(err.message, wanted);
    }
}

static void test_errors(void **state)
{
    (void)state;
    refused("--count 0", "--count wants a number, from 1 to 10, not \"0\"");
    refused("-c 11", "-c wants a number, from 1 to 10, not \"11\"");
    refused("--count=x", "--count wants a number, from 1 to 10, not \"x\"");
    refused("--count=", "--count wants a number, from 1 to 10, not \"\"");
    refused("--count=-1", "--count wants a number, from 1 to 10, not \"-1\"");
    refused("--count=99999999999999999999",
            "--count wants a number, from 1 to 10, not \"99999999999999999999\"");
    refused("--max-size 2G",
            "--max-size wants a size such as 64M or 1GiB, from 0 to 1GiB, not \"2G\"");
    refused("--max-size 1X",
            "--max-size wants a size such as 64M or 1GiB, from 0 to 1GiB, not \"1X\"");
    refused("--time 10x",
            "--time wants a duration such as 500ms, 10s or 2m, or seconds, not \"10x\"");
    refused("--log-format xml", "--log-format wants text or json, not \"xml\"");
    refused("--flag=maybe", "--flag wants 1 or 0, not \"maybe\"");
    refused("--names a,,b", "--names wants names with commas between, not \"a,,b\"");
    refused("--text", "--text needs a value: --text TEXT");
    refused("-ft", "-t needs a value: -t TEXT");
    refused("--cuont 1", "unknown option --cuont; did you mean --count?");
    refused("--something-else", "unknown option --something-else");
    refused("-x", "unknown option -x");
    setenv("GPT_COUNT", "many", 1);
    refused("", "GPT_COUNT wants a number, from 1 to 10, not \"many\"");
}

static void test_help(void **state)
{
    (void)state;
    assert_int_equal(parse("--help --count x"), GP_OK);
    assert_true(options.wants_help);
    assert_int_equal(parse("-fh"), GP_OK);
    assert_true(options.wants_help);
    struct text text = {0};
    options_help(&text, table, sizeof table / sizeof *table);
    assert_non_null(
        strstr(text.data, "\nOptions:\n  -f, --flag                a flag\n"));
    assert_non_null(strstr(text.data, "\nNumbers:\n  -c, --count N             a count "
                                      "(default 3)\n"));
    assert_non_null(
        strstr(text.data, "a size\n                            on two lines\n"));
    assert_non_null(strstr(text.data, "  -h, --help                this text\n"));
    text_finish(&text);
}

static void test_print(void **state)
{
    (void)state;
    setenv("GPT_LIST", "x,y", 1);
    assert_int_equal(parse("--max-size 64M --time 90s --log-format json -f"), GP_OK);
    struct text text = {0};
    options_print(&text, &options, false);
    static const char *const lines[][2] = {
        {"flag = true ", "# command line\n"},
        {"text = none ", "# default\n"},
        {"list = x,y ", "# GPT_LIST\n"},
        {"names = ", "# not set\n"},
        {"max-size = 64MiB ", "# command line\n"},
        {"time = 90s ", "# command line\n"},
        {"log-format = json ", "# command line\n"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *line = strstr(text.data, lines[i][0]);
        assert_non_null(line);
        assert_memory_equal(strchr(line, '#'), lines[i][1], strlen(lines[i][1]));
    }
    text_finish(&text);
}

static void test_nearest(void **state)
{
    (void)state;
    struct nearest nearest = {.word = "sevre"};
    nearest_offer(&nearest, "bench");
    assert_null(nearest.best);
    nearest_offer(&nearest, "serve");
    nearest_offer(&nearest, "severe");
    assert_string_equal(nearest.best, "severe");
    assert_int_equal(count_edits("serve", "serve"), 0);
    assert_int_equal(count_edits("sevre", "serve"), 2);
    assert_int_equal(count_edits("", "abc"), 3);
    assert_int_equal(count_edits("infer", "inspect"), 4);
    assert_int_equal(count_edits("a-word-that-is-longer-than-any-option", "a"), 37);
}

/* The list after joining, with commas between; the message where that fails. */
static const char *joined(const char *line)
{
    static char list[256];
    size_t used = 0;
    list[0] = '\0';
    assert_int_equal(parse(line), GP_OK);
    if (options_join(&options, &err) != GP_OK)
        return err.message;
    for (size_t i = 0; i < values.list.n; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? "," : "",
                                 values.list.items[i]);
    return list;
}

static void test_join(void **state)
{
    (void)state;
    assert_string_equal(joined(""), "one");
    assert_string_equal(joined("-f -tx"), "one,flag=1,text=x");
    assert_string_equal(joined("-l a -l flag=1 -f -l text=x --text x"),
                        "a,flag=1,text=x");
    assert_string_equal(joined("--flag=no -l b -l flag=0 -l texts=y -t x"),
                        "b,flag=0,texts=y,text=x");
    assert_string_equal(joined("--flag=0 -l b"), "b");
    assert_string_equal(joined("-t x -l text=y"),
                        "--text=x and --list text=y contradict each other: give one");
    assert_string_equal(joined("--flag=0 -l flag=1"),
                        "--flag=0 and --list flag=1 contradict each other: give one");
    setenv("GPT_FLAG", "yes", 1);
    setenv("GPT_LIST", "flag=0,x", 1);
    assert_string_equal(joined(""),
                        "GPT_FLAG=1 and GPT_LIST flag=0 contradict each other: give one");
    assert_string_equal(joined("-l x"), "x,flag=1");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_every_spelling),
        TEST(test_precedence),
        TEST(test_inheritance),
        TEST(test_sizes_and_durations),
        TEST(test_a_word_for_a_number),
        TEST(test_errors),
        TEST(test_help),
        TEST(test_print),
        TEST(test_nearest),
        TEST(test_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

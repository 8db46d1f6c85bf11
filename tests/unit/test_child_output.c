/* What children print: each line of it is one of the log, in short ones, and not too many a second, by
 * a clock that the test turns. */
#include "engine/isolate_child.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { A_SECOND = 200, LONGEST = 496 };

#define BEGIN_NS (1000 * CLOCK_S)

struct fixture {
    struct isolate isolate;
    struct child child;
    int fd;            /* the child's end */
    char last[600];    /* line */
    unsigned n_lines;  /* of the child's, since the last time */
    unsigned n_warned; /* likewise */
};

static void take_line(void *context, enum gp_log_level level, const char *message)
{
    struct fixture *f = context;
    if (level == GP_LOG_WARNING)
        f->n_warned++;
    else
        f->n_lines++;
    (void)snprintf(f->last, sizeof f->last, "%s", message);
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.isolate = {.log = take_line, .log_context = f},
                          .child = {.slot = 3, .output.fd = -1}};
    f->child.isolate = &f->isolate;
    turned_clock_set(BEGIN_NS);
    assert_true(output_open(&f->child, &f->fd));
}

static void end(struct fixture *f)
{
    output_close(&f->child); /* what it has started may still have the other end */
    close(f->fd);
    turned_clock_end();
}

static void print(struct fixture *f, const char *bytes, size_t size_bytes)
{
    assert_int_equal(write(f->fd, bytes, size_bytes), size_bytes);
    output_read(&f->child);
}

static void print_lines(struct fixture *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        print(f, "x\n", 2);
}

static void assert_lines(struct fixture *f, unsigned n_lines, unsigned n_warned,
                         const char *last)
{
    assert_int_equal(f->n_lines, n_lines);
    assert_int_equal(f->n_warned, n_warned);
    assert_string_equal(f->last, last);
    f->n_lines = f->n_warned = 0;
}

static void not_too_many_a_second(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    print_lines(&f, A_SECOND);
    assert_lines(&f, A_SECOND, 0, "slot 3: x");
    assert_int_equal(output_due_ns(&f.child), INT64_MAX);
    turned_clock_add(CLOCK_S - 1);
    print_lines(&f, 7);
    assert_lines(&f, 0, 0, "slot 3: x");
    assert_int_equal(output_due_ns(&f.child), BEGIN_NS + CLOCK_S);
    turned_clock_add(1); /* and nothing more is printed */
    assert_int_equal(output_due_ns(&f.child), INT64_MAX);
    assert_lines(&f, 0, 1, "slot 3 prints too much: 7 lines were left out");
    print_lines(&f, A_SECOND + 1);
    assert_lines(&f, A_SECOND, 0, "slot 3: x");
    turned_clock_add(10 * CLOCK_S);
    print_lines(&f, 1);
    assert_lines(&f, 1, 1, "slot 3: x");
    print_lines(&f, A_SECOND);
    assert_lines(&f, A_SECOND - 1, 0, "slot 3: x");
    end(&f);
    assert_lines(&f, 0, 1, "slot 3 prints too much: 1 lines were left out");
}

static void lines_as_they_are_told(void **state)
{
    struct fixture f;
    char text[1000];
    (void)state;
    begin(&f);
    print(&f, "one\n\n\r\ntwo\r", 11);
    assert_lines(&f, 2, 0, "slot 3: two");
    print(&f, "of two", 6);
    print(&f, " writes", 7);
    assert_lines(&f, 0, 0, "slot 3: two");
    print(&f, "\nx\0y\n", 5);
    assert_lines(&f, 2, 0, "slot 3: x?y");
    memset(text, 'z', sizeof text);
    print(&f, text, LONGEST);
    print(&f, "\n", 1);
    assert_int_equal(strlen(f.last), 8 + LONGEST);
    assert_null(strchr(f.last, '.'));
    print(&f, text, LONGEST + 1);
    print(&f, "\n", 1);
    assert_int_equal(strlen(f.last), 8 + LONGEST + 3);
    print(&f, "short\n", 6);
    assert_lines(&f, 3, 0, "slot 3: short"); /* not cut as the one before */
    print(&f, "the last", 8);
    end(&f);
    assert_lines(&f, 1, 0, "slot 3: the last");
}

static void the_end_of_its_pipe(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    print(&f, "no newline", 10);
    close(f.fd);
    output_read(&f.child);
    assert_lines(&f, 1, 0, "slot 3: no newline");
    assert_int_equal(f.child.output.fd, -1);
    assert_true(output_open(&f.child, &f.fd)); /* it starts again */
    print(&f, "x\n", 2);
    assert_lines(&f, 1, 0, "slot 3: x");
    end(&f);
}

/* Its pipe is read on and on, but not at the cost of the others. */
static void some_at_a_time(void **state)
{
    struct fixture f;
    char text[4096];
    (void)state;
    begin(&f);
    memset(text, '\n', sizeof text);
    for (int i = 0; i < 16; i++) /* what a pipe holds */
        assert_int_equal(write(f.fd, text, sizeof text), sizeof text);
    output_read(&f.child);
    assert_int_equal(write(f.fd, "a\n", 2), 2);
    output_read(&f.child);
    assert_lines(&f, 1, 0, "slot 3: a");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_too_many_a_second),
        cmocka_unit_test(lines_as_they_are_told),
        cmocka_unit_test(the_end_of_its_pipe),
        cmocka_unit_test(some_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

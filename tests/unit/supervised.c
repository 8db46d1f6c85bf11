#include "supervised.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20, PATIENCE_S = 20 };

static void take_line(void *context, enum gp_log_level level, const char *message)
{
    struct supervised *s = context;
    (void)level;
    pthread_mutex_lock(&s->lock);
    const size_t n = strlen(s->lines);
    (void)snprintf(s->lines + n, sizeof s->lines - n, "%s\n", message);
    s->n_lines++;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void take_news(void *context)
{
    struct supervised *s = context;
    pthread_mutex_lock(&s->lock);
    s->n_told++;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void supervised_begin(struct supervised *s)
{
    *s = (struct supervised){.isolate = {.children = s->children,
                                         .n_children = SUPERVISED,
                                         .looks = s->looks,
                                         .was_supervised = s->was_supervised,
                                         .worker = "/nowhere/graphpipe",
                                         .hang_ns = SUPERVISED_HANG_NS,
                                         .log = take_line,
                                         .log_context = s,
                                         .tell = take_news,
                                         .tell_context = s,
                                         .is_open = true}};
    struct isolate *isolate = &s->isolate;
    turned_clock_set(SUPERVISED_BEGIN_NS);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    pthread_mutex_init(&isolate->lock, NULL);
    pthread_cond_init(&isolate->changed, NULL);
    isolate->arena = gp_arena_create();
    isolate->pool = pool_create(64 * MIB);
    assert_true(pool_open(isolate->pool, &isolate->memory));
    isolate->inputs_fd = pool_range(isolate->pool, isolate->memory.inputs)->fd;
    isolate->supervisor_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (uint32_t i = 0; i < SUPERVISED; i++)
        played_begin(&s->peers[i], isolate, i);
}

void supervised_start(struct supervised *s)
{
    assert_int_equal(
        pthread_create(&s->isolate.supervisor, NULL, supervisor_main, &s->isolate), 0);
}

void supervised_ask_to_end(struct supervised *s)
{
    pthread_mutex_lock(&s->isolate.lock);
    s->isolate.is_ending = true;
    pthread_mutex_unlock(&s->isolate.lock);
    supervisor_wake(&s->isolate);
}

void supervised_join(struct supervised *s)
{
    assert_int_equal(pthread_join(s->isolate.supervisor, NULL), 0);
}

void supervised_end(struct supervised *s)
{
    struct isolate *isolate = &s->isolate;
    if (!isolate->is_ending) {
        turned_clock_add_at_each_look(CLOCK_S); /* its patience */
        supervised_ask_to_end(s);
        supervised_join(s);
    }
    turned_clock_end();
    for (uint32_t i = 0; i < SUPERVISED; i++)
        played_end(&s->peers[i]);
    assert_int_equal(pool_count(isolate->pool).used_bytes, 0);
    pool_close(isolate->pool, &isolate->memory);
    pool_destroy(isolate->pool);
    gp_arena_destroy(isolate->arena);
    close(isolate->supervisor_fd);
    pthread_mutex_destroy(&isolate->lock);
    pthread_cond_destroy(&isolate->changed);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
}

/* With the lock held; false when nothing has changed for very long. */
static bool wait_for_change(struct supervised *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0;
}

void supervised_await(struct supervised *s, const char *words)
{
    const char *found;
    bool is_in_time = true;
    pthread_mutex_lock(&s->lock);
    while (!(found = strstr(s->lines, words)) && is_in_time)
        is_in_time = wait_for_change(s);
    if (found) {
        const char *rest = strchr(found, '\n') + 1;
        memmove(s->lines, rest, strlen(rest) + 1);
    }
    pthread_mutex_unlock(&s->lock);
    if (!found)
        fail_msg("no line with \"%s\"; the last ones: %s", words, s->lines);
}

void supervised_await_news(struct supervised *s, enum isolate_news news, uint32_t slot)
{
    uint32_t of = SUPERVISED;
    enum isolate_news got;
    bool is_in_time = true;
    pthread_mutex_lock(&s->lock);
    while ((got = isolate_next(&s->isolate, &of)) == ISOLATE_NONE && is_in_time)
        is_in_time = wait_for_change(s);
    pthread_mutex_unlock(&s->lock);
    assert_int_equal(got, news);
    if (news != ISOLATE_DOWN)
        assert_int_equal(of, slot);
}

unsigned supervised_n_lines(struct supervised *s)
{
    pthread_mutex_lock(&s->lock);
    const unsigned n = s->n_lines;
    pthread_mutex_unlock(&s->lock);
    return n;
}

unsigned supervised_n_told(struct supervised *s)
{
    pthread_mutex_lock(&s->lock);
    const unsigned n = s->n_told;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void supervised_make_late(struct supervised *s, uint32_t slot)
{
    s->children[slot].is_late = true;
    assert_false(isolate_let_go(&s->isolate, slot));
}

void supervised_lose(struct supervised *s, uint32_t slot)
{
    spawn_reap(&s->children[slot], ISOLATE_EXIT);
    assert_false(isolate_let_go(&s->isolate, slot));
}

void supervised_turn(struct supervised *s, int64_t ns)
{
    turned_clock_add(ns);
    supervisor_wake(&s->isolate);
}

/* It hears of it once in each of its rounds: when it has heard of the second, a round is whole. */
void supervised_catch_up(struct supervised *s)
{
    struct pollfd woken = {.fd = s->isolate.supervisor_fd, .events = POLLIN};
    for (int round = 0; round < 2; round++) {
        supervisor_wake(&s->isolate);
        for (int i = 0; i < PATIENCE_S * 1000 && poll(&woken, 1, 0) == 1; i++)
            poll(NULL, 0, 1);
        assert_int_equal(poll(&woken, 1, 0), 0);
    }
}

#include "http_heads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void head_feed(struct outcome *o, const char *bytes, size_t from, size_t end)
{
    char *moved = malloc(end);
    assert_non_null(moved);
    memcpy(moved, bytes, end);
    free(o->base);
    o->base = moved;
    o->progress = http_head(&o->message, moved, from, end, &o->head_size, &o->err);
}

struct outcome *head_begin(enum http_kind kind)
{
    struct outcome *o = calloc(1, sizeof *o);
    assert_non_null(o);
    memset(&o->message, 0xA5, sizeof o->message); /* http_init must not rely on zeros */
    http_init(&o->message, kind);
    return o;
}

void head_end(struct outcome *o)
{
    free(o->base);
    free(o);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    const struct http_message *m = &a->message, *n = &b->message;
    assert_int_equal(a->progress, b->progress);
    if (a->progress == HTTP_BAD) {
        assert_int_equal(a->err.status, b->err.status);
        assert_string_equal(a->err.message, b->err.message);
    }
    if (a->progress != HTTP_DONE)
        return;
    assert_int_equal(a->head_size, b->head_size);
    assert_int_equal(m->method, n->method);
    assert_int_equal(m->status, n->status);
    assert_int_equal(m->content_length, n->content_length);
    assert_int_equal(m->is_chunked, n->is_chunked);
    assert_int_equal(m->is_kept_alive, n->is_kept_alive);
    assert_int_equal(m->expects_continue, n->expects_continue);
    assert_int_equal(m->n_fields, n->n_fields);
    assert_memory_equal(&m->target, &n->target, sizeof m->target);
    assert_memory_equal(m->fields, n->fields, m->n_fields * sizeof *m->fields);
}

struct outcome *head_parse(enum http_kind kind, const char *bytes, size_t size)
{
    struct outcome *whole = head_begin(kind);
    head_feed(whole, bytes, 0, size);

    struct outcome *single = head_begin(kind);
    for (size_t i = 0; i < size; i++) {
        head_feed(single, bytes, i, i + 1);
        if (single->progress != HTTP_MORE)
            break;
    }
    assert_same(whole, single);
    head_end(single);

    for (size_t at = 1; at < size; at++) {
        struct outcome *split = head_begin(kind);
        head_feed(split, bytes, 0, at);
        if (split->progress == HTTP_MORE)
            head_feed(split, bytes, at, size);
        assert_same(whole, split);
        head_end(split);
    }
    return whole;
}

struct outcome *head_parse_request(const char *text)
{
    return head_parse(HTTP_KIND_REQUEST, text, strlen(text));
}

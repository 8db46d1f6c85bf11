#include "asker.h"

#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

const struct gp_encoding no_parts;

void asker_begin(struct asker *a, const struct script_step *steps, size_t n_steps,
                 const char *message, size_t message_size)
{
    memset(a, 0, sizeof *a);
    scripted_start(&a->server, true, steps, n_steps, message, message_size);
    assert_int_equal(client_address_init(&a->link.address, a->server.address, NULL),
                     GP_OK);
    a->link.fd = -1;
    a->link.connect_timeout_ms = 60000;
    /* what is received beyond its end fails */
    const size_t size = HTTP_MAX_HEAD_BYTES;
    a->scratch = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(a->scratch, MAP_FAILED);
    assert_int_equal(mprotect(a->scratch, size, PROT_READ | PROT_WRITE), 0);
}

void asker_end(struct asker *a)
{
    link_close(&a->link);
    scripted_check(&a->server);
    buffers_give(&a->buffers, &a->reply.body.buffer);
    buffers_finish(&a->buffers);
    client_address_finish(&a->link.address);
    munmap(a->scratch, 2 * (size_t)HTTP_MAX_HEAD_BYTES);
    turned_clock_end();
}

enum gp_status asker_ask(struct asker *a, const struct gp_encoding *message,
                         int64_t deadline_ns)
{
    const struct client_question question = {message, deadline_ns};
    buffers_give(&a->buffers, &a->reply.body.buffer);
    a->reply = (struct client_reply){.buffers = &a->buffers, .limit_bytes = 1 << 24};
    return client_roundtrip(&a->link, a->scratch, &question, &a->reply, &a->err);
}

void asker_ask_at_length(struct asker *a)
{
    enum { SIZE = 8 << 20 };
    char *bytes = calloc(1, SIZE);
    assert_non_null(bytes);
    const struct iovec part = {bytes, SIZE};
    const struct gp_encoding message = {&part, 1, SIZE};
    if (asker_ask(a, &message, INT64_MAX) != GP_OK)
        fail_msg("%s", a->err.message);
    free(bytes);
}

void assert_answered(struct asker *a, int status, const char *body)
{
    if (asker_ask(a, &no_parts, INT64_MAX) != GP_OK)
        fail_msg("%s", a->err.message);
    assert_int_equal(a->reply.status, status);
    assert_int_equal(a->reply.body.size_bytes, strlen(body));
    assert_memory_equal(a->reply.body.data, body, strlen(body));
}

void assert_told(const struct asker *a, enum gp_status got, enum gp_status status,
                 const char *words)
{
    char message[400];
    snprintf(message, sizeof message, "%s: %s", a->server.address, words);
    assert_string_equal(a->err.message, message);
    assert_int_equal(got, status);
    assert_int_equal(a->err.status, status);
    assert_int_equal(a->link.fd, -1);
}

void assert_fails(struct asker *a, enum gp_status status, const char *words)
{
    assert_told(a, asker_ask(a, &no_parts, INT64_MAX), status, words);
}

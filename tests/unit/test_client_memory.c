/* The memory that answers are received into: how much is taken, which buffer and which result are used
 * again, which are kept, and that the others go back to the system. */
#include "client/link.h"
#include "client/store.h"
#include "fault.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

/* A buffer of at least that size, all of which can be written to. */
static struct client_buffer take(struct client_buffers *buffers, size_t size_bytes)
{
    struct client_buffer buffer = {0};
    assert_true(buffers_take(buffers, size_bytes, &buffer));
    assert_non_null(buffer.data);
    assert_true(buffer.size_bytes >= size_bytes);
    memset(buffer.data, 0xa5, buffer.size_bytes);
    return buffer;
}

static void give(struct client_buffers *buffers, struct client_buffer buffer)
{
    buffers_give(buffers, &buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.size_bytes, 0);
}

/* Whether a page that begins at `data` belongs to the process. */
static bool is_mapped(const void *data)
{
    unsigned char pages[1];
    return mincore((void *)(uintptr_t)data, 1, pages) == 0;
}

static bool is_kept(const struct client_buffers *buffers, const void *data)
{
    for (int i = 0; i < CLIENT_IDLE_BUFFERS; i++)
        if (buffers->idle[i].data == data)
            return true;
    return false;
}

/* --- buffers
 * ----------------------------------------------------------------------------- */

/* An eighth more than asked for, where the next answer fits even if it is slightly larger. */
static void a_buffer_is_slightly_larger_than_needed(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,        1,       63,          64,  1000,
                                   64 * KIB, 1000000, MIB - 1,     MIB, MIB + 1,
                                   3 * MIB,  8 * MIB, 8 * MIB + 77};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct client_buffers buffers = {0};
        const struct client_buffer buffer = take(&buffers, sizes[i]);
        assert_int_equal((uintptr_t)buffer.data % 64, 0);
        assert_in_range(buffer.size_bytes, sizes[i] + sizes[i] / 8 + 1,
                        sizes[i] + sizes[i] / 8 + 64);
        give(&buffers, buffer);
        buffers_finish(&buffers);
    }
}

static void sizes_that_nobody_has_are_refused(void **state)
{
    (void)state;
    struct client_buffers buffers = {0};
    struct client_buffer buffer = {0};
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 64, SIZE_MAX / 9 * 8 + 64,
                                   SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_false(buffers_take(&buffers, sizes[i], &buffer));
        assert_null(buffer.data);
    }
}

static void the_smallest_that_fits_is_taken(void **state)
{
    (void)state;
    struct client_buffers buffers = {0};
    struct client_buffer made[4];
    static const size_t sizes[] = {64 * KIB, 4 * KIB, 2 * MIB, 16 * KIB};
    for (int i = 0; i < 4; i++)
        made[i] = take(&buffers, sizes[i]);
    for (int i = 0; i < 4; i++)
        give(&buffers, made[i]);

    struct client_buffer taken[4];
    taken[0] = take(&buffers, made[3].size_bytes); /* it fits exactly */
    taken[1] = take(&buffers, 10 * KIB);
    taken[2] = take(&buffers, 10 * KIB);
    taken[3] = take(&buffers, 10 * KIB); /* of 4 KiB only one is left */
    assert_ptr_equal(taken[0].data, made[3].data);
    assert_ptr_equal(taken[1].data, made[0].data);
    assert_ptr_equal(taken[2].data, made[2].data);
    assert_int_equal(taken[2].size_bytes, made[2].size_bytes);
    assert_true(taken[3].size_bytes < 16 * KIB);
    assert_true(is_kept(&buffers, made[1].data));
    for (int i = 0; i < 4; i++)
        give(&buffers, taken[i]);
    buffers_finish(&buffers);
}

/* A larger one takes the place of the smallest, wherever that is; a smaller one goes. */
static void the_largest_are_kept(void **state)
{
    (void)state;
    for (int smallest = 0; smallest < CLIENT_IDLE_BUFFERS; smallest++) {
        struct client_buffers buffers = {0};
        struct client_buffer made[CLIENT_IDLE_BUFFERS];
        for (int i = 0; i < CLIENT_IDLE_BUFFERS; i++)
            made[i] = take(&buffers, i == smallest ? 2 * MIB : (size_t)(4 + i) * MIB);
        for (int i = 0; i < CLIENT_IDLE_BUFFERS; i++) {
            give(&buffers, made[i]);
            assert_true(is_kept(&buffers, made[i].data));
        }
        struct client_buffers none = {0};
        const struct client_buffer smaller = take(&none, MIB);
        give(&buffers, smaller);
        assert_false(is_kept(&buffers, smaller.data));
        assert_false(is_mapped(smaller.data));
        const struct client_buffer larger = take(&none, 3 * MIB);
        give(&buffers, larger);
        assert_true(is_kept(&buffers, larger.data));
        for (int i = 0; i < CLIENT_IDLE_BUFFERS; i++) {
            assert_int_equal(is_kept(&buffers, made[i].data), i != smallest);
            assert_int_equal(is_mapped(made[i].data), i != smallest);
        }
        buffers_finish(&buffers);
        for (int i = 0; i < CLIENT_IDLE_BUFFERS; i++)
            assert_false(is_mapped(made[i].data));
        assert_false(is_mapped(larger.data));
    }
}

/* Where the kernel knows them, with huge pages: those of a long answer are in place sooner. */
static void large_buffers_have_huge_pages(void **state)
{
    (void)state;
    char line[4096];
    struct client_buffers buffers = {0};
    const struct client_buffer buffer = take(&buffers, 4 * MIB);
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    const uintptr_t wanted = (uintptr_t)buffer.data;
    bool is_in_it = false, has_them = false;
    while (fgets(line, sizeof line, maps)) {
        uintptr_t first, end;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &end) == 2)
            is_in_it = first <= wanted && wanted < end;
        else if (is_in_it && strncmp(line, "VmFlags:", 8) == 0)
            has_them = strstr(line, " hg") != NULL;
    }
    fclose(maps);
    assert_true(has_them || access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0);
    give(&buffers, buffer);
    buffers_finish(&buffers);
}

static void no_buffer_is_nothing_to_give(void **state)
{
    (void)state;
    struct client_buffers buffers = {0};
    const struct client_buffer buffer = take(&buffers, 1);
    give(&buffers, buffer);
    give(&buffers, (struct client_buffer){0});
    assert_true(is_kept(&buffers, buffer.data));
    buffers_finish(&buffers);
}

/* --- results
 * ----------------------------------------------------------------------------- */

/* With their arenas, and nothing of what they held. */
static void results_are_used_again(void **state)
{
    (void)state;
    struct client_store *store = store_create();
    struct gp_result *first = store_take(store), *second = store_take(store);
    assert_ptr_not_equal(first, second);
    const struct gp_arena *arena = first->arena;
    const void *place = gp_arena_alloc(first->arena, 100);
    const struct gp_tensor output = {.rank = 1};
    first->response.outputs = &output;
    first->response.n_outputs = 1;
    assert_int_equal(gp_result_count(first), 1);
    assert_ptr_equal(gp_result_output(first, 0), &output);
    first->buffer = take(&store->buffers, 1000);
    const void *data = first->buffer.data;

    gp_result_destroy(first);
    assert_true(is_kept(&store->buffers, data));
    struct gp_result *third = store_take(store);
    assert_ptr_equal(third, first);
    assert_ptr_equal(third->arena, arena);
    assert_ptr_equal(gp_arena_alloc(third->arena, 100), place);
    assert_null(third->buffer.data);
    assert_null(third->next);
    assert_int_equal(gp_result_count(third), 0);
    assert_null(gp_result_output(third, 0));
    gp_result_destroy(third);
    gp_result_destroy(second);
    store_release(store);
}

/* Eight results wait for later answers; the store counts those who hold it. */
static void a_few_results_are_kept(void **state)
{
    (void)state;
    enum { N_RESULTS = 10, N_KEPT = 8 };
    struct client_store *store = store_create();
    struct gp_result *results[N_RESULTS];
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < N_RESULTS; i++) {
            results[i] = store_take(store);
            assert_non_null(results[i]);
            assert_int_equal(store->n_holders, 2 + i);
        }
        assert_int_equal(store->n_idle, 0);
        assert_null(store->idle);
        for (unsigned i = 0; i < N_RESULTS; i++) {
            gp_result_destroy(results[i]);
            assert_int_equal(store->n_idle, i < N_KEPT ? i + 1 : N_KEPT);
            assert_int_equal(store->n_holders, N_RESULTS - i);
        }
    }
    store_release(store);
}

static void the_last_holder_frees_everything(void **state)
{
    (void)state;
    struct client_store *store = store_create();
    struct gp_result *first = store_take(store), *last = store_take(store);
    last->buffer = take(&store->buffers, 2 * MIB);
    first->buffer = take(&store->buffers, 3 * MIB);
    const void *in_first = first->buffer.data, *in_last = last->buffer.data;
    store_release(store); /* the client */
    gp_result_destroy(first);
    assert_true(is_mapped(in_first)); /* kept for an answer that may come */
    assert_true(is_mapped(in_last));
    gp_result_destroy(last);
    assert_false(is_mapped(in_first));
    assert_false(is_mapped(in_last));
}

static void stores_come_and_go(void)
{
    struct client_store *store = store_create();
    struct gp_result *results[10];
    for (int i = 0; i < 10; i++) {
        results[i] = store_take(store);
        results[i]->buffer = take(&store->buffers, 1000);
        assert_non_null(gp_arena_alloc(results[i]->arena, 1000));
    }
    for (int i = 0; i < 10; i++)
        gp_result_destroy(results[i]);
    store_release(store);
}

static void clients_come_and_go(void)
{
    gp_client_destroy(gp_client_create("localhost:9000/path", NULL, NULL));
    assert_null(gp_client_create("unix:/s:/a path", NULL, NULL));
}

static struct gp_client *calling;

/* The memory of a request is that of the next. */
static void inferences_come_and_go(void)
{
    static const float floats[900];
    static const int64_t shape[] = {900};
    const struct gp_tensor input = gp_tensor_view(GP_FLOAT32, shape, 1, floats);
    const struct gp_call call = {.inputs = &input, .n_inputs = 1};
    struct gp_result *result;
    assert_int_equal(gp_client_infer(calling, &call, &result, NULL), GP_IO);
}

static void metadata_comes_and_goes(void)
{
    const struct gp_metadata *metadata;
    struct gp_result *result;
    for (int i = 0; i < 30; i++)
        assert_int_equal(gp_client_metadata(calling, &metadata, &result, NULL), GP_IO);
}

/* After some rounds, when the C library has the memory that it keeps for itself. */
static void nothing_is_left_of_them(void **state)
{
    (void)state;
    static void (*const come_and_go[])(void) = {stores_come_and_go, clients_come_and_go,
                                                inferences_come_and_go,
                                                metadata_comes_and_goes};
    calling = gp_client_create("unix:/nowhere/to/be.found", NULL, NULL);
    for (size_t i = 0; i < 4; i++) {
        size_t before = 0;
        for (int round = 0; round < 60; round++) {
            come_and_go[i]();
            if (round == 20)
                before = mallinfo2().uordblks;
        }
        assert_int_equal(mallinfo2().uordblks, before);
    }
    gp_client_destroy(calling);
}

/* From making the client to what nobody answers. */
static enum gp_status ask_nobody(void *arg, struct gp_error *err)
{
    const struct gp_metadata *metadata;
    const struct gp_call call = {.n_inputs = 0};
    struct gp_result *result;
    (void)arg;
    struct gp_client *client =
        gp_client_create("unix:/nowhere/to/be.found:/path", NULL, err);
    if (!client)
        return err->status;
    enum gp_status status = gp_client_metadata(client, &metadata, &result, err);
    assert_null(result);
    if (status == GP_IO)
        status = gp_client_infer(client, &call, &result, err);
    assert_null(result);
    gp_client_destroy(client);
    return status == GP_IO ? GP_OK : status;
}

static void memory_may_be_short(void **state)
{
    (void)state;
    assert_true(fault_each_allocation(ask_nobody, NULL) >= 6);
}

/* The name of a server is looked up on a thread. */
static void a_lookup_may_have_no_thread_or_memory(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {.calls = FAULT_PTHREAD_CREATE, .error = EAGAIN},
        {.calls = FAULT_MEM, .error = ENOMEM}};
    struct client_address address;
    assert_int_equal(client_address_init(&address, "example:9000", NULL), GP_OK);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct addrinfo *list;
        struct gp_error err;
        const long n_live = fault_n_live();
        fault_begin(&faults[i]);
        const enum gp_status status = client_resolve(&address, INT64_MAX, &list, &err);
        assert_int_equal(fault_end(), 1);
        assert_int_equal(status, GP_NO_MEMORY);
        assert_string_equal(err.message,
                            "http://example:9000: no memory to look the host up");
        assert_int_equal(fault_n_live(), n_live);
    }
    client_address_finish(&address);
}

static void interrupted_calls_are_repeated(void **state)
{
    (void)state;
    int fds[2];
    char byte = 0;
    size_t moved;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct client_link link = {.fd = fds[0]}, other = {.fd = fds[1]};
    fault_begin(&(struct fault){.calls = FAULT_SENDMSG, .n = 2, .error = EINTR});
    assert_int_equal(link_send(&link, &(struct iovec){"x", 1}, 1, &moved), LINK_MOVED);
    assert_int_equal(fault_end(), 2);
    assert_int_equal(moved, 1);
    fault_begin(&(struct fault){.calls = FAULT_RECV, .n = 2, .error = EINTR});
    assert_int_equal(link_receive(&other, &byte, 1, &moved), LINK_MOVED);
    assert_int_equal(fault_end(), 2);
    assert_int_equal(moved, 1);
    assert_int_equal(byte, 'x');
    link_close(&link);
    link_close(&other);
}

static void no_result_has_no_outputs(void **state)
{
    (void)state;
    gp_result_destroy(NULL);
    assert_int_equal(gp_result_count(NULL), 0);
    assert_null(gp_result_output(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_is_slightly_larger_than_needed),
        cmocka_unit_test(sizes_that_nobody_has_are_refused),
        cmocka_unit_test(the_smallest_that_fits_is_taken),
        cmocka_unit_test(the_largest_are_kept),
        cmocka_unit_test(large_buffers_have_huge_pages),
        cmocka_unit_test(no_buffer_is_nothing_to_give),
        cmocka_unit_test(results_are_used_again),
        cmocka_unit_test(a_few_results_are_kept),
        cmocka_unit_test(the_last_holder_frees_everything),
        cmocka_unit_test(nothing_is_left_of_them),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(a_lookup_may_have_no_thread_or_memory),
        cmocka_unit_test(interrupted_calls_are_repeated),
        cmocka_unit_test(no_result_has_no_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the pool pins for a device: each buffer once, all of it, and never is a hole punched into
 * what is pinned. The device is a fake that looks at the memory. */
#include "base/clock.h"
#include "base/pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { MIB = 1 << 20, UNIT = 2 << 20 };

/* What a device would have locked; it demands that all pages are there, and that they are the
 * ones that were written to when it lets go of them. */
enum { DEVICE_LIMIT = 64 };

static struct {
    unsigned char *memory[DEVICE_LIMIT];
    size_t size_bytes[DEVICE_LIMIT];
    int n_pins;
    int n_unpins;
    bool is_broken;
} device;

static int pin(void *memory, size_t size_bytes)
{
    unsigned char pages[64 * MIB / 4096];
    assert_int_equal(mincore(memory, size_bytes, pages), 0);
    for (size_t i = 0; i < size_bytes / 4096; i++)
        assert_true(pages[i] & 1);
    device.n_pins++;
    for (int i = 0; i < DEVICE_LIMIT && !device.is_broken; i++) {
        assert_ptr_not_equal(device.memory[i], memory);
        if (!device.memory[i]) {
            device.memory[i] = memory;
            device.size_bytes[i] = size_bytes;
            return 1;
        }
    }
    return 0;
}

static void unpin(void *memory)
{
    device.n_unpins++;
    for (int i = 0; i < DEVICE_LIMIT; i++)
        if (device.memory[i] == memory) {
            assert_int_equal(device.memory[i][0], 1);
            assert_int_equal(device.memory[i][device.size_bytes[i] - 1], 1);
            device.memory[i] = NULL;
            return;
        }
    fail_msg("unpinned what was not pinned");
}

static struct pool_pair pair;

/* Takes one, writes all of it and gives it back, as a request would. */
static void use(struct pool *pool, size_t size_bytes)
{
    struct pool_buffer buffer;
    assert_true(pool_take(pool, pair.inputs, size_bytes, NULL, &buffer));
    assert_true(pool_touch(pool, &buffer, size_bytes));
    memset(buffer.data, 1, buffer.size_bytes);
    pool_give(pool, &buffer);
}

static struct pool *pinning_pool(size_t budget)
{
    memset(&device, 0, sizeof device);
    struct pool *pool = pool_create(budget);
    assert_true(pool_open_pinned(pool, pin, unpin, &pair));
    return pool;
}

static void close_pool(struct pool *pool)
{
    pool_close(pool, &pair);
    pool_destroy(pool);
}

/* Once, however often it is used; anew for one that is larger; not for small ones. */
static void pinned_while_warm(void **state)
{
    (void)state;
    struct pool *pool = pinning_pool(64 * MIB);
    use(pool, 128 << 10);
    assert_int_equal(device.n_pins, 0);
    for (int i = 0; i < 3; i++)
        use(pool, 5 * MIB);
    use(pool, 5 * MIB - 4096 * 100); /* the same one */
    assert_int_equal(device.n_pins, 1);
    assert_int_equal(pool_count(pool).pinned_bytes, device.size_bytes[0]);
    use(pool, 8 * MIB);
    assert_int_equal(device.n_pins, 2);
    assert_int_equal(device.n_unpins, 1);
    assert_int_equal(pool_count(pool).pinned_bytes, 8 * MIB);
    pool_trim(pool, CLOCK_S);
    assert_int_equal(device.n_unpins, 1);
    pool_trim(pool, 0);
    assert_int_equal(device.n_unpins, 2);
    assert_int_equal(pool_count(pool).pinned_bytes, 0);
    use(pool, 8 * MIB);
    assert_int_equal(device.n_pins, 3);
    close_pool(pool);
    assert_int_equal(device.n_unpins, 3);
}

/* Room for others is made of pinned buffers too, and a surplus that is no share is cut off. */
static void unpinned_for_others(void **state)
{
    (void)state;
    struct pool *pool = pinning_pool(16 * UNIT);
    struct pool_peer one = {0}, two = {0};
    struct pool_promise a = {.peer = &one}, b = {.peer = &two};
    struct pool_buffer first, second, more;
    use(pool, 8 * UNIT);
    assert_true(
        pool_take(pool, pair.inputs, 10 * UNIT, NULL, &more)); /* of another class */
    assert_int_equal(device.n_unpins, 1);
    memset(more.data, 1, more.size_bytes);
    pool_give(pool, &more);
    pool_trim(pool, 0);

    assert_true(pool_take(pool, pair.inputs, 4 * UNIT, NULL, &first));
    memset(first.data, 1, first.size_bytes);
    pool_give(pool, &first);
    assert_int_equal(pool_reserve(pool, &a, 9 * UNIT, 0), POOL_GRANTED);
    assert_int_equal(pool_reserve(pool, &b, 3 * UNIT, 0), POOL_GRANTED);
    two.held_bytes += 2 * UNIT; /* it has some already */
    const int n_unpins = device.n_unpins;
    assert_true(pool_take(pool, pair.inputs, 3 * UNIT, &b, &second));
    assert_int_equal(second.touched_bytes, 3 * UNIT); /* cut */
    assert_int_equal(device.n_unpins, n_unpins + 1);
    assert_int_equal(pool_count(pool).pinned_bytes,
                     3 * UNIT); /* and pinned as it is now */
    memset(second.data, 1, second.size_bytes);
    pool_give(pool, &second);
    pool_unreserve(pool, &a);
    close_pool(pool);
    assert_int_equal(device.n_pins, device.n_unpins);
}

/* Also what is still held: a device knows nothing of a model that has gone. Others' buffers, and those
 * of models without a device, are not its. */
static void unpinned_when_closed(void **state)
{
    (void)state;
    struct pool *pool = pinning_pool(64 * MIB);
    struct pool_pair other;
    struct pool_buffer held, others;
    assert_true(pool_open_pinned(pool, pin, unpin, &other));
    use(pool, 5 * MIB);
    use(pool, MIB);
    assert_true(pool_take(pool, pair.outputs, 9 * MIB, NULL, &held));
    memset(held.data, 1, held.size_bytes);
    assert_true(pool_take(pool, other.inputs, MIB, NULL, &others));
    memset(others.data, 1, others.size_bytes);
    assert_int_equal(device.n_pins, 4);
    pool_close(pool, &pair);
    assert_int_equal(device.n_unpins, 3);
    assert_int_equal(pool_count(pool).pinned_bytes, MIB);
    assert_int_equal(held.data[held.size_bytes - 1], 1);
    pool_give(pool, &held);
    assert_int_equal(device.n_unpins, 3);

    assert_true(pool_take(pool, NULL, 9 * MIB, NULL, &held));
    pool_give(pool, &held);
    assert_int_equal(device.n_pins, 4);
    assert_int_equal(pool_count(pool).n_unpinned, 0); /* it was not meant to be */
    pool_give(pool, &others);
    pool_close(pool, &other);
    assert_int_equal(device.n_unpins, 4);
    pool_destroy(pool);
}

static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;

static int pin_alone(void *memory, size_t size_bytes)
{
    pthread_mutex_lock(&device_lock);
    const int is_pinned = pin(memory, size_bytes);
    pthread_mutex_unlock(&device_lock);
    return is_pinned;
}

static void unpin_alone(void *memory)
{
    pthread_mutex_lock(&device_lock);
    unpin(memory);
    pthread_mutex_unlock(&device_lock);
}

static void *use_often(void *pool)
{
    for (size_t i = 0; i < 200; i++)
        use(pool, (300 << 10) + i % 7 * 400000);
    return NULL;
}

/* Takers of all sizes, while what is idle is given back. */
static void of_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct pool *pool = pinning_pool(64 * MIB);
    pool_close(pool, &pair);
    assert_true(pool_open_pinned(pool, pin_alone, unpin_alone, &pair));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_often, pool), 0);
    for (int i = 0; i < 50; i++)
        pool_trim(pool, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    close_pool(pool);
    assert_true(device.n_pins > 0);
    assert_int_equal(device.n_pins, device.n_unpins);
}

/* Without the device's help everything is as without a device. */
static void pinning_fails(void **state)
{
    (void)state;
    struct pool *pool = pinning_pool(64 * MIB);
    device.is_broken = true;
    use(pool, 5 * MIB);
    use(pool, 5 * MIB);
    assert_int_equal(pool_count(pool).n_unpinned, 2);
    assert_int_equal(pool_count(pool).pinned_bytes, 0);
    device.is_broken = false;
    use(pool, 5 * MIB);
    assert_int_equal(pool_count(pool).n_unpinned, 2);
    pool_trim(pool, 0);
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    close_pool(pool);
    assert_int_equal(device.n_unpins, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pinned_while_warm),    cmocka_unit_test(unpinned_for_others),
        cmocka_unit_test(unpinned_when_closed), cmocka_unit_test(of_threads),
        cmocka_unit_test(pinning_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Rows in flight: the first who wants one computes it, the others get it once it has landed, and whoever
 * leaves is missed by nobody. */
#include "cache/flights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct digest keys[2] = {{{1}}, {{1, 0, 0, 0, 2}}}; /* of one bucket */

struct fixture {
    struct flights *flights;
    struct flight own[2], none;
    struct flight_wait waits[4];
    struct awaiter awaiters[3];
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.flights = flights_create()};
    assert_non_null(f->flights);
}

static bool join(struct fixture *f, int key, struct flight *flight, int wait, int awaiter)
{
    return flights_join(f->flights, &keys[key], flight, &f->waits[wait],
                        &f->awaiters[awaiter]);
}

static struct cache_row *row_of(int key)
{
    struct cache_row *row = cache_row_create(&keys[key], 1);
    assert_non_null(row);
    return row;
}

static void the_first_owns_it(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    assert_true(join(&f, 0, &f.own[0], 0, 0));
    assert_true(join(&f, 1, &f.own[1], 0, 0));
    assert_false(join(&f, 0, &f.none, 0, 1));
    assert_false(flights_park(f.flights, &f.awaiters[0]));
    assert_null(flights_land(f.flights, &f.own[1], NULL));
    assert_null(flights_land(f.flights, &f.own[0], NULL)); /* the other is not parked */
    assert_null(f.waits[0].row);
    assert_false(flights_park(f.flights, &f.awaiters[1]));
    assert_true(join(&f, 0, &f.none, 0, 1)); /* again the first */
    assert_null(flights_land(f.flights, &f.none, NULL));
    flights_destroy(f.flights);
}

static void all_that_await_it_get_it(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    assert_true(join(&f, 0, &f.own[0], 0, 0));
    assert_true(join(&f, 1, &f.own[1], 0, 0));
    assert_false(join(&f, 0, &f.none, 0, 1));
    assert_false(join(&f, 1, &f.none, 1, 1));
    assert_false(join(&f, 0, &f.none, 2, 2));
    assert_true(flights_park(f.flights, &f.awaiters[1]));
    assert_true(flights_park(f.flights, &f.awaiters[2]));
    struct cache_row *row = row_of(0);
    struct awaiter *ready = flights_land(f.flights, &f.own[0], row);
    assert_ptr_equal(ready, &f.awaiters[2]); /* one awaits more */
    assert_null(ready->next);
    assert_ptr_equal(f.waits[0].row, row);
    assert_ptr_equal(f.waits[2].row, row);
    assert_int_equal(row->n_holds, 3);
    ready = flights_land(f.flights, &f.own[1], NULL);
    assert_ptr_equal(ready, &f.awaiters[1]);
    for (int i = 0; i < 3; i++) {
        flights_leave(f.flights, &f.waits[i]);
        assert_null(f.waits[i].row);
        assert_int_equal(f.awaiters[i].n_awaited, 0);
    }
    assert_int_equal(row->n_holds, 1);
    cache_row_drop(row);
    flights_destroy(f.flights);
}

static bool is_second(struct awaiter *awaiter, void *f)
{
    return awaiter == &((struct fixture *)f)->awaiters[1];
}

static void who_leaves_is_missed_by_nobody(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    assert_true(join(&f, 0, &f.own[0], 0, 0));
    for (int i = 0; i < 3; i++) {
        assert_false(join(&f, 0, &f.none, i, i));
        assert_true(flights_park(f.flights, &f.awaiters[i]));
    }
    struct awaiter *over = flights_unpark(f.flights, is_second, &f);
    assert_ptr_equal(over, &f.awaiters[1]);
    assert_null(over->next);
    assert_null(flights_unpark(f.flights, is_second, &f));
    flights_leave(f.flights, &f.waits[1]);
    flights_leave(f.flights, &f.waits[1]); /* has no effect */
    int n = 0;
    for (struct awaiter *a = flights_land(f.flights, &f.own[0], NULL); a; a = a->next) {
        assert_ptr_not_equal(a, &f.awaiters[1]);
        n++;
    }
    assert_int_equal(n, 2);
    flights_destroy(f.flights);
}

/* Taken out when what it awaited had not landed; then it lands, and nobody is told twice. */
static void one_that_is_over_is_returned_once(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    assert_true(join(&f, 0, &f.own[0], 0, 0));
    assert_false(join(&f, 0, &f.none, 0, 1));
    assert_true(flights_park(f.flights, &f.awaiters[1]));
    assert_non_null(flights_unpark(f.flights, is_second, &f));
    struct cache_row *row = row_of(0);
    assert_null(flights_land(f.flights, &f.own[0], row));
    assert_int_equal(row->n_holds, 2);
    flights_leave(f.flights, &f.waits[0]);
    assert_int_equal(row->n_holds, 1);
    cache_row_drop(row);
    flights_destroy(f.flights);
    flights_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_owns_it),
        cmocka_unit_test(all_that_await_it_get_it),
        cmocka_unit_test(who_leaves_is_missed_by_nobody),
        cmocka_unit_test(one_that_is_over_is_returned_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

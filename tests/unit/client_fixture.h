/* What most tests of the client ask and are answered: a call without inputs, and an answer of one
 * float, 7. */
#ifndef GP_TESTS_CLIENT_FIXTURE_H
#define GP_TESTS_CLIENT_FIXTURE_H

#include "scripted.h"

/* The answer. */
extern char *seven;
extern size_t seven_size;

extern const struct gp_call no_inputs;

/* Around a group of cmocka's tests. */
int client_fixture_begin(void **state);
int client_fixture_end(void **state);

/* Starts a server that takes these steps, over TCP; its message is the answer. */
#define START(server, ...) START_OVER(false, server, __VA_ARGS__)
#define START_UNIX(server, ...) START_OVER(true, server, __VA_ARGS__)
#define START_OVER(is_unix, server, ...)                                                 \
    static const struct script_step steps[] = {__VA_ARGS__};                             \
    scripted_start(server, is_unix, steps, sizeof steps / sizeof *steps, seven,          \
                   seven_size)

/* One call of the client is answered with 7. */
void assert_works(struct gp_client *client);

/* Passes `check` a call of 32 MiB: more than the sockets hold. */
void with_large_call(void (*check)(struct gp_client *, const struct gp_call *),
                     struct gp_client *client);

#endif

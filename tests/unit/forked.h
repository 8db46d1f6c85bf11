/* A process that serves, in a child of the test: it says what it does on its standard error, and is told
 * how to go on through a pipe. It does not outlive the test. */
#ifndef GP_TESTS_FORKED_H
#define GP_TESTS_FORKED_H

#include "server/server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FORKED_PATIENCE_MS = 20000 };

struct forked {
    pid_t pid;
    int says;
    int orders;
    size_t size;
    char text[8192]; /* what it has said, terminated */
};

/* Its exit status is what `serve` returns. */
void forked_begin(struct forked *child, int (*serve)(void));

/* In the child: waits for an order, which is a letter; 0 if there will be none. */
char forked_take_order(void);
void forked_order(const struct forked *child, char order);

/* Reads what it says; false at the end. */
bool forked_listen(struct forked *child);

/* Until it has said this; so often it has. */
void forked_await(struct forked *child, const char *words);
unsigned forked_count(const struct forked *child, const char *words);

void forked_signal(const struct forked *child, int number);

/* Until it has taken the signals that were sent to it. */
void forked_await_taken(const struct forked *child);

/* Its threads; until there are so many or fewer. */
unsigned forked_count_threads(const struct forked *child);
void forked_await_threads(const struct forked *child, unsigned n);

/* Until it has ended, with this exit status. */
void forked_exits(struct forked *child, int wanted);

/* Options for it, with a function of one input, x, and one output, y, that listens on any port; and a
 * client of it. */
struct gp_server_options forked_options(void);
int forked_connect(struct forked *child);

#endif

/* A process that serves, in a child of the test: it says what it does on its standard error, and is told
 * how to go on through a pipe. It does not outlive the test. */
#ifndef GP_TESTS_CHILD_H
#define GP_TESTS_CHILD_H

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

enum { CHILD_PATIENCE_MS = 20000 };

struct child {
    pid_t pid;
    int says;
    int orders;
    size_t size;
    char text[8192]; /* what it has said, terminated */
};

/* Its exit status is what `serve` returns. */
void child_begin(struct child *child, int (*serve)(void));

/* In the child: waits for an order, which is a letter; 0 if there will be none. */
char child_take_order(void);
void child_order(const struct child *child, char order);

/* Reads what it says; false at the end. */
bool child_listen(struct child *child);

/* Until it has said this; so often it has. */
void child_await(struct child *child, const char *words);
unsigned child_count(const struct child *child, const char *words);

void child_signal(const struct child *child, int number);

/* Until it has taken the signals that were sent to it. */
void child_await_taken(const struct child *child);

/* Its threads; until there are so many or fewer. */
unsigned child_count_threads(const struct child *child);
void child_await_threads(const struct child *child, unsigned n);

/* Until it has ended, with this exit status. */
void child_exits(struct child *child, int wanted);

/* Options for it, with a function of one input, x, and one output, y, that listens on any port; and a
 * client of it. */
struct gp_server_options child_options(void);
int child_connect(struct child *child);

#endif

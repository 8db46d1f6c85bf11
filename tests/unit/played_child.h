/* A child of an isolated engine that the test plays: it has the other end of the child's socket, and a
 * process that only waits stands for the child's, which the server's side may end. */
#ifndef GP_TESTS_PLAYED_CHILD_H
#define GP_TESTS_PLAYED_CHILD_H

#include "engine/isolate_child.h"

struct played_child {
    struct child *child; /* the server's side */
    int fd;              /* this end of its socket; -1: closed */
    pid_t process;
    struct record_link link;
    struct text out;
    struct gp_arena *arena;
};

/* Begins isolate->children[slot], which is zeroed, and its other end. */
void played_begin(struct played_child *played, struct isolate *isolate, uint32_t slot);

/* Ends both; the process too, unless that has happened. */
void played_end(struct played_child *played);

/* Closes this end. */
void played_leave(struct played_child *played);

/* Sends what was written to played->out. */
void played_say(struct played_child *played);

/* A line for the log. */
void played_say_log(struct played_child *played, enum gp_log_level level,
                    const char *message);

/* Waits for the next record; it lies in the arena. */
struct record played_hear(struct played_child *played);

/* Asks for a buffer: where it lies, or UINT64_MAX. */
uint64_t played_get_place(struct played_child *played, uint64_t size_bytes);
unsigned char *played_at_place(struct played_child *played, uint64_t offset);

/* DONE, with n outputs to be put behind it; what is in the record is zero. */
void played_begin_done(struct played_child *played, uint32_t n);
void played_put_output(struct played_child *played, enum gp_dtype dtype, int64_t n,
                       uint64_t offset);

/* FAILED. */
void played_say_failed(struct played_child *played, enum gp_status status,
                       const char *message);

#endif

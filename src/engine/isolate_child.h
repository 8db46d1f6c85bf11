/* engine/isolate_child.h - one child of an isolated engine, as the server's process sees it; what
 * isolate.c, isolate_run.c, supervisor.c and spawn.c share. */
#ifndef GP_ENGINE_ISOLATE_CHILD_H
#define GP_ENGINE_ISOLATE_CHILD_H

#include "engine/engine.h"
#include "engine/isolate.h"
#include "engine/record.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/types.h>

/* The descriptors that a child finds. */
enum { CHILD_SOCKET = 3, CHILD_INPUTS, CHILD_OUTPUTS, CHILD_CANCEL, CHILD_N_FDS };

/* What a child prints; the supervisor's. */
struct child_output {
    int fd; /* or -1 */
    char line[500];
    size_t n_bytes; /* of it */
    bool is_cut;
    int64_t second_ends_ns;
    unsigned n_lines; /* in this second */
    unsigned long n_left_out;
};

struct child {
    struct isolate *isolate;
    uint32_t slot;
    pid_t pid; /* 0: none, or ended and waited for */
    struct record_link link;
    int cancel_fd; /* an eventfd that the child waits at: counts up to the run's id */
    int wake_fd;   /* one that a run waits at, beside the socket */
    atomic_bool is_told; /* something was written to them since the run began */
    struct text out;     /* the record to send */
    size_t n_unsent;     /* the end of it that there was no room for yet */
    uint64_t run_id;
    struct gp_error ended; /* why it ended: message "" while it lives */

    /* What the run that it is at uses: kept when nobody waits for the run any more. */
    struct pool_buffer body;   /* of the request, once nobody waits, */
    struct gp_arena *copies;   /* and copies of its inputs */
    struct pool_buffer *taken; /* for outputs */
    uint32_t n_taken;
    uint32_t capacity;
    bool is_late; /* it is at a run that nobody waits for */

    /* The supervisor's. */
    int64_t kill_ns;  /* late: when it is ended */
    int64_t ready_ns; /* when it became so */
    int64_t backoff_ns;
    bool has_more; /* received, and not heard yet */
    bool was_lost; /* seen to have ended while it was the server's */
    struct child_output output;

    /* Under the isolate's lock. */
    int64_t start_ns; /* in back-off: when it is started again */
    bool is_supervised;
    bool is_usable_news; /* for isolate_next */
    bool is_lost_news;
    enum isolate_state state;
};

struct isolate {
    struct gp_engine engine;
    struct gp_description description;
    struct gp_arena *arena; /* of the description, and copies of the options */
    struct pool *pool;
    struct pool_pair memory;
    const char *worker;   /* the program */
    const char *script;   /* the engine that it is to interpret; or NULL */
    struct text open;     /* the record, sent to each child that starts */
    size_t first_slot_at; /* where in it the child's slot is */
    int64_t hang_ns;
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
    int inputs_fd;               /* read-only */
    void (*tell)(void *context); /* there are news */
    void *tell_context;
    int supervisor_fd; /* an eventfd: something has changed for it */
    struct child *children;
    uint32_t n_children;
    pthread_t supervisor;
    bool has_supervisor;
    struct pollfd *looks; /* the supervisor's: two for each child, and one */
    bool *was_supervised;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool is_ending;
    bool is_open;            /* all children have opened the model once */
    bool has_failed;         /* one could not */
    bool is_down_news;       /* for isolate_next */
    struct gp_error failure; /* why the last start failed */
    struct isolate_counts counts;
};

GP_PRINTF(3, 4)
void isolate_log(const struct isolate *isolate, enum gp_log_level level,
                 const char *format, ...);

/* --- spawn.c --- */

/* Finds the worker's program, and the engine's script; false and *err. */
bool spawn_find(struct isolate *isolate, const struct isolate_options *options,
                struct gp_error *err);

/* Starts the process and sends it OPEN. */
bool spawn_child(struct child *child, struct gp_error *err);

/* Ends it if need be, waits for it, and says in child->ended how it ended: `end` unless the process
 * did so by itself. Its buffers go back to the pool. */
void spawn_reap(struct child *child, enum isolate_end end);

/* Ends it and what it has started, which is not waited for. */
void spawn_kill(const struct child *child);

/* Ends it, and waits for it, without a word. */
void spawn_discard(struct child *child);

/* --- isolate_run.c --- */

enum gp_status isolate_run(void *isolate, uint32_t slot, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err);

/* Begins to send child->out. Never waits: isolate_send_rest goes on when the socket has room.
 * False when the child has gone. */
bool isolate_send(struct child *child);
bool isolate_send_rest(struct child *child);

/* Gives back what the child's run held. */
void isolate_give_buffers(struct child *child);

/* Passes a LOG on. */
void isolate_pass_log(const struct isolate *isolate, struct record *record);

/* --- child_output.c --- */

/* Makes the pipe for a child to start; *end_fd is the child's end, and the caller's to close. */
bool output_open(struct child *child, int *end_fd);

/* Logs what has come, or some of it when it is much. */
void output_read(struct child *child);

/* Says how many lines were left out, when the time for that has come; gives the time when it will
 * have. */
int64_t output_due_ns(struct child *child);

/* Logs what is left. */
void output_close(struct child *child);

/* --- supervisor.c --- */

void *supervisor_main(void *isolate);
void supervisor_wake(const struct isolate *isolate);

/* The caller's child has ended or is late: it is the supervisor's from now on. */
void supervisor_take(struct child *child);

#endif

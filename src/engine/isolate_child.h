/* engine/isolate_child.h - a child of an isolated engine in the server's process: what isolate.c,
 * isolate_run.c, supervisor.c and spawn.c share. */
#ifndef GP_ENGINE_ISOLATE_CHILD_H
#define GP_ENGINE_ISOLATE_CHILD_H

#include "engine/engine.h"
#include "engine/isolate.h"
#include "engine/record.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/types.h>

/* The descriptors of a child. */
enum { CHILD_SOCKET = 3, CHILD_INPUTS, CHILD_OUTPUTS, CHILD_CANCEL, CHILD_N_FDS };

/* What a child prints; only the supervisor uses it. */
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
    int cancel_fd;       /* an eventfd, read by the child: counts up to the run's id */
    int wake_fd;         /* an eventfd that a run polls beside the socket */
    atomic_bool is_told; /* one of them was written since the run began */
    struct text out;     /* the record to send */
    size_t n_unsent;     /* bytes at its end that there was no room for yet */
    uint64_t run_id;
    struct gp_error ended; /* why it ended; message "" while it lives */

    /* The memory of its run, kept if the run is late. */
    struct pool_buffer body;   /* of the request, if late */
    struct gp_arena *copies;   /* of inputs, if late */
    struct pool_buffer *taken; /* for outputs */
    uint32_t n_taken;
    uint32_t capacity;
    bool is_late; /* its request was answered, and it still runs */

    /* For the supervisor only. */
    int64_t kill_ns;  /* when a late child is killed */
    int64_t ready_ns; /* when the child became ready */
    int64_t backoff_ns;
    bool has_more; /* records that were received and not heard yet */
    bool was_lost; /* seen to have ended while its slot was the server's */
    struct child_output output;

    /* Protected by the isolate's lock. */
    int64_t start_ns; /* in back-off: when it is restarted */
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
    const char *worker;     /* the program */
    const char *script;     /* the engine for it to interpret, or NULL */
    const char *model_path; /* for messages; may be NULL */
    struct text open;       /* the record, sent to each child that starts */
    size_t first_slot_at;   /* offset in it of the child's slot */
    int64_t hang_ns;
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
    int inputs_fd;               /* read-only */
    void (*tell)(void *context); /* there are news */
    void (*reopened)(void *context);
    void *tell_context;
    int supervisor_fd; /* an eventfd that wakes the supervisor */
    struct child *children;
    uint32_t n_children;
    pthread_t supervisor;
    bool has_supervisor;
    struct pollfd *looks; /* the supervisor's: two for each child and one more */
    bool *was_supervised;

    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t changed;
    bool is_ending;
    bool is_open;            /* all children have opened the model once */
    bool has_failed;         /* a child could not */
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

/* Kills the process if it still runs, waits for it, and sets child->ended: to `end` unless the
 * process ended by itself. Its buffers go back to the pool. */
void spawn_reap(struct child *child, enum isolate_end end);

/* Kills it and the processes that it started, and does not wait. */
void spawn_kill(const struct child *child);

/* Kills it and waits for it, without a reason. */
void spawn_discard(struct child *child);

/* --- isolate_run.c --- */

enum gp_status isolate_run(void *isolate, uint32_t slot, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err);

/* Begins to send child->out. Never waits: isolate_send_rest continues when the socket has room.
 * False if the child is gone. */
bool isolate_send(struct child *child);
bool isolate_send_rest(struct child *child);

/* Gives back the buffers of the child's run. */
void isolate_give_buffers(struct child *child);

/* Passes a LOG record on to the log. */
void isolate_pass_log(const struct isolate *isolate, struct record *record);

/* --- child_output.c --- */

/* Makes the pipe for a child to start; the caller closes *end_fd, the child's end. */
bool output_open(struct child *child, int *end_fd);

/* Logs what has arrived, or a part of it if it is much. */
void output_read(struct child *child);

/* Logs how many lines were left out if that is due; returns when it is due next. */
int64_t output_due_ns(struct child *child);

/* Logs what is left. */
void output_close(struct child *child);

/* --- supervisor.c --- */

void *supervisor_main(void *isolate);
void supervisor_wake(const struct isolate *isolate);

/* Hands a child that has ended or is late from the caller to the supervisor. */
void supervisor_take(struct child *child);

#endif

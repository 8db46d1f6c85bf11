/* The child's side of an isolated engine: a loop of one thread that loads the plug-in,
 * opens the model and executes runs. A run here is the same as in the server (run.c), but
 * memory for outputs is requested from the server, and outputs that the engine adopted
 * are copied into such memory at the end. A second thread waits for cancellations. The
 * process ends with its socket, or with the server. */
#include "base/clock.h"
#include "engine/isolate_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An arena as it is mapped here. */
struct range {
    unsigned char *base;
    size_t size_bytes;
};

struct runner {
    struct engine_run run; /* first: take_place finds the rest through it */
    const struct gp_engine *engine;
    void *model;
    struct gp_arena *arena; /* of the run */
    struct range inputs;
    struct range outputs;
    struct record_link link;
    struct text out;
    uint64_t run_id;
    /* the run that should stop, which may not have begun */
    uint64_t cancelled_id;
    uint64_t places[GP_MAX_TENSORS]; /* granted for this run */
    uint32_t n_places;
    pthread_mutex_t cancel_lock;
    pthread_mutex_t send_lock; /* threads of the engine may log */
};

static bool map(int fd, int protection, struct range *range)
{
    struct stat file;
    if (fstat(fd, &file) != 0)
        return false;
    range->size_bytes = (size_t)file.st_size;
    void *base =
        mmap(NULL, range->size_bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return false;
    (void)madvise(base, range->size_bytes, MADV_DONTDUMP);
    range->base = base;
    return true;
}

static bool is_inside(const struct range *range, uint64_t offset, uint64_t size_bytes)
{
    return offset <= range->size_bytes && size_bytes <= range->size_bytes - offset;
}

static bool reply(struct runner *runner)
{
    if (!record_end(&runner->out))
        return false;
    pthread_mutex_lock(&runner->send_lock);
    const bool is_sent = record_send_all(runner->link.fd, &runner->out);
    pthread_mutex_unlock(&runner->send_lock);
    return is_sent;
}

static bool reply_failure(struct runner *runner, const struct gp_error *err)
{
    record_begin(&runner->out, RECORD_FAILED, runner->run_id);
    record_put_u32(&runner->out, (uint32_t)err->status);
    record_put_text(&runner->out, err->message);
    return reply(runner);
}

/* --- outputs --- */

/* Asks for a buffer; NULL if there is none. */
static void *take_place(struct engine_run *run, size_t size_bytes)
{
    struct runner *runner = (struct runner *)(void *)run;
    struct record record;
    if (runner->n_places == GP_MAX_TENSORS)
        return NULL;
    record_begin(&runner->out, RECORD_ALLOC, runner->run_id);
    record_put_u64(&runner->out, size_bytes);
    if (!reply(runner) || record_wait(&runner->link, &record) != RECORD_WHOLE)
        _exit(EXIT_FAILURE); /* the server has gone */
    const uint64_t offset = record_u64(&record);
    if (record.type != RECORD_PLACE || record.is_bad ||
        !is_inside(&runner->outputs, offset, size_bytes))
        return NULL;
    runner->places[runner->n_places++] = offset;
    return runner->outputs.base + offset;
}

/* True if `data` is a place that was granted and is not yet an output. */
static bool use_place(struct runner *runner, const void *data, uint64_t *offset)
{
    *offset = (uint64_t)((uintptr_t)data - (uintptr_t)runner->outputs.base);
    for (uint32_t i = 0; i < runner->n_places; i++)
        if (runner->places[i] == *offset) {
            runner->places[i] = UINT64_MAX;
            return true;
        }
    return false;
}

/* Memory for an output that gets copied at the end; NULL and *err on failure. */
static unsigned char *take_copy(struct runner *runner, size_t size_bytes,
                                uint64_t *offset, struct gp_error *err)
{
    unsigned char *to = take_place(&runner->run, size_bytes);
    if (to)
        (void)use_place(runner, to, offset);
    else
        gp_error_set(err, GP_NO_MEMORY, "no memory for an output: %zu bytes", size_bytes);
    return to;
}

/* The places first, then the strings. */
static bool publish_strings(struct runner *runner, const struct gp_tensor *tensor,
                            uint64_t *offset, struct gp_error *err)
{
    const struct gp_string *strings = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *strings;
    size_t size = n * sizeof(struct record_string);
    for (size_t i = 0; i < n; i++)
        size += strings[i].size_bytes;
    unsigned char *to = take_copy(runner, size, offset, err);
    size_t at = n * sizeof(struct record_string);
    for (size_t i = 0; to && i < n; i++) {
        const struct record_string place = {*offset + at, strings[i].size_bytes};
        memcpy(to + i * sizeof place, &place, sizeof place);
        if (strings[i].size_bytes)
            memcpy(to + at, strings[i].data, strings[i].size_bytes);
        at += strings[i].size_bytes;
    }
    return to;
}

/* Moves an output to where the server can read it, unless it is there; subtracts from
 * *room what goes into the record. */
static bool publish(struct runner *runner, const struct gp_tensor *tensor,
                    uint64_t *offset, size_t *room, struct gp_error *err)
{
    const size_t size = tensor->size_bytes;
    *offset = 0;
    if (!size)
        return true;
    if (tensor->dtype == GP_STRING)
        return publish_strings(runner, tensor, offset, err);
    if (size <= ENGINE_SMALL_BYTES && size <= *room) {
        *offset = RECORD_INLINE;
        *room -= size;
        return true;
    }
    if (use_place(runner, tensor->data, offset))
        return true;
    unsigned char *to = take_copy(runner, size, offset, err);
    if (to)
        memcpy(to, tensor->data, size);
    return to;
}

static bool reply_done(struct runner *runner)
{
    const struct engine_run *run = &runner->run;
    struct gp_error err;
    size_t room = RECORD_MAX_BYTES / 2; /* the rest is for shapes */
    uint64_t *offsets = gp_arena_alloc(runner->arena, run->n_outputs * sizeof *offsets);
    if (!offsets) {
        gp_error_set(&err, GP_NO_MEMORY, "no memory for the outputs' places");
        return reply_failure(runner, &err);
    }
    /* the engine sends records of its own */
    for (uint32_t i = 0; i < run->n_outputs; i++)
        if (!publish(runner, &run->outputs[i].tensor, &offsets[i], &room, &err))
            return reply_failure(runner, &err);
    record_begin(&runner->out, RECORD_DONE, runner->run_id);
    record_put_u32(&runner->out, run->n_outputs);
    for (uint32_t i = 0; i < run->n_outputs; i++)
        record_put_tensor(&runner->out, &run->outputs[i].tensor, offsets[i]);
    if (record_end(&runner->out))
        return reply(runner);
    gp_error_set(&err, GP_TOO_LARGE,
                 "the outputs' shapes are over what an isolated "
                 "engine can give");
    return reply_failure(runner, &err);
}

/* --- inputs --- */

static bool read_strings(struct runner *runner, struct gp_tensor *tensor,
                         const unsigned char *from)
{
    const size_t n = tensor->size_bytes / sizeof(struct gp_string);
    struct gp_string *strings = gp_arena_alloc(runner->arena, tensor->size_bytes);
    for (size_t i = 0; strings && i < n; i++) {
        struct record_string place;
        memcpy(&place, from + i * sizeof place, sizeof place);
        if (!is_inside(&runner->inputs, place.offset, place.size_bytes))
            return false;
        strings[i].data = (const char *)runner->inputs.base + place.offset;
        strings[i].size_bytes = place.size_bytes;
    }
    tensor->data = strings;
    return strings;
}

static bool read_input(struct runner *runner, struct record *record,
                       struct gp_tensor *tensor)
{
    uint64_t offset;
    if (!record_tensor(record, runner->arena, tensor, &offset) ||
        !is_inside(&runner->inputs, offset, tensor->size_bytes))
        return false;
    tensor->data = runner->inputs.base + offset;
    return tensor->dtype != GP_STRING || read_strings(runner, tensor, tensor->data);
}

/* Reads RUN into runner->run.call. */
static bool read_run(struct runner *runner, struct record *record)
{
    struct gp_call *call = &runner->run.call;
    if (!record_keep(record, runner->arena))
        return false;
    call->deadline_ns = (int64_t)record_u64(record);
    call->n_free_cores = record_u32(record);
    call->config = record_text(record);
    call->n_outputs = record_u32(record);
    call->output_names = record_texts(record, runner->arena, call->n_outputs);
    call->n_inputs = record_u32(record);
    if (!call->output_names || record->is_bad || call->n_inputs > GP_MAX_TENSORS)
        return false;
    struct gp_tensor *inputs =
        gp_arena_alloc(runner->arena, call->n_inputs * sizeof *inputs);
    for (uint32_t i = 0; inputs && i < call->n_inputs; i++)
        if (!read_input(runner, record, &inputs[i]))
            return false;
    call->inputs = inputs;
    return inputs;
}

/* --- the loop --- */

static void *cancel_main(void *arg)
{
    struct runner *runner = arg;
    struct pollfd told = {.fd = CHILD_CANCEL, .events = POLLIN};
    for (;;) {
        eventfd_t count;
        (void)poll(&told, 1, -1);
        /* The server clears the event before each run and counts up to the run's id: the
         * number may be for a run that is over, or for one whose record has not been read
         * yet. */
        pthread_mutex_lock(&runner->cancel_lock);
        if (eventfd_read(CHILD_CANCEL, &count) == 0) {
            runner->cancelled_id = count;
            if (count == runner->run_id)
                engine_run_cancel(&runner->run);
        }
        pthread_mutex_unlock(&runner->cancel_lock);
    }
    return NULL;
}

static bool do_run(struct runner *runner, struct record *record)
{
    struct gp_error err;
    eventfd_t count;
    runner->n_places = 0;
    pthread_mutex_lock(&runner->cancel_lock);
    runner->run_id = record->id;
    engine_run_begin(&runner->run);
    if (eventfd_read(CHILD_CANCEL, &count) == 0) /* the other thread may be late */
        runner->cancelled_id = count;
    if (runner->cancelled_id == record->id)
        engine_run_cancel(&runner->run);
    pthread_mutex_unlock(&runner->cancel_lock);
    if (!read_run(runner, record))
        gp_error_set(&err, GP_INTERNAL, "the child does not understand its server");
    else if (engine_run_execute(&runner->run, runner->engine, runner->model, 0, &err) ==
             GP_OK)
        err.status = GP_OK;
    const bool is_sent =
        err.status == GP_OK ? reply_done(runner) : reply_failure(runner, &err);
    engine_run_drop(&runner->run);
    gp_arena_reset(runner->arena);
    return is_sent;
}

/* Called from any thread of the engine. Lines are dropped when the server has no room for
 * them. */
static void send_log(void *context, enum gp_log_level level, const char *message)
{
    struct runner *runner = context;
    struct text line = {0};
    char shown[512];
    (void)gp_text_show(shown, sizeof shown, message, strlen(message));
    record_begin(&line, RECORD_LOG, 0);
    record_put_u32(&line, (uint32_t)level);
    record_put_text(&line, shown);
    pthread_mutex_lock(&runner->send_lock);
    if (record_end(&line)) /* so short that it is sent whole or not at all */
        (void)send(runner->link.fd, line.data, line.size_bytes,
                   MSG_NOSIGNAL | MSG_DONTWAIT);
    pthread_mutex_unlock(&runner->send_lock);
    text_finish(&line);
}

static enum gp_status open_model(struct runner *runner, struct record *record,
                                 struct gp_description *d, struct gp_error *err)
{
    if (record->type != RECORD_OPEN || record_u32(record) != RECORD_CONTRACT)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "the worker is of another release than the server");
    const char *name = record_text(record), *folder = record_text(record);
    const char *path = record_text(record);
    struct gp_engine_options options = {.size_bytes = sizeof options,
                                        .model_path = *path ? path : NULL,
                                        .log = send_log,
                                        .log_context = runner};
    options.n_slots = record_u32(record);
    options.first_slot = record_u32(record);
    options.n_threads = record_u32(record);
    options.n_cores = record_u32(record);
    options.n_options = record_u32(record);
    options.options = record_texts(record, runner->arena, (uint32_t)options.n_options);
    if (!options.options)
        return gp_error_set(err, GP_INTERNAL, "the child does not understand its server");
    enum gp_status status =
        engine_load(name, *folder ? folder : NULL, &runner->engine, err);
    if (status == GP_OK)
        status = runner->engine->open(&options, &runner->model, err);
    if (status == GP_OK)
        status = runner->engine->describe(runner->model, d, err);
    if (status == GP_OK && d->n_slots == 0)
        status = gp_error_set(err, GP_ENGINE, "engine %s describes a model without slots",
                              runner->engine->name);
    if (status != GP_OK)
        return status;
    runner->run.writes_outputs = d->flags & GP_WRITES_OUTPUTS;
    const char *version = runner->engine->version, *library;
    if (runner->engine->probe)
        (void)runner->engine->probe(&options, &version, &library, NULL);
    record_begin(&runner->out, RECORD_OPENED, 0);
    record_put_text(&runner->out, runner->engine->name);
    record_put_text(&runner->out, version);
    return GP_OK;
}

static bool open_and_describe(struct runner *runner)
{
    struct record record;
    struct gp_description d = {.size_bytes = sizeof d};
    struct gp_error err = {.message = ""};
    if (record_wait(&runner->link, &record) != RECORD_WHOLE)
        return false;
    if (open_model(runner, &record, &d, &err) != GP_OK) {
        (void)reply_failure(runner, &err);
        return false;
    }
    gp_arena_reset(runner->arena);
    record_put_description(&runner->out, &d);
    return reply(runner);
}

static bool init_runner(struct runner *runner)
{
    pthread_t thread;
    pthread_mutex_init(&runner->cancel_lock, NULL);
    pthread_mutex_init(&runner->send_lock, NULL);
    runner->link.fd = CHILD_SOCKET;
    runner->arena = gp_arena_create();
    if (!runner->arena)
        return false;
    engine_run_init(&runner->run, NULL, runner->arena);
    runner->run.take = take_place;
    return map(CHILD_INPUTS, PROT_READ, &runner->inputs) &&
           map(CHILD_OUTPUTS, PROT_READ | PROT_WRITE, &runner->outputs) &&
           pthread_create(&thread, NULL, cancel_main, runner) == 0 &&
           pthread_detach(thread) == 0;
}

int isolate_child(const char *parent)
{
    static struct runner runner;
    struct record record;
    /* Ends with the server, which may have ended before this call. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a pipe; the server wants lines */
    if (getppid() != (pid_t)strtol(parent, NULL, 10))
        return EXIT_FAILURE;
    /* Programs that a library starts must not inherit these; there are no others. */
    for (int fd = CHILD_SOCKET; fd < CHILD_N_FDS; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SYS_close_range
    (void)syscall(SYS_close_range, CHILD_N_FDS, ~0u, 0);
#endif
    if (!init_runner(&runner) || !open_and_describe(&runner))
        return EXIT_FAILURE;
    while (record_wait(&runner.link, &record) == RECORD_WHOLE)
        if (record.type != RECORD_RUN || !do_run(&runner, &record))
            return EXIT_FAILURE;
    runner.engine->close(runner.model);
    return EXIT_SUCCESS;
}

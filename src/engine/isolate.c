/* Opens and closes isolates, and answers the server between runs. */
#include "engine/isolate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/place.h"
#include "engine/isolate_child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

void isolate_log(const struct isolate *isolate, enum gp_log_level level,
                 const char *format, ...)
{
    char message[600];
    va_list args;
    if (!isolate->log)
        return;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    isolate->log(isolate->log_context, level, message);
}

static enum gp_status describe_isolate(void *model, struct gp_description *description,
                                       struct gp_error *err)
{
    const struct isolate *isolate = model;
    (void)err;
    *description = isolate->description;
    description->size_bytes = sizeof *description;
    return GP_OK;
}

static void child_finish(struct child *child)
{
    if (child->link.fd >= 0)
        close(child->link.fd);
    record_link_finish(&child->link);
    output_close(child);
    text_finish(&child->out);
    close(child->cancel_fd);
    close(child->wake_fd);
    mem_free(child->taken);
}

static void isolate_close(void *model)
{
    struct isolate *isolate = model;
    if (isolate->has_supervisor) {
        pthread_mutex_lock(&isolate->lock);
        isolate->is_ending = true;
        pthread_mutex_unlock(&isolate->lock);
        supervisor_wake(isolate);
        pthread_join(isolate->supervisor, NULL);
    }
    for (uint32_t i = 0; i < isolate->n_children; i++)
        child_finish(&isolate->children[i]);
    mem_free(isolate->children);
    mem_free(isolate->looks);
    mem_free(isolate->was_supervised);
    text_finish(&isolate->open);
    gp_arena_destroy(isolate->arena);
    close(isolate->inputs_fd);
    pool_close(isolate->pool, &isolate->memory);
    close(isolate->supervisor_fd);
    pthread_mutex_destroy(&isolate->lock);
    pthread_cond_destroy(&isolate->changed);
    mem_free(isolate);
}

/* Opens the arena of inputs for children. A seal against writing would do, but then no hole
 * could be punched, which is how the pool returns memory. The mode is for whoever opens the
 * file again through /proc. */
static int open_read_only(int fd)
{
    char path[32];
    errno = EFBIG;
    if (fd < 0)
        return -1;
    (void)fchmod(fd, S_IRUSR);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Threads for each interpreter: libraries that it imports know of their own process only, and
 * would use all cores in each. */
static uint32_t share_of_cores(const struct gp_engine_options *engine)
{
    const uint32_t share = engine->n_cores / engine->n_slots;
    return engine->n_threads ? engine->n_threads : share ? share : 1;
}

static bool write_open(struct isolate *isolate, const struct isolate_options *options)
{
    const struct gp_engine_options *engine = options->engine;
    struct text *out = &isolate->open;
    record_begin(out, RECORD_OPEN, 0);
    record_put_u32(out, RECORD_CONTRACT);
    record_put_text(out, options->name);
    record_put_text(out, options->engine_dir);
    record_put_text(out, engine->model_path);
    record_put_u32(out, 1); /* slot */
    isolate->first_slot_at = out->size_bytes;
    record_put_u32(out, 0); /* its number, set by spawn.c */
    record_put_u32(out, isolate->script ? share_of_cores(engine) : engine->n_threads);
    record_put_u32(out, engine->n_cores);
    record_put_u32(out, (uint32_t)engine->n_options);
    for (size_t i = 0; i < engine->n_options; i++)
        record_put_text(out, engine->options[i]);
    return record_end(out);
}

static bool make_children(struct isolate *isolate, uint32_t n)
{
    isolate->looks = mem_array(2 * (size_t)n + 1, sizeof *isolate->looks);
    isolate->was_supervised = mem_array(n, sizeof *isolate->was_supervised);
    isolate->children = mem_array(n, sizeof *isolate->children);
    if (!isolate->looks || !isolate->was_supervised || !isolate->children)
        return false;
    bool is_whole = true;
    for (uint32_t i = 0; i < n; i++) {
        struct child *child = &isolate->children[isolate->n_children++];
        child->isolate = isolate;
        child->slot = i;
        child->link.fd = -1;
        child->output.fd = -1;
        child->is_supervised = true; /* and started now */
        child->state = ISOLATE_BACKOFF;
        child->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        child->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        is_whole = is_whole && child->cancel_fd >= 0 && child->wake_fd >= 0;
    }
    return is_whole;
}

/* The pair of arenas, and the inputs' descriptor for children. */
static enum gp_status open_memory(struct isolate *isolate, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    if (!pool_open(isolate->pool, &isolate->memory)) {
        const bool is_pool = errno == ENOMEM;
        return gp_error_set(
            err, GP_NO_MEMORY, "cannot map the memory of an isolated model: %s%s",
            place_explain(errno, words), is_pool ? "; a smaller --pool needs less" : "");
    }
    isolate->inputs_fd =
        open_read_only(pool_range(isolate->pool, isolate->memory.inputs)->fd);
    if (isolate->inputs_fd < 0)
        return gp_error_set(err, GP_UNAVAILABLE,
                            "cannot open the pool again, for another process: %s",
                            place_explain(errno, words));
    return GP_OK;
}

static enum gp_status open_children(struct isolate *isolate,
                                    const struct isolate_options *options,
                                    struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    isolate->supervisor_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (write_open(isolate, options) &&
        make_children(isolate, options->engine->n_slots) && isolate->supervisor_fd >= 0)
        return GP_OK;
    return gp_error_set(err, GP_NO_MEMORY,
                        "no memory or descriptors for %u children: %s; fewer "
                        "--instances need fewer",
                        options->engine->n_slots, place_explain(errno, words));
}

/* Without memory, messages do without it. */
static void keep_model_path(struct isolate *isolate, const char *path)
{
    const size_t size = path ? strlen(path) + 1 : 0;
    char *copy = size ? gp_arena_alloc(isolate->arena, size) : NULL;
    if (copy)
        isolate->model_path = memcpy(copy, path, size);
}

static struct isolate *create_isolate(const struct isolate_options *options,
                                      struct gp_error *err)
{
    struct isolate *isolate = mem_zalloc(sizeof *isolate);
    struct gp_arena *arena = isolate ? gp_arena_create() : NULL;
    if (!arena) {
        gp_error_set(err, GP_NO_MEMORY, "no memory for an isolated engine");
        mem_free(isolate);
        return NULL;
    }
    isolate->engine = (struct gp_engine){.size_bytes = sizeof isolate->engine,
                                         .abi = GP_ENGINE_ABI,
                                         .describe = describe_isolate,
                                         .run = isolate_run,
                                         .close = isolate_close,
                                         .flags = GP_OPENS_TOGETHER};
    isolate->arena = arena;
    keep_model_path(isolate, options->engine->model_path);
    isolate->pool = options->pool;
    isolate->hang_ns = options->hang_ns;
    isolate->log = options->engine->log;
    isolate->log_context = options->engine->log_context;
    isolate->tell = options->tell;
    isolate->reopened = options->reopened;
    isolate->tell_context = options->tell_context;
    isolate->inputs_fd = isolate->supervisor_fd = -1;
    pthread_mutex_init(&isolate->lock, NULL);
    pthread_cond_init(&isolate->changed, NULL);
    if (open_memory(isolate, err) == GP_OK && spawn_find(isolate, options, err) &&
        open_children(isolate, options, err) == GP_OK)
        return isolate;
    isolate_close(isolate);
    return NULL;
}

enum gp_status isolate_open(const struct isolate_options *options, struct isolate **made,
                            struct gp_error *err)
{
    struct isolate *isolate = create_isolate(options, err);
    if (!isolate)
        return err->status;
    const int rc = pthread_create(&isolate->supervisor, NULL, supervisor_main, isolate);
    if (rc != 0) {
        char words[PLACE_WORDS_BYTES];
        isolate_close(isolate);
        return gp_error_set(err, GP_UNAVAILABLE,
                            "cannot make a thread for the children: %s",
                            place_explain(rc, words));
    }
    isolate->has_supervisor = true;
    pthread_mutex_lock(&isolate->lock);
    while (!isolate->is_open && !isolate->has_failed)
        pthread_cond_wait(&isolate->changed, &isolate->lock);
    const bool is_open = isolate->is_open;
    if (!is_open)
        *err = isolate->failure;
    pthread_mutex_unlock(&isolate->lock);
    if (!is_open) {
        isolate_close(isolate);
        return err->status;
    }
    *made = isolate;
    return GP_OK;
}

const struct gp_engine *isolate_engine(const struct isolate *isolate)
{
    return &isolate->engine;
}

struct pool_pair isolate_memory(const struct isolate *isolate)
{
    return isolate->memory;
}

bool isolate_let_go(struct isolate *isolate, uint32_t slot)
{
    struct child *child = &isolate->children[slot];
    if (!child->is_late && child->pid)
        return true;
    supervisor_take(child);
    return false;
}

void isolate_look(struct isolate *isolate, uint32_t slot)
{
    struct child *child = &isolate->children[slot];
    struct pollfd look = {.fd = child->link.fd};
    if (child->pid && poll(&look, 1, 0) == 1)
        spawn_reap(child, ISOLATE_EXIT);
}

/* With the lock held. */
static enum isolate_news take_news(struct child *child)
{
    if (child->is_usable_news) {
        child->is_usable_news = false;
        return ISOLATE_USABLE;
    }
    const bool is_lost = child->is_lost_news;
    child->is_lost_news = false;
    return is_lost ? ISOLATE_LOST : ISOLATE_NONE;
}

enum isolate_news isolate_next(struct isolate *isolate, uint32_t *slot)
{
    enum isolate_news news = ISOLATE_NONE;
    pthread_mutex_lock(&isolate->lock);
    for (uint32_t i = 0; i < isolate->n_children && news == ISOLATE_NONE; i++) {
        news = take_news(&isolate->children[i]);
        *slot = i;
    }
    if (news == ISOLATE_NONE && isolate->is_down_news) {
        isolate->is_down_news = false;
        news = ISOLATE_DOWN;
    }
    pthread_mutex_unlock(&isolate->lock);
    return news;
}

bool isolate_is_alive(struct isolate *isolate, struct gp_error *err)
{
    const int64_t now = clock_now_ns();
    bool is_alive = false;
    pthread_mutex_lock(&isolate->lock);
    for (uint32_t i = 0; i < isolate->n_children; i++) {
        const struct child *child = &isolate->children[i];
        is_alive = is_alive || child->state != ISOLATE_BACKOFF || child->start_ns <= now;
    }
    if (!is_alive)
        gp_error_set(err, GP_UNAVAILABLE,
                     "all processes of the engine have ended and wait to start again; "
                     "try again later%s%.*s",
                     isolate->failure.message[0] ? ": " : "",
                     gp_cut(isolate->failure.message, 300), isolate->failure.message);
    pthread_mutex_unlock(&isolate->lock);
    return is_alive;
}

struct isolate_counts isolate_count(struct isolate *isolate)
{
    pthread_mutex_lock(&isolate->lock);
    struct isolate_counts counts = isolate->counts;
    for (uint32_t i = 0; i < isolate->n_children; i++)
        counts.children[isolate->children[i].state]++;
    pthread_mutex_unlock(&isolate->lock);
    return counts;
}

/* An engine that takes its time and then returns its inputs. A request's config says how:
 *
 *   sleep-ms=200    waits, as an engine on a device does
 *   compute-ms=5    keeps a core busy
 *   until=/tmp/x    waits until that file is there
 *   deaf            does not ask to be told when the run should stop
 *   note=/tmp/y     appends a byte to that file when it has not been stopped
 *   free-cores      does nothing, returns uint32 {the free cores that the host told of}
 *   report          does nothing, returns uint64 {begun, ended, stopped, most at a time}
 *
 * separated by blanks, until= last. One slot unless the options say more; all may run at a time.
 * With the engine option "pinned" each slot wants a thread of its own, and a run on another one
 * fails, as does a run of a model without it on such a thread; with "stuck" closing never ends, with
 * "stuck-exit" the process does not exit by itself; with "meets=N" opening takes until N models of
 * the process are being opened, and fails without them. */
#include <graphpipe/engine.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static int is_stuck_exit;

/* The pinned slot whose own thread this is. */
static _Thread_local const struct slot *own_slot;

struct slot {
    int has_thread;
};

struct model {
    struct slot *slots;
    uint32_t n_slots;
    uint32_t flags;
    int is_stuck;
    atomic_ullong n_begun, n_ended, n_stopped, n_running, n_most;
};

/* One run's way to be woken. */
struct alarm {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_bool is_stopped;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * MS + now.tv_nsec;
}

/* The number after `key` in the config, 0 when it is not there. */
static int64_t setting(const char *config, const char *key)
{
    const char *at = strstr(config, key);
    return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

static void stop(void *arg)
{
    struct alarm *alarm = arg;
    pthread_mutex_lock(&alarm->lock);
    alarm->is_stopped = 1;
    pthread_cond_signal(&alarm->changed);
    pthread_mutex_unlock(&alarm->lock);
}

static void wait_for(struct alarm *alarm, const char *config)
{
    const int64_t sleep_end_ns = now_ns() + setting(config, "sleep-ms=") * MS;
    const struct timespec end = {.tv_sec = sleep_end_ns / (1000 * MS),
                                 .tv_nsec = sleep_end_ns % (1000 * MS)};
    pthread_mutex_lock(&alarm->lock);
    while (!alarm->is_stopped && now_ns() < sleep_end_ns)
        pthread_cond_timedwait(&alarm->changed, &alarm->lock, &end);
    pthread_mutex_unlock(&alarm->lock);
    const char *path = strstr(config, "until=");
    while (path && !alarm->is_stopped && access(path + strlen("until="), F_OK) != 0)
        usleep(1000);
    const int64_t compute_end_ns = now_ns() + setting(config, "compute-ms=") * MS;
    while (!alarm->is_stopped && now_ns() < compute_end_ns)
        continue;
}

/* For who counts the runs after the server has ended. */
static int note_end(const char *config)
{
    char path[4096];
    const char *at = strstr(config, "note=");
    if (!at)
        return 1;
    at += strlen("note=");
    (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(at, " "), at);
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    const int is_noted = fd >= 0 && write(fd, "+", 1) == 1;
    if (fd >= 0)
        close(fd);
    return is_noted;
}

static enum gp_status report(struct model *slow, struct gp_outputs *outputs,
                             struct gp_error *err)
{
    const int64_t shape[] = {4};
    uint64_t *counts = gp_outputs_alloc(outputs, 0, GP_UINT64, shape, 1, err);
    if (!counts)
        return err->status;
    counts[0] = slow->n_begun;
    counts[1] = slow->n_ended;
    counts[2] = slow->n_stopped;
    counts[3] = slow->n_most;
    return GP_OK;
}

static enum gp_status tell_cores(const struct gp_call *call, struct gp_outputs *outputs,
                                 struct gp_error *err)
{
    const int64_t shape[] = {1};
    uint32_t *n = gp_outputs_alloc(outputs, 0, GP_UINT32, shape, 1, err);
    if (!n)
        return err->status;
    *n = GP_HAS(call, n_free_cores) ? call->n_free_cores : 0;
    return GP_OK;
}

/* Waits as told; GP_OK when it was not stopped. */
static enum gp_status take_time(struct model *slow, const struct gp_call *call,
                                struct gp_error *err)
{
    struct alarm alarm = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&alarm.changed, &clock);
    pthread_condattr_destroy(&clock);
    if (!strstr(call->config, "deaf") && gp_call_on_cancel(call, stop, &alarm) != GP_OK)
        alarm.is_stopped = 1;
    wait_for(&alarm, call->config);
    const int is_stopped = alarm.is_stopped;
    gp_call_on_cancel(call, NULL, NULL); /* the alarm ends here: nobody may ring it now */
    pthread_cond_destroy(&alarm.changed);
    if (!is_stopped)
        return GP_OK;
    slow->n_stopped++;
    if (call->deadline_ns && now_ns() >= call->deadline_ns)
        return gp_error_set(err, GP_DEADLINE, "stopped at the deadline");
    return gp_error_set(err, GP_CANCELLED, "stopped");
}

/* True when this run is where it belongs. */
static int check_thread(struct model *slow, uint32_t slot)
{
    struct slot *own = slow->flags & GP_SLOT_THREAD ? &slow->slots[slot] : NULL;
    if (own && !own->has_thread && !own_slot) {
        own->has_thread = 1;
        own_slot = own;
    }
    return own_slot == own;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    struct model *slow = model;
    const uint32_t n = call->n_outputs ? call->n_outputs : call->n_inputs;
    if (!check_thread(slow, slot))
        return gp_error_set(err, GP_ENGINE,
                            "slot %u runs on a thread that is not its own", slot);
    if (strstr(call->config, "report"))
        return report(slow, outputs, err);
    if (strstr(call->config, "free-cores"))
        return tell_cores(call, outputs, err);
    slow->n_begun++;
    const unsigned long long n_running = ++slow->n_running;
    for (unsigned long long most = slow->n_most;
         most < n_running &&
         !atomic_compare_exchange_weak(&slow->n_most, &most, n_running);)
        continue;
    enum gp_status status = take_time(slow, call, err);
    slow->n_running--;
    slow->n_ended++;
    if (status == GP_OK && !note_end(call->config))
        status = gp_error_set(err, GP_ENGINE, "the run cannot be noted");
    if (status == GP_OK && n > call->n_inputs)
        status = gp_error_set(err, GP_INVALID, "%u outputs of %u", n, call->n_inputs);
    for (uint32_t i = 0; i < n && status == GP_OK; i++)
        status = gp_outputs_adopt(outputs, i, &call->inputs[i], NULL, NULL, err);
    return status;
}

/* Waits for others who are being opened, a minute at most. */
static int meet_others(unsigned long n_wanted)
{
    static atomic_ulong n_met;
    const int64_t end_ns = now_ns() + 60000 * MS;
    n_met++;
    while (n_met < n_wanted && now_ns() < end_ns)
        usleep(1000);
    return n_met >= n_wanted;
}

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    struct model *slow = calloc(1, sizeof *slow);
    if (!slow)
        return gp_error_set(err, GP_NO_MEMORY, "no memory");
    slow->n_slots = options->n_slots ? options->n_slots : 1;
    slow->slots = calloc(slow->n_slots, sizeof *slow->slots);
    slow->flags = GP_ANY_INPUTS;
    if (!slow->slots) {
        free(slow);
        return gp_error_set(err, GP_NO_MEMORY, "no memory");
    }
    for (size_t i = 0; i < options->n_options; i++) {
        if (strncmp(options->options[i], "pinned", strlen("pinned")) ==
            0) /* or pinned=1 */
            slow->flags |= GP_SLOT_THREAD;
        if (strncmp(options->options[i], "meets=", strlen("meets=")) == 0 &&
            !meet_others(strtoul(options->options[i] + strlen("meets="), NULL, 10))) {
            free(slow->slots);
            free(slow);
            return gp_error_set(err, GP_ENGINE, "nobody else is being opened");
        }
        if (strcmp(options->options[i], "stuck") == 0)
            slow->is_stuck = 1;
        if (strcmp(options->options[i], "stuck-exit") == 0)
            is_stuck_exit = 1;
    }
    *model = slow;
    return GP_OK;
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const int64_t any[] = {-1};
    static const struct gp_io input = {
        .name = "input0", .description = "", .shape = any, .rank = 1, .dtype = GP_NULL};
    static const struct gp_io output = {
        .name = "output0", .description = "", .shape = any, .rank = 1, .dtype = GP_NULL};
    const struct model *slow = model;
    (void)err;
    description->flags = slow->flags;
    description->n_slots = slow->n_slots;
    description->summary = "slow";
    description->version = "";
    description->description = "";
    description->inputs = &input;
    description->n_inputs = 1;
    description->outputs = &output;
    description->n_outputs = 1;
    return GP_OK;
}

/* As a framework's library may. */
__attribute__((destructor)) static void leave_process(void)
{
    while (is_stuck_exit)
        pause();
}

static void close_model(void *model)
{
    struct model *slow = model;
    while (slow->is_stuck)
        pause();
    free(slow->slots);
    free(slow);
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "slow",
    .version = "",
    .open = open_model,
    .describe = describe_model,
    .run = run,
    .close = close_model,
    .flags = GP_OPENS_TOGETHER,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}

/* The load from beginning to end. The server is looked up once, with the client's own
 * connecting; the load then connects to the address that was found. */
#include "cli/bench_loop.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CONNECT_TIMEOUT_MS = 5000 };

static enum gp_status prepare_loop(struct bench_loop *load, struct gp_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    load->links = mem_array(load->settings->n_connections, sizeof *load->links);
    load->net.scratch = mem_alloc(BENCH_SCRATCH_BYTES);
    load->arena = gp_arena_create();
    load->net.epoll = epoll_create1(EPOLL_CLOEXEC);
    load->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    load->net.wants_failure = true;
    if (!load->links || !load->net.scratch || !load->arena)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    if (load->net.epoll < 0 || load->timer < 0 ||
        epoll_ctl(load->net.epoll, EPOLL_CTL_ADD, load->timer, &event) != 0)
        return gp_error_set(err, GP_IO, "epoll: %s", strerror(errno));
    return GP_OK;
}

/* Connects once, which shows whether and where the server is. */
static enum gp_status find_server(struct bench_loop *load, struct gp_error *err)
{
    load->origin.fd = -1;
    load->origin.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    enum gp_status status =
        client_address_init(&load->origin.address, load->settings->address, err);
    if (status == GP_OK)
        status = link_open(&load->origin, INT64_MAX, err);
    if (status != GP_OK)
        return status;
    load->net.server_size = sizeof load->net.server;
    bench_cpu_find(&load->measure.cpu, load->origin.fd, load->settings->server_pid);
    if (getpeername(load->origin.fd, (struct sockaddr *)&load->net.server,
                    &load->net.server_size) != 0)
        status = gp_error_set(err, GP_IO, "%s: %s", load->origin.address.label,
                              strerror(errno));
    link_close(&load->origin);
    return status;
}

static enum gp_status set_up(struct bench_loop *load, struct gp_error *err)
{
    load->net.epoll = load->timer = -1;
    const enum gp_status status = find_server(load, err);
    return status == GP_OK ? prepare_loop(load, err) : status;
}

static void clean_up(struct bench_loop *load)
{
    for (uint32_t i = 0; i < load->n_links; i++) {
        bench_link_close(&load->links[i]);
        mem_free(load->links[i].head);
    }
    if (load->net.epoll >= 0)
        close(load->net.epoll);
    if (load->timer >= 0)
        close(load->timer);
    gp_arena_destroy(load->arena);
    client_address_finish(&load->origin.address);
    mem_free(load->net.sample.data);
    mem_free(load->net.scratch);
    mem_free(load->links);
}

enum gp_status bench_load(const struct bench_settings *settings,
                          const struct bench_messages *messages,
                          struct bench_result *result, struct gp_error *err)
{
    struct bench_loop *load = mem_zalloc(sizeof *load);
    if (!load)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    load->settings = load->measure.settings = settings;
    load->result = load->measure.result = result;
    load->messages = messages;
    enum gp_status status = set_up(load, err);
    if (status == GP_OK)
        bench_loop_run(load);
    if (status == GP_OK && load->is_refused)
        status = gp_error_set(err, result->first_error.status, "%s",
                              result->first_error.message);
    clean_up(load);
    mem_free(load);
    return status;
}

void bench_result_finish(struct bench_result *result)
{
    mem_free(result->slices);
    *result = (struct bench_result){0};
}

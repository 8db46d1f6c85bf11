#include "site.h"

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROOM_BYTES = 4 << 20 };

atomic_bool site_hold;
static atomic_int n_adopted;

static void release(void *block)
{
    atomic_fetch_sub(&n_adopted, 1);
    free(block);
}

static enum gp_status adopt(struct gp_outputs *outputs, uint32_t index,
                            struct gp_error *err)
{
    static const int64_t shape[] = {2};
    float *block = calloc(2, sizeof *block);
    assert_non_null(block);
    const struct gp_tensor tensor = gp_tensor_view(GP_FLOAT32, shape, 1, block);
    atomic_fetch_add(&n_adopted, 1);
    const enum gp_status status =
        gp_outputs_adopt(outputs, index, &tensor, release, block, err);
    if (status != GP_OK)
        release(block);
    return status;
}

/* Strings in memory of the run's; the rest where the host has room. */
static enum gp_status copy(const struct gp_tensor *input, uint32_t index,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    void *to =
        gp_outputs_alloc(outputs, index, input->dtype, input->shape, input->rank, err);
    if (!to)
        return err->status;
    memcpy(to, input->data, input->size_bytes);
    struct gp_string *strings = to;
    const size_t n = input->dtype == GP_STRING ? input->size_bytes / sizeof *strings : 0;
    for (size_t i = 0; i < n; i++) {
        char *bytes = gp_outputs_memory(outputs, strings[i].size_bytes, err);
        if (!bytes)
            return err->status;
        strings[i].data = memcpy(bytes, strings[i].data, strings[i].size_bytes);
    }
    return GP_OK;
}

static enum gp_status work(void *self, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self;
    enum gp_status status = GP_OK;
    while (atomic_load(&site_hold))
        poll(NULL, 0, 1);
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++)
        status = copy(&call->inputs[i], i, outputs, err);
    return status == GP_OK ? adopt(outputs, call->n_inputs, err) : status;
}

static void *run(void *arg)
{
    struct site *site = arg;
    site->status = gp_server_run(site->server, &site->err);
    return NULL;
}

bool site_await(struct site *site, bool (*is_so)(struct gp_server *server))
{
    for (int i = 0; i < PATIENCE_MS; i++) {
        if (is_so(site->server))
            return true;
        poll(NULL, 0, 1);
    }
    return false;
}

/* Not that it has one now: a short limit may have ended it before anybody looks. */
static bool has_accepted(struct gp_server *server)
{
    return atomic_load(&server->metrics.n_accepted) > 0;
}

static bool has_none(struct gp_server *server)
{
    return connections_count(&server->connections) == 0;
}

/* Until it accepts, which leaves it nothing in reserve. */
static void await_start(struct site *site)
{
    struct peer peer;
    peer_open(&peer, site);
    assert_true(site_await(site, has_accepted));
    peer_close(&peer);
    assert_true(site_await(site, has_none));
}

void site_open(struct site *site, const struct gp_server_options *options)
{
    static unsigned n;
    *site =
        (struct site){.n_live = fault_n_live(), .n_descriptors = fault_n_descriptors()};
    snprintf(site->path, sizeof site->path, "/tmp/gp-fault-%ld-%u", (long)getpid(), n++);
    snprintf(site->listen, sizeof site->listen, "unix:%s", site->path);
    const char *const listen[] = {site->listen};
    struct gp_server_options o = *options;
    site->log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    o.log_fd = site->log_fd;
    o.log_level = GP_LOG_DEBUG;
    o.listen = listen;
    o.n_listen = 1;
    o.n_pollers = 2;
    site->server = o.engine ? gp_server_create(&o, &site->err)
                            : gp_server_create_function(work, NULL, &o, &site->err);
    if (!site->server)
        fail_msg("%s", site->err.message);
    assert_int_equal(pthread_create(&site->thread, NULL, run, site), 0);
    await_start(site);
}

static bool is_settled(struct gp_server *server)
{
    pthread_mutex_lock(&server->exchanges.lock);
    const bool has_spare = server->exchanges.n_spare > 0;
    pthread_mutex_unlock(&server->exchanges.lock);
    return has_spare || connections_count(&server->connections) == 0;
}

void site_settle(struct site *site)
{
    if (!site_await(site, is_settled))
        fail_msg("the server does not come to an end with a request");
}

static void check_empty(struct gp_server *server)
{
    const struct slots *slots = &server->models.open->slots;
    uint32_t n_free = 0;
    for (uint32_t i = slots->first_free; i < slots->n; i = slots->all[i].next_free)
        n_free++;
    assert_int_equal(n_free, slots->n);
    assert_int_equal(slots->queue.n, 0);
    assert_int_equal(server->connections.n, 0);
    assert_null(server->connections.first);
    const struct counters *counters = &server->metrics.counters;
    assert_int_equal(counters_sum(counters, METRICS_BEGUN),
                     counters_sum(counters, METRICS_ENDED));
    assert_int_equal(pool_count(server->pool).used_bytes, 0);
    assert_int_equal(pool_count(server->pool).reserved_bytes, 0);
}

void site_close(struct site *site)
{
    gp_server_stop(site->server);
    pthread_join(site->thread, NULL);
    if (site->status != GP_OK)
        fail_msg("%s", site->err.message);
    check_empty(site->server);
    gp_server_destroy(site->server);
    close(site->log_fd);
    assert_int_equal(atomic_load(&n_adopted), 0);
    assert_int_equal(fault_n_live(), site->n_live);
    assert_int_equal(fault_n_descriptors(), site->n_descriptors);
    assert_int_not_equal(access(site->path, F_OK), 0);
}

/* --- the peer ------------------------------------------------------------------------- */

void peer_open(struct peer *peer, const struct site *site)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    memcpy(name.sun_path, site->path, sizeof site->path);
    *peer = (struct peer){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                          .bytes = malloc(ROOM_BYTES)};
    assert_non_null(peer->bytes);
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(peer->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(peer->fd, (struct sockaddr *)&name, sizeof name) != 0)
        fail_msg("%s: %s", site->path, strerror(errno));
}

void peer_close(struct peer *peer)
{
    close(peer->fd);
    free(peer->bytes);
}

void peer_send(struct peer *peer, const void *bytes, size_t size_bytes)
{
    const char *at = bytes;
    while (size_bytes) {
        const ssize_t n = send(peer->fd, at, size_bytes, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            fail_msg("the server does not take the request");
        if (n <= 0)
            return;
        at += n;
        size_bytes -= (size_t)n;
    }
}

/* False: the server has closed. */
static bool receive_more(struct peer *peer)
{
    assert_true(peer->end + 1 < ROOM_BYTES);
    const ssize_t n =
        recv(peer->fd, peer->bytes + peer->end, ROOM_BYTES - 1 - peer->end, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        fail_msg("the server neither answers nor closes");
    peer->end += n > 0 ? (size_t)n : 0;
    peer->bytes[peer->end] = '\0';
    return n > 0;
}

struct reply peer_receive(struct peer *peer, bool is_head)
{
    const struct reply closed = {.is_last = true};
    struct reply answer = {0};
    const char *end, *length;
    peer->bytes[peer->end] = '\0';
    while (!(end = strstr(peer->bytes + peer->at, "\r\n\r\n")))
        if (!receive_more(peer))
            return closed;
    char head[2048];
    const size_t head_size = (size_t)(end - peer->bytes) + 4 - peer->at;
    assert_true(head_size < sizeof head);
    memcpy(head, peer->bytes + peer->at, head_size);
    head[head_size] = '\0';
    assert_int_equal(sscanf(head, "HTTP/1.1 %d ", &answer.status), 1);
    assert_non_null(length = strstr(head, "\r\nContent-Length: "));
    answer.is_last = strcasestr(head, "\r\nConnection: close") != NULL;
    answer.size = is_head ? 0 : strtoul(length + 18, NULL, 10);
    peer->at += head_size;
    while (peer->end - peer->at < answer.size)
        if (!receive_more(peer))
            return closed;
    answer.body = peer->bytes + peer->at;
    peer->at += answer.size;
    return answer;
}

#include "scene.h"

#include "scripted.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* As many bytes of y as the request's config says, and one more of z. */
static enum gp_status answer_call(void *self, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    struct scene *scene = self;
    scene->n_runs++;
    turned_clock_add(scene->run_ns);
    if (scene->during)
        scene->during(scene);
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        const int64_t n = atoll(call->config) + (call->output_names[i][0] == 'z');
        void *data = gp_outputs_alloc(outputs, i, GP_UINT8, &n, 1, err);
        if (!data)
            return err->status;
        memset(data, 7, (size_t)n);
    }
    return GP_OK;
}

static const int64_t any_size[] = {-1};
static const struct gp_io x_input = {
    .name = "x", .description = "", .shape = any_size, .rank = 1, .dtype = GP_UINT8};
static const struct gp_io outputs_yz[] = {
    {.name = "y", .description = "", .shape = any_size, .rank = 1, .dtype = GP_UINT8},
    {.name = "z", .description = "", .shape = any_size, .rank = 1, .dtype = GP_UINT8}};
static const struct gp_metadata metadata = {
    .inputs = &x_input, .n_inputs = 1, .outputs = outputs_yz, .n_outputs = 2};

struct scene *scene_begin(const struct gp_server_options *given)
{
    struct scene *scene = calloc(1, sizeof *scene);
    static unsigned n_begun;
    char address[64];
    struct gp_error err;
    assert_non_null(scene);
    (void)snprintf(address, sizeof address, "unix:/tmp/gp-scene-%ld-%u", (long)getpid(),
                   n_begun++); /* one that failed has not ended */
    const char *const listen[] = {address};
    struct gp_server_options options = {0};
    if (given)
        options = *given;
    options.size_bytes = sizeof options;
    options.listen = listen;
    options.n_listen = options.n_slots = options.n_pollers = 1;
    options.pool_bytes = SCENE_POOL_BYTES;
    if (!options.metadata)
        options.metadata = &metadata;
    turned_clock_set(SCENE_NS);
    scene->server = gp_server_create_function(answer_call, scene, &options, &err);
    if (!scene->server)
        fail_msg("%s", err.message);
    still_join(&scene->server->poller);
    return scene;
}

void scene_end(struct scene *scene)
{
    for (int i = 0; i < SCENE_N; i++)
        if (scene->visitors[i].fd)
            close(scene->visitors[i].fd);
    (void)still_serve(&scene->server->poller);
    assert_null(scene->server->connections.first);
    assert_int_equal(pool_count(scene->server->pool).used_bytes, 0);
    assert_int_equal(pool_count(scene->server->pool).reserved_bytes, 0);
    gp_server_destroy(scene->server);
    turned_clock_end();
    free(scene);
}

bool scene_knock(struct scene *scene, int i, const void *from, bool has_descriptors,
                 const char *text)
{
    static const struct sockaddr_storage unix_socket = {.ss_family = AF_UNIX};
    struct visitor *visitor = &scene->visitors[i];
    struct connections *connections = &scene->server->connections;
    const struct guest *before = connections->first;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(send(fds[1], text, strlen(text), 0), strlen(text));
    const bool goes_on = turn_begin(scene->server, scene->server->listeners, fds[0],
                                    from ? from : &unix_socket, has_descriptors);
    *visitor = (struct visitor){.fd = fds[1]};
    if (connections->first != before)
        visitor->c = connection_of(connections->first);
    return goes_on;
}

struct visitor *scene_connect(struct scene *scene, int i, const void *from)
{
    assert_true(scene_knock(scene, i, from, true, ""));
    assert_non_null(scene->visitors[i].c);
    return &scene->visitors[i];
}

const void *scene_address(struct sockaddr_in6 *from, const char *text)
{
    struct sockaddr_in *in = (void *)from;
    *from = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(4567)};
    if (inet_pton(AF_INET6, text, &from->sin6_addr) == 1)
        return from;
    in->sin_family = AF_INET;
    assert_int_equal(inet_pton(AF_INET, text, &in->sin_addr), 1);
    return from;
}

void scene_leave(struct scene *scene, struct visitor *visitor)
{
    close(visitor->fd);
    visitor->fd = 0;
    scene_serve(scene);
}

void scene_serve(struct scene *scene)
{
    (void)still_serve(&scene->server->poller);
}

void scene_send(struct scene *scene, struct visitor *visitor, const void *bytes,
                size_t size)
{
    const char *at = bytes;
    while (size) {
        const ssize_t n = send(visitor->fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else { /* the socket is full */
            assert_int_equal(errno, EAGAIN);
            assert_true(still_serve(&scene->server->poller) > 0);
        }
    }
}

void scene_say(struct scene *scene, struct visitor *visitor, const char *text)
{
    scene_send(scene, visitor, text, strlen(text));
    scene_serve(scene);
}

void scene_say_zeros(struct scene *scene, struct visitor *visitor, size_t n)
{
    char *zeros = calloc(1, n + 1);
    assert_non_null(zeros);
    scene_send(scene, visitor, zeros, n);
    scene_serve(scene);
    free(zeros);
}

void scene_announce(struct scene *scene, struct visitor *visitor, const char *begins,
                    size_t length)
{
    char head[128];
    (void)snprintf(head, sizeof head,
                   "%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", begins,
                   length);
    scene_say(scene, visitor, head);
}

char *scene_message_for(const char *const *names, uint32_t n_names, size_t x_bytes,
                        const char *y_bytes, size_t *size)
{
    struct gp_arena *arena = gp_arena_create();
    const int64_t shape[] = {(int64_t)x_bytes};
    unsigned char *data = calloc(1, x_bytes);
    assert_true(arena && data);
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, data);
    const struct gp_call call = {.inputs = &input,
                                 .n_inputs = 1,
                                 .output_names = names,
                                 .n_outputs = n_names,
                                 .config = y_bytes};
    struct gp_encoding encoding;
    assert_int_equal(gp_request_encode(arena, &call, &encoding, NULL), GP_OK);
    char *message = scripted_flatten(&encoding);
    *size = encoding.size_bytes;
    gp_arena_destroy(arena);
    free(data);
    return message;
}

char *scene_message(size_t x_bytes, const char *y_bytes, size_t *size)
{
    static const char *const names[] = {"y"};
    return scene_message_for(names, 1, x_bytes, y_bytes, size);
}

void scene_post_message(struct scene *scene, struct visitor *visitor, char *message,
                        size_t size, const char *fields)
{
    char head[256];
    (void)snprintf(head, sizeof head,
                   "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", fields,
                   size);
    scene_send(scene, visitor, head, strlen(head));
    scene_send(scene, visitor, message, size);
    free(message);
}

void scene_post_for(struct scene *scene, struct visitor *visitor,
                    const char *const *names, uint32_t n_names, const char *y_bytes)
{
    size_t size;
    char *body = scene_message_for(names, n_names, 8, y_bytes, &size);
    scene_post_message(scene, visitor, body, size, "");
}

void scene_post(struct scene *scene, struct visitor *visitor, size_t x_bytes,
                const char *y_bytes, const char *fields)
{
    size_t size;
    char *body = scene_message(x_bytes, y_bytes, &size);
    scene_post_message(scene, visitor, body, size, fields);
}

void scene_post_chunked(struct scene *scene, struct visitor *visitor, size_t x_bytes,
                        const char *y_bytes)
{
    enum { CHUNK_BYTES = 64 * 1024 };
    static const char head[] =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t size;
    char *body = scene_message(x_bytes, y_bytes, &size), line[64];
    scene_send(scene, visitor, head, sizeof head - 1);
    for (size_t at = 0; at < size; at += CHUNK_BYTES) {
        const size_t n = size - at < CHUNK_BYTES ? size - at : CHUNK_BYTES;
        (void)snprintf(line, sizeof line, "%zx\r\n", n);
        scene_send(scene, visitor, line, strlen(line));
        scene_send(scene, visitor, body + at, n);
        scene_send(scene, visitor, "\r\n", 2);
    }
    scene_send(scene, visitor, "0\r\n\r\n", 5);
    free(body);
}

/* Keeps the beginning. */
static void keep_bytes(struct visitor *visitor, const char *bytes, size_t n)
{
    const size_t kept = visitor->n_received, room = sizeof visitor->received - 1;
    const size_t left = kept < room ? room - kept : 0, more = left < n ? left : n;
    if (more) {
        memcpy(visitor->received + kept, bytes, more);
        visitor->received[kept + more] = '\0';
    }
    visitor->n_received += n;
}

static void receive_all(struct scene *scene, struct visitor *visitor)
{
    static char bytes[64 * 1024];
    ssize_t n;
    visitor->n_received = 0;
    visitor->received[0] = '\0';
    do {
        while ((n = recv(visitor->fd, bytes, sizeof bytes, 0)) > 0)
            keep_bytes(visitor, bytes, (size_t)n);
        visitor->is_ended = n == 0;
    } while (n < 0 && still_serve(&scene->server->poller) > 0);
}

void scene_hear(struct scene *scene, struct visitor *visitor, const char *begins)
{
    receive_all(scene, visitor);
    if (strncmp(visitor->received, begins, strlen(begins)) != 0)
        fail_msg("\"%s\" instead of \"%s\"", visitor->received, begins);
}

void scene_hear_text(struct scene *scene, struct visitor *visitor, const char *status,
                     const char *fields, const char *text)
{
    char whole[sizeof visitor->received];
    (void)snprintf(whole, sizeof whole,
                   "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                   "Content-Length: %zu\r\n%s\r\n%s",
                   status, strlen(text), fields, text);
    receive_all(scene, visitor);
    assert_string_equal(visitor->received, whole);
}

void scene_hear_nothing(struct scene *scene, struct visitor *visitor)
{
    receive_all(scene, visitor);
    assert_false(visitor->is_ended);
    assert_int_equal(visitor->n_received, 0);
}

void scene_stuff(struct visitor *visitor)
{
    static const char bytes[64 * 1024];
    for (size_t size = sizeof bytes; size; size /= 2) {
        ssize_t n;
        while ((n = send(visitor->c->source.fd, bytes, size, MSG_NOSIGNAL)) > 0)
            visitor->n_stuffed += (size_t)n;
    }
    assert_true(visitor->n_stuffed > 0);
}

void scene_unstuff(struct visitor *visitor)
{
    char bytes[4096];
    while (visitor->n_stuffed) {
        const size_t n = visitor->n_stuffed;
        const ssize_t got =
            recv(visitor->fd, bytes, n < sizeof bytes ? n : sizeof bytes, 0);
        assert_true(got > 0);
        visitor->n_stuffed -= (size_t)got;
    }
}

void scene_turn_to(int64_t ms)
{
    turned_clock_set(SCENE_NS + ms * CLOCK_MS);
}

void scene_expire_at(struct scene *scene, int64_t ms)
{
    scene_turn_to(ms);
    timers_expire(&scene->server->timers);
    scene_serve(scene);
}

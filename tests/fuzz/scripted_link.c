/* The client's connection in memory, in place of src/client/link.c: what the other end
 * sends is fuzz_script, what is sent to it is dropped. */
#include "fuzz.h"

#include "client/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { MAX_SENT_BYTES = 100, MAX_PIECES = 64 };

struct fuzz_script fuzz_script;

enum gp_status link_open(struct client_link *link, int64_t deadline_ns,
                         struct gp_error *err)
{
    (void)deadline_ns;
    if (fuzz_script.n_opens == 0)
        return gp_error_set(err, GP_IO, "the script has no further connection");
    fuzz_script.n_opens--;
    link->fd = 0;
    return GP_OK;
}

void link_close(struct client_link *link)
{
    link->fd = -1;
}

bool link_is_stale(const struct client_link *link)
{
    (void)link;
    return false;
}

static bool is_later(void)
{
    return fuzz_script.is_slow && fuzz_script.n_calls++ % 2;
}

enum link_outcome link_send(struct client_link *link, struct iovec *parts, size_t n_parts,
                            size_t *moved)
{
    (void)link;
    *moved = 0;
    if ((fuzz_script.is_early && fuzz_script.at < fuzz_script.size) || is_later())
        return LINK_LATER;
    for (size_t i = 0; i < n_parts; i++)
        *moved += parts[i].iov_len;
    if (fuzz_script.pieces.most && *moved > MAX_SENT_BYTES)
        *moved = MAX_SENT_BYTES;
    return LINK_MOVED;
}

enum link_outcome link_receive(struct client_link *link, void *bytes, size_t size,
                               size_t *moved)
{
    struct fuzz_script *script = &fuzz_script;
    (void)link;
    *moved = 0;
    if (is_later())
        return LINK_LATER;
    if (size == 0 || script->at == script->size) {
        errno = ECONNRESET;
        return script->is_reset ? LINK_FAILED : LINK_CLOSED;
    }
    const size_t left = script->size - script->at;
    if (script->n_pieces++ == MAX_PIECES) /* all the rest, to be quick */
        script->pieces.most = 0;
    *moved = fuzz_next_piece(&script->pieces, left < size ? left : size);
    memcpy(bytes, script->bytes + script->at, *moved);
    script->at += *moved;
    return LINK_MOVED;
}

short link_wait(const struct client_link *link, short events, int64_t deadline_ns)
{
    (void)link;
    (void)deadline_ns;
    return events & POLLIN ? POLLIN : events;
}

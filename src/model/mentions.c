/* Names are told apart by their first two bytes: weights, which are nearly all of what is read, seldom begin
 * any. Whether they do is asked for each byte, so that is a bit in a table that stays in the nearest cache. */
#include "model/mentions.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW_BYTES = 1 << 20, N_STARTS = 1 << 16 };

struct mention_search {
    struct mention *mentions;
    unsigned char is_start[N_STARTS / 8]; /* bits */
    uint32_t starts[N_STARTS]; /* the first mention of those that begin so, plus one */
    unsigned char window[WINDOW_BYTES];
};

static unsigned start_of(const unsigned char *bytes)
{
    return bytes[0] | (unsigned)bytes[1] << 8;
}

/* Returns the size of the longest. */
static size_t sort_names(struct mention_search *search, size_t n)
{
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        struct mention *mention = &search->mentions[i];
        mention->is_found = mention->size_bytes < 2;
        if (mention->is_found)
            continue;
        const unsigned start = start_of((const unsigned char *)mention->name);
        mention->next = search->starts[start];
        search->starts[start] = (uint32_t)i + 1;
        search->is_start[start / 8] |= (unsigned char)(1 << start % 8);
        if (mention->size_bytes > longest)
            longest = mention->size_bytes;
    }
    return longest;
}

static bool begins_name(const struct mention_search *search, const unsigned char *bytes)
{
    const unsigned start = start_of(bytes);
    return search->is_start[start / 8] >> start % 8 & 1;
}

static void look_at(struct mention_search *search, size_t at, size_t size_bytes)
{
    uint32_t next = search->starts[start_of(&search->window[at])];
    while (next) {
        struct mention *mention = &search->mentions[next - 1];
        if (mention->size_bytes <= size_bytes - at &&
            memcmp(&search->window[at], mention->name, mention->size_bytes) == 0)
            mention->is_found = true;
        next = mention->next;
    }
}

/* Each window begins with what might be the beginning of a name in the one before. */
static enum gp_status search_file(struct mention_search *search, int fd, const char *path,
                                  size_t longest, const atomic_bool *is_ending,
                                  struct gp_error *err)
{
    off_t offset = 0;
    for (;;) {
        const ssize_t n = pread(fd, search->window, WINDOW_BYTES, offset);
        if (n < 0)
            return gp_error_set(err, GP_IO, "cannot read %s: %s", path, strerror(errno));
        if (atomic_load(is_ending))
            return gp_error_set(err, GP_UNAVAILABLE, "the server is ending");
        for (size_t at = 0; at + 1 < (size_t)n; at++)
            if (begins_name(search, &search->window[at]))
                look_at(search, at, (size_t)n);
        if ((size_t)n < longest)
            return GP_OK;
        offset += n - (ssize_t)longest + 1;
    }
}

enum gp_status mentions_find(int fd, const char *path, struct mention *mentions, size_t n,
                             const atomic_bool *is_ending, struct gp_error *err)
{
    struct mention_search *search = mem_zalloc(sizeof *search);
    if (!search)
        return gp_error_set(err, GP_NO_MEMORY, "%s: no memory to read it", path);
    search->mentions = mentions;
    const size_t longest = sort_names(search, n);
    const enum gp_status status =
        longest ? search_file(search, fd, path, longest, is_ending, err) : GP_OK;
    mem_free(search);
    return status;
}

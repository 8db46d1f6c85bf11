/* Records are built and read field by field, so that nothing depends on how a compiler
 * lays out structs, and a reader has one check for all fields: is_bad, at the end. */
#include "engine/record.h"

#include "base/checked.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");

enum { HEAD_BYTES = 16, FIRST_BYTES = 4096 };

/* --- writing --- */

static void put_bytes(struct text *out, const void *bytes, size_t size_bytes)
{
    text_add(out, bytes, size_bytes);
}

void record_begin(struct text *out, enum record_type type, uint64_t id)
{
    out->size_bytes = 0;
    out->is_short = false;
    record_put_u32(out, (uint32_t)type);
    record_put_u32(out, 0);
    record_put_u64(out, id);
}

void record_put_u32(struct text *out, uint32_t value)
{
    put_bytes(out, &value, sizeof value);
}

void record_put_u64(struct text *out, uint64_t value)
{
    put_bytes(out, &value, sizeof value);
}

void record_put_text(struct text *out, const char *string)
{
    const size_t size = string ? strlen(string) : 0;
    record_put_u32(out, (uint32_t)size);
    put_bytes(out, string ? string : "", size + 1);
}

static void put_shape(struct text *out, const int64_t *shape, uint32_t rank)
{
    record_put_u32(out, rank);
    if (rank)
        put_bytes(out, shape, rank * sizeof *shape);
}

void record_put_tensor(struct text *out, const struct gp_tensor *tensor, uint64_t offset)
{
    record_put_text(out, tensor->name);
    record_put_u32(out, (uint32_t)tensor->dtype);
    put_shape(out, tensor->shape, tensor->rank);
    record_put_u64(out, offset);
    record_put_u64(out, tensor->size_bytes);
    if (offset == RECORD_INLINE)
        put_bytes(out, tensor->data, tensor->size_bytes);
}

static void put_ios(struct text *out, const struct gp_io *ios, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        record_put_text(out, ios[i].name);
        record_put_text(out, ios[i].description);
        record_put_u32(out, (uint32_t)ios[i].dtype);
        record_put_u32(out, ios[i].flags);
        put_shape(out, ios[i].shape, ios[i].rank);
    }
}

void record_put_description(struct text *out, const struct gp_description *d)
{
    record_put_u32(out, d->flags);
    record_put_u32(out, d->n_inputs);
    record_put_u32(out, d->n_outputs);
    record_put_u32(out, d->n_files);
    record_put_u64(out, (uint64_t)d->max_batch);
    record_put_text(out, d->summary);
    record_put_text(out, d->version);
    record_put_text(out, d->description);
    record_put_text(out, d->name);
    put_ios(out, d->inputs, d->n_inputs);
    put_ios(out, d->outputs, d->n_outputs);
    for (uint32_t i = 0; i < d->n_files; i++)
        record_put_text(out, d->files[i]);
}

bool record_end(struct text *out)
{
    if (out->is_short || out->size_bytes > HEAD_BYTES + RECORD_MAX_BYTES)
        return false;
    const uint32_t size = (uint32_t)(out->size_bytes - HEAD_BYTES);
    memcpy(out->data + sizeof size, &size, sizeof size);
    return true;
}

/* What remains unsent is the end of the record. */
static bool send_record(int fd, const struct text *record, size_t *n_unsent, int flags)
{
    while (*n_unsent) {
        const char *from = record->data + record->size_bytes - *n_unsent;
        const ssize_t n = send(fd, from, *n_unsent, MSG_NOSIGNAL | flags);
        if (n > 0)
            *n_unsent -= (size_t)n;
        else if (errno != EINTR)
            return errno == EAGAIN;
    }
    return true;
}

bool record_send(int fd, const struct text *record, size_t *n_unsent)
{
    return send_record(fd, record, n_unsent, MSG_DONTWAIT);
}

bool record_send_all(int fd, const struct text *record)
{
    size_t n_unsent = record->size_bytes;
    return send_record(fd, record, &n_unsent, 0) && n_unsent == 0;
}

/* --- receiving --- */

/* Makes room for `size_bytes` more behind what has not been read yet. */
static bool make_room(struct record_link *link, size_t size_bytes)
{
    if (link->capacity - link->end >= size_bytes)
        return true;
    if (link->start)
        memmove(link->data, link->data + link->start, link->end - link->start);
    link->end -= link->start;
    link->start = 0;
    if (link->capacity - link->end >= size_bytes)
        return true;
    unsigned char *data = mem_resize(link->data, link->end + size_bytes);
    if (!data)
        return false;
    link->data = data;
    link->capacity = link->end + size_bytes;
    return true;
}

/* Takes a whole record off the front; otherwise *missing says how many bytes have to
 * come, or 0 if it is not a record. */
static bool take_record(struct record_link *link, struct record *record, size_t *missing)
{
    const size_t n = link->end - link->start;
    uint32_t head[2];
    *missing = n < HEAD_BYTES ? HEAD_BYTES - n : 0;
    if (*missing)
        return false;
    const unsigned char *at = link->data + link->start;
    memcpy(head, at, sizeof head);
    if (head[0] < RECORD_OPEN || head[0] > RECORD_LOG || head[1] > RECORD_MAX_BYTES)
        return false;
    const size_t size = HEAD_BYTES + (size_t)head[1];
    *missing = n < size ? size - n : 0;
    if (*missing)
        return false;
    *record = (struct record){
        .type = (enum record_type)head[0], .at = at + HEAD_BYTES, .end = at + size};
    memcpy(&record->id, at + sizeof head, sizeof record->id);
    link->start += size;
    return true;
}

static enum record_got receive_record(struct record_link *link, struct record *record,
                                      int flags)
{
    for (;;) {
        size_t missing;
        if (take_record(link, record, &missing))
            return RECORD_WHOLE;
        if (!missing)
            return RECORD_NONSENSE;
        if (!make_room(link, missing > FIRST_BYTES ? missing : FIRST_BYTES))
            return RECORD_ENDED;
        const ssize_t n =
            recv(link->fd, link->data + link->end, link->capacity - link->end, flags);
        if (n > 0)
            link->end += (size_t)n;
        else if (n < 0 && errno == EAGAIN)
            return RECORD_NONE;
        else if (n == 0 || errno != EINTR)
            return RECORD_ENDED;
    }
}

enum record_got record_receive(struct record_link *link, struct record *record)
{
    return receive_record(link, record, MSG_DONTWAIT);
}

enum record_got record_wait(struct record_link *link, struct record *record)
{
    return receive_record(link, record, 0);
}

void record_link_finish(struct record_link *link)
{
    mem_free(link->data);
    *link = (struct record_link){.fd = -1};
}

/* --- reading --- */

bool record_keep(struct record *record, struct gp_arena *arena)
{
    const size_t size = (size_t)(record->end - record->at);
    unsigned char *copy = gp_arena_alloc(arena, size ? size : 1);
    if (!copy)
        return false;
    memcpy(copy, record->at, size);
    record->at = copy;
    record->end = copy + size;
    return true;
}

static void get_bytes(struct record *record, void *value, size_t size_bytes)
{
    if ((size_t)(record->end - record->at) < size_bytes) {
        record->is_bad = true;
        record->at = record->end;
        memset(value, 0, size_bytes);
        return;
    }
    memcpy(value, record->at, size_bytes);
    record->at += size_bytes;
}

uint32_t record_u32(struct record *record)
{
    uint32_t value;
    get_bytes(record, &value, sizeof value);
    return value;
}

uint64_t record_u64(struct record *record)
{
    uint64_t value;
    get_bytes(record, &value, sizeof value);
    return value;
}

const char *record_text(struct record *record)
{
    const size_t size = record_u32(record);
    const char *text = (const char *)record->at;
    if (record->is_bad || (size_t)(record->end - record->at) <= size ||
        strnlen(text, size + 1) != size) {
        record->is_bad = true;
        record->at = record->end;
        return "";
    }
    record->at += size + 1;
    return text;
}

const void *record_bytes(struct record *record, size_t size_bytes)
{
    const unsigned char *bytes = record->at;
    if ((size_t)(record->end - record->at) < size_bytes) {
        record->is_bad = true;
        return NULL;
    }
    record->at += size_bytes;
    return bytes;
}

const char *const *record_texts(struct record *record, struct gp_arena *arena, uint32_t n)
{
    /* Each takes at least 5 bytes, so that an impossible number cannot make a large
     * array. */
    if ((size_t)(record->end - record->at) / 5 < n) {
        record->is_bad = true;
        return NULL;
    }
    const char **texts = gp_arena_alloc(arena, (n ? n : 1) * sizeof *texts);
    for (uint32_t i = 0; texts && i < n; i++)
        texts[i] = record_text(record);
    return record->is_bad ? NULL : texts;
}

static const int64_t *get_shape(struct record *record, struct gp_arena *arena,
                                uint32_t *rank)
{
    *rank = record_u32(record);
    record->is_bad = record->is_bad || *rank > GP_MAX_RANK;
    int64_t *shape =
        record->is_bad ? NULL : gp_arena_alloc(arena, (*rank + 1) * sizeof *shape);
    record->is_short = record->is_short || (!record->is_bad && !shape);
    if (shape)
        get_bytes(record, shape, *rank * sizeof *shape);
    else
        record->is_bad = true;
    return shape;
}

bool record_tensor(struct record *record, struct gp_arena *arena,
                   struct gp_tensor *tensor, uint64_t *offset)
{
    uint32_t rank;
    const char *name = record_text(record);
    const enum gp_dtype dtype = (enum gp_dtype)record_u32(record);
    const int64_t *shape = get_shape(record, arena, &rank);
    *offset = record_u64(record);
    const uint64_t size_bytes = record_u64(record);
    if (record->is_bad)
        return false;
    *tensor = (struct gp_tensor){name, shape, NULL, 0, dtype, rank};
    const int64_t n = gp_shape_count(shape, rank);
    const size_t stride = gp_dtype_stride(dtype);
    return n >= 0 && stride && checked_mul((size_t)n, stride, &tensor->size_bytes) &&
           tensor->size_bytes == size_bytes;
}

static const struct gp_io *get_ios(struct record *record, struct gp_arena *arena,
                                   uint32_t n)
{
    struct gp_io *ios =
        n > GP_MAX_TENSORS ? NULL : gp_arena_alloc(arena, (n ? n : 1) * sizeof *ios);
    for (uint32_t i = 0; ios && i < n; i++) {
        ios[i].name = record_text(record);
        ios[i].description = record_text(record);
        ios[i].dtype = (enum gp_dtype)record_u32(record);
        ios[i].flags = record_u32(record);
        ios[i].shape = get_shape(record, arena, &ios[i].rank);
        if (ios[i].dtype != GP_NULL && !gp_dtype_stride(ios[i].dtype))
            record->is_bad = true;
    }
    return ios;
}

bool record_description(struct record *record, struct gp_arena *arena,
                        struct gp_description *d)
{
    d->flags = record_u32(record);
    d->n_inputs = record_u32(record);
    d->n_outputs = record_u32(record);
    d->n_files = record_u32(record);
    d->max_batch = (int64_t)record_u64(record);
    d->summary = record_text(record);
    d->version = record_text(record);
    d->description = record_text(record);
    d->name = record_text(record);
    d->inputs = get_ios(record, arena, d->n_inputs);
    d->outputs = get_ios(record, arena, d->n_outputs);
    d->files = record_texts(record, arena, d->n_files);
    return d->inputs && d->outputs && d->files && !record->is_bad;
}

enum gp_status record_failure(struct record *record, struct gp_error *err)
{
    const uint32_t status = record_u32(record);
    const char *message = record_text(record);
    return gp_error_set(err, status == GP_OK ? GP_ENGINE : (enum gp_status)status, "%s",
                        message);
}

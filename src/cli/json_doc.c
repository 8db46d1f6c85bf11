/* yyjson keeps no positions, but when it reads in place its strings lie where they were in the
 * text. That is how lines are found: no tree of ours beside its own. */
#include "cli/json_doc.h"

#include "base/mem.h"
#include "cli/file.h"

#include <string.h>

enum { MAX_BYTES = 64 << 20 };

static void *take_memory(void *context, size_t size_bytes)
{
    (void)context;
    return mem_alloc(size_bytes);
}

static void *resize_memory(void *context, void *block, size_t old_size, size_t size_bytes)
{
    (void)context;
    (void)old_size;
    return mem_resize(block, size_bytes);
}

static void free_memory(void *context, void *block)
{
    (void)context;
    mem_free(block);
}

static unsigned count_lines(const char *from, const char *to)
{
    unsigned n = 0;
    while ((from = memchr(from, '\n', (size_t)(to - from))) != NULL) {
        n++;
        from++;
    }
    return n;
}

static enum gp_status parse_json(struct json_doc *json, char *copy, size_t size_bytes,
                                 const char *path, struct gp_error *err)
{
    static const yyjson_alc memory = {take_memory, resize_memory, free_memory, NULL};
    yyjson_read_err why;
    json->doc = yyjson_read_opts(copy, size_bytes,
                                 YYJSON_READ_INSITU | YYJSON_READ_ALLOW_COMMENTS |
                                     YYJSON_READ_ALLOW_TRAILING_COMMAS,
                                 &memory, &why);
    if (json->doc)
        return GP_OK;
    const int shown = gp_cut(path, 100);
    if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return gp_error_set(err, GP_NO_MEMORY, "%.*s: out of memory", shown, path);
    const char *at = json->text + (why.pos < size_bytes ? why.pos : size_bytes);
    return gp_error_set(err, GP_MALFORMED, "%.*s:%u: no JSON: %s", shown, path,
                        1 + count_lines(json->text, at), why.msg);
}

/* The file's bytes and a copy, without the mark that some editors put in front of UTF-8. */
static enum gp_status copy_text(struct json_doc *json, const struct file *file,
                                const char *path, struct gp_arena *arena,
                                struct gp_error *err)
{
    static const char mark[] = "\xef\xbb\xbf";
    const char *data = (const char *)file->data;
    size_t size = file->size_bytes;
    if (size > JSON_DOC_MAX_BYTES)
        return gp_error_set(err, GP_INVALID, "%.*s: has %zu bytes, and the most is %d",
                            gp_cut(path, 100), path, size, JSON_DOC_MAX_BYTES);
    if (size >= 3 && memcmp(data, mark, 3) == 0) {
        data += 3;
        size -= 3;
    }
    char *text = gp_arena_alloc(arena, size + 1);
    char *copy = gp_arena_alloc(arena, size + YYJSON_PADDING_SIZE);
    if (!text || !copy)
        return gp_error_set(err, GP_NO_MEMORY, "%.*s: out of memory", gp_cut(path, 100),
                            path);
    memcpy(text, data, size);
    text[size] = '\0';
    memcpy(copy, text, size);
    memset(copy + size, 0, YYJSON_PADDING_SIZE);
    *json = (struct json_doc){.text = text, .copy = copy, .seen = text, .line = 1};
    return parse_json(json, copy, size, path, err);
}

enum gp_status json_doc_open(struct json_doc *json, const char *path,
                             struct gp_arena *arena, struct gp_error *err)
{
    *json = (struct json_doc){0};
    struct file file;
    if (file_open(&file, path, MAX_BYTES, err) != GP_OK)
        return err->status;
    const enum gp_status status = copy_text(json, &file, path, arena, err);
    file_close(&file);
    return status;
}

void json_doc_close(struct json_doc *json)
{
    yyjson_doc_free(json->doc);
    *json = (struct json_doc){0};
}

unsigned json_doc_line(struct json_doc *json, yyjson_val *string)
{
    const char *at = json->text + (yyjson_get_str(string) - json->copy);
    if (at < json->seen) {
        json->seen = json->text;
        json->line = 1;
    }
    json->line += count_lines(json->seen, at);
    json->seen = at;
    return json->line;
}

/* cli/json_doc.h - a file of JSON, read by yyjson, that can say in which line a key is.
 *
 * The text is in the arena, and so are all strings of the document, which therefore outlive
 * it. yyjson has no recursion, so depth costs memory only.
 */
#ifndef GP_CLI_JSON_DOC_H
#define GP_CLI_JSON_DOC_H

#include <graphpipe/message.h>

#include <yyjson.h>

struct json_doc {
    yyjson_doc *doc;
    const char *text; /* as it came, to count lines in */
    const char *copy; /* in which yyjson unescapes strings, byte for byte above `text` */

    const char *seen; /* up to here in `text` lines are counted */
    unsigned line;    /* there */
};

/* The most that is read: a bench of a day has less. */
enum { JSON_DOC_MAX_BYTES = 16 << 20 };

/* Reads all of the file, which may have comments and a comma behind the last item. The message
 * of an error begins with "path:line:". */
enum gp_status json_doc_open(struct json_doc *json, const char *path,
                             struct gp_arena *arena, struct gp_error *err);

/* Frees it but for its strings; ignores one that is zeroed. */
void json_doc_close(struct json_doc *json);

/* The line of a key or another string of the document, from 1. Quick when asked in the order
 * of the file. */
unsigned json_doc_line(struct json_doc *json, yyjson_val *string);

#endif

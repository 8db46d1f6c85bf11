#include "wire/foreign.h"

#include <string.h>

#define PIXELS "decode it, and send its pixels as a tensor"
#define PLAIN "send what is in it"
#define MESSAGE "graphpipe infer makes messages, and so do the client libraries"
#define NPY "graphpipe infer sends such files"

#define MAGIC(bytes, kind, remedy)                                                       \
    {                                                                                    \
        bytes, sizeof(bytes) - 1,                                                        \
        {                                                                                \
            kind, remedy                                                                 \
        }                                                                                \
    }

static const struct {
    const char *magic;
    size_t size_bytes;
    struct foreign foreign;
} known[] = {
    MAGIC("\x89PNG\r\n", "a PNG picture", PIXELS),
    MAGIC("\xff\xd8\xff", "a JPEG picture", PIXELS),
    MAGIC("GIF8", "a GIF picture", PIXELS),
    MAGIC("RIFF", "a WebP picture or a sound", PIXELS),
    MAGIC("II*\0", "a TIFF picture", PIXELS),
    MAGIC("MM\0*", "a TIFF picture", PIXELS),
    MAGIC("%PDF", "a PDF document", PIXELS),
    MAGIC("\x1f\x8b", "gzip data", PLAIN),
    MAGIC("\x28\xb5\x2f\xfd", "Zstandard data", PLAIN),
    MAGIC("PK\3\4", "a zip archive, as .npz and .pt are", PLAIN),
    MAGIC("\x93NUMPY", "a .npy file", NPY),
    MAGIC("--", "a multipart form", "send the message alone, as the body"),
};

/* Text is known by the first character that is no space. */
static const struct {
    char first;
    struct foreign foreign;
} texts[] = {
    {'{', {"JSON", MESSAGE}},
    {'[', {"JSON", MESSAGE}},
    {'<', {"HTML or XML", MESSAGE}},
};

const struct foreign *foreign_find(const void *bytes, size_t size_bytes)
{
    const char *text = bytes;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (size_bytes >= known[i].size_bytes &&
            memcmp(bytes, known[i].magic, known[i].size_bytes) == 0)
            return &known[i].foreign;
    size_t at = 0;
    while (at < size_bytes && text[at] && strchr(" \t\r\n", text[at]))
        at++;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && at < size_bytes; i++)
        if (text[at] == texts[i].first)
            return &texts[i].foreign;
    return NULL;
}

/* What the fuzz targets share. Each target is one function, LLVMFuzzerTestOneInput, that
 * libFuzzer calls with bytes of its own making (preset fuzz, tests/fuzz/run), and
 * replay.c with the corpus, under any compiler. A target promises more than not to crash:
 * what is read is written and read again, and bytes that come in pieces say the same as
 * bytes that come at once. FUZZ_CHECK holds it to that.
 *
 * Two parts of the library are swapped when targets are linked: exact_memory.c gives each
 * allocation of the arena and of the client's buffers a block of its own, so that
 * AddressSanitizer sees a step beyond it, and scripted_link.c is the client's connection. */
#ifndef GP_TESTS_FUZZ_H
#define GP_TESTS_FUZZ_H

#include <graphpipe/message.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Stands in every build, unlike assert. */
#define FUZZ_CHECK(condition)                                                            \
    ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

/* size bytes of the heap, or the end of the program; to be freed. */
void *fuzz_memory(size_t size);

/* The bytes in a block of their own, `offset` from alignment; free *block. */
unsigned char *fuzz_copy(const void *bytes, size_t size, size_t offset, void **block);

/* The parts in one block of exactly their size, to be freed. */
unsigned char *fuzz_join(const struct gp_encoding *encoding);

/* A refusal tells its status and one line of text, whatever it quotes. */
void fuzz_check_refusal(enum gp_status status, const struct gp_error *err);

bool fuzz_same_text(const char *a, const char *b); /* NULL is "" */
bool fuzz_same_tensors(const struct gp_tensor *a, const struct gp_tensor *b, uint32_t n);

/* What came over a network or out of a file can be sent, and arrives as it was. */
void fuzz_send(struct gp_arena *arena, const struct gp_tensor *tensor);

/* How a stream arrives: the sizes of the pieces follow from `seed`, 1 to `most` each. */
struct fuzz_pieces {
    uint32_t seed;
    uint32_t most;
};
size_t fuzz_next_piece(struct fuzz_pieces *pieces, size_t left);

/* The connection of fuzz_client: the bytes that the server will send, then its end. */
struct fuzz_script {
    const unsigned char *bytes;
    size_t size;
    size_t at;
    struct fuzz_pieces pieces;
    unsigned n_opens; /* connections that can still be made */
    bool is_slow;     /* each second call finds nothing to do yet */
    bool is_early;    /* it answers before it has taken the request */
    bool is_reset;    /* it ends with an error */
    unsigned n_calls;
    unsigned n_pieces;
};
extern struct fuzz_script fuzz_script;

#endif

/* The client reading answers: the third byte and all after it are what a server sends to
 * a client that asks twice over a connection that is kept where the answers allow
 * it. The first answer is received whole, then again in pieces, and has to say the same.
 * The first two bytes choose the call, how the bytes arrive and how they end. */
#include "fuzz.h"

#include <graphpipe/client.h>

#include <stdlib.h>
#include <string.h>

enum {
    IS_METADATA = 1,
    IS_OWN_BUFFER = 2,
    IS_SLOW = 4,
    IS_EARLY = 8,
    IS_RESET = 16,
    IS_LIMITED = 32,
    N_CALLS = 2,
    OWN_BYTES = 256,
    LIMIT_BYTES = 1 << 20,
    LOW_LIMIT_BYTES = 200
};

struct asker {
    struct gp_client *client;
    unsigned flags;
    unsigned char *own; /* memory for infer_into, exact */
    const struct gp_metadata *metadata;
    struct gp_error err;
};

static void begin(struct asker *asker, const uint8_t *bytes, size_t size, uint32_t most)
{
    const unsigned flags = asker->flags = bytes[0];
    const struct gp_client_options options = {
        .max_answer_bytes = flags & IS_LIMITED ? LOW_LIMIT_BYTES : LIMIT_BYTES};
    fuzz_script = (struct fuzz_script){.bytes = bytes + 2,
                                       .size = size - 2,
                                       .pieces = {bytes[1], most},
                                       .n_opens = 2,
                                       .is_slow = flags & IS_SLOW,
                                       .is_early = flags & IS_EARLY,
                                       .is_reset = flags & IS_RESET};
    asker->client = gp_client_create("unix:/none", &options, &asker->err);
    asker->own = fuzz_memory(OWN_BYTES);
    FUZZ_CHECK(asker->client);
}

static void end(struct asker *asker, struct gp_result *result)
{
    gp_client_destroy(asker->client); /* results may outlive it */
    gp_result_destroy(result);
    free(asker->own);
}

static enum gp_status ask(struct asker *asker, struct gp_result **result)
{
    static const unsigned char pixel[] = {1, 2, 3};
    static const int64_t shape[] = {3};
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, pixel);
    const struct gp_call call = {.inputs = &input, .n_inputs = 1};
    enum gp_status status;
    if (asker->flags & IS_METADATA)
        status = gp_client_metadata(asker->client, &asker->metadata, result, &asker->err);
    else if (asker->flags & IS_OWN_BUFFER)
        status = gp_client_infer_into(asker->client, &call, asker->own, OWN_BYTES, result,
                                      &asker->err);
    else
        status = gp_client_infer(asker->client, &call, result, &asker->err);
    FUZZ_CHECK((status == GP_OK) == (*result != NULL));
    if (status != GP_OK)
        fuzz_check_refusal(status, &asker->err);
    return status;
}

static bool same_answers(const struct asker *a, const struct gp_result *left,
                         const struct asker *b, const struct gp_result *right)
{
    if (a->flags & IS_METADATA)
        return fuzz_same_text(a->metadata->name, b->metadata->name) &&
               fuzz_same_text(a->metadata->description, b->metadata->description) &&
               a->metadata->n_inputs == b->metadata->n_inputs &&
               a->metadata->n_outputs == b->metadata->n_outputs;
    const uint32_t n = gp_result_count(left);
    return n == gp_result_count(right) &&
           (n == 0 ||
            fuzz_same_tensors(gp_result_output(left, 0), gp_result_output(right, 0), n));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct asker whole, cut;
    struct gp_result *first = NULL, *second = NULL;
    if (size < 2)
        return 0;
    begin(&whole, bytes, size, 0);
    const enum gp_status status = ask(&whole, &first);
    begin(&cut, bytes, size, 1u << (bytes[0] >> 6) * 2);
    FUZZ_CHECK(ask(&cut, &second) == status);
    FUZZ_CHECK(status != GP_OK || same_answers(&whole, first, &cut, second));
    const bool goes_on = status == GP_OK || fuzz_script.at < fuzz_script.size;
    for (int i = 1; i < N_CALLS && goes_on; i++) {
        struct gp_result *next;
        (void)ask(&cut, &next);
        gp_result_destroy(next);
    }
    end(&whole, first);
    end(&cut, second);
    return 0;
}

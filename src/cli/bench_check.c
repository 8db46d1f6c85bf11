/* Checks answers: samples are decoded, so that a server that quickly answers nonsense
 * does not look good, and the first failure is kept in its own words. */
#include "cli/bench_loop.h"

#include "client/roundtrip.h"

/* True if the answer on this link, which is the sample, is what was requested. */
static bool sample_is_good(struct bench_loop *load, const struct bench_link *link)
{
    const struct bench_sample *sample = &load->net.sample;
    struct gp_error *err = &load->result->first_error, ignored;
    struct gp_metadata metadata;
    struct gp_response response = {0};
    if (err->status != GP_OK)
        err = &ignored;
    gp_arena_reset(load->arena);
    if (sample->is_short)
        return true;
    if (link->answer.status != 200) {
        const struct client_reply reply = {
            .status = link->answer.status,
            .is_message = sample->is_message,
            .body = {.data = sample->data, .size_bytes = sample->size_bytes}};
        (void)client_failure(&load->origin, &reply, load->arena, err);
        return false;
    }
    const enum gp_status status =
        link->message->kind == GP_REQUEST_METADATA
            ? gp_metadata_decode(load->arena, sample->data, sample->size_bytes, &metadata,
                                 err)
            : gp_response_decode(load->arena, sample->data, sample->size_bytes, 0,
                                 &response, err);
    if (status == GP_OK && response.error_message)
        (void)client_refusal(&load->origin, &response, 200, err);
    return status == GP_OK && !response.error_message;
}

/* A server that refuses the first request will refuse them all, unless it is busy. */
static bool is_refusal(const struct bench_loop *load, enum bench_error error, int status)
{
    if (load->measure.has_good)
        return false;
    return error == BENCH_BAD_ANSWER || (error == BENCH_STATUS && status >= 400 &&
                                         status < 500 && status != 408 && status != 429);
}

static void note_failure(struct bench_loop *load, enum bench_error error, int status)
{
    if (load->result->first_error.status == GP_OK)
        (void)gp_error_set(&load->result->first_error, GP_IO, "%s: %s",
                           load->origin.address.label, bench_error_name(error));
    load->net.wants_failure = false;
    load->is_refused = load->is_refused || is_refusal(load, error, status);
}

void bench_count(struct bench_loop *load, const struct bench_link *link,
                 enum bench_step step, enum bench_error error, int64_t now_ns)
{
    const bool is_sample = load->net.sample.link == link;
    const int status = step == BENCH_ANSWERED ? link->answer.status : 0;
    bool is_good = status == 200;
    if (step == BENCH_ANSWERED && !is_good)
        error = BENCH_STATUS;
    if (step == BENCH_ANSWERED && is_sample && !sample_is_good(load, link) && is_good) {
        error = BENCH_BAD_ANSWER;
        is_good = false;
    }
    if (is_sample)
        load->net.sample.link = NULL;
    load->measure.has_good = load->measure.has_good || is_good;
    if (load->settings->n_requests && link->due_ns < load->measure.start_ns)
        return; /* of the warm-up: exactly this many are counted */
    if (is_good) {
        measure_answer(&load->measure, link->message, link->due_ns, now_ns,
                       link->received_bytes);
        return;
    }
    measure_errors(&load->measure, error, status, 1);
    note_failure(load, error, status);
}

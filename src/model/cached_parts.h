/* model/cached_parts.h - what the parts of cached.c share. */
#ifndef GP_MODEL_CACHED_PARTS_H
#define GP_MODEL_CACHED_PARTS_H

#include "cache/flights.h"
#include "cache/store.h"
#include "model/inference.h"

/* So many rows times outputs are looked for in one request; one that has more is run as it is. */
enum { CACHED_MOST_PLACES = 4096 };

enum place_state {
    PLACE_NONE, /* of a unit that has an equal one before it, whose places are its own */
    PLACE_MISSING,
    PLACE_FOUND,    /* in `found`, until the look at the store ends */
    PLACE_MINE,     /* this request computes it, and `flight` says so to others */
    PLACE_COMPUTED, /* in the run that is over */
    PLACE_AWAITED,  /* another one does: `wait` */
    PLACE_HAD       /* copied to the outputs */
};

/* One output of one unit: what the cache knows or does not. */
struct cached_place {
    struct digest key;
    enum place_state state;
    struct store_found found;
    struct flight flight;
    struct flight_wait wait;
};

/* A row, or the request as a whole. */
struct cached_unit {
    struct digest digest; /* of its inputs and what they are for */
    uint32_t same;        /* the first that is equal to it, maybe itself */
    uint32_t run_row;     /* in the run, if it is run */
};

/* In the arena of its request. */
struct cached {
    struct awaiter awaiter; /* first */
    struct inference *inference;
    void (*go)(struct worker *worker, struct task *task); /* its owner's */
    uint64_t salt; /* of the model, when the keys were made */
    bool is_by_row;
    uint32_t n_units;
    uint32_t n_outputs;
    uint32_t n_ran; /* units, so far */
    struct cached_unit *units;
    struct cached_place *places; /* of unit u those from u * n_outputs on */
    struct engine_outputs had;   /* what is put together, while others are computed */

    /* The request as it came, and as it is run. */
    struct gp_tensor *inputs;
    const char *const *output_names;
    uint64_t n_rows;
    uint32_t n_run;           /* units in the run */
    uint32_t n_run_outputs;   /* 0: nothing is run */
    uint32_t *run_outputs;    /* which they are */
    bool is_whole;            /* all of it is run, as it came */
    struct pool_buffer rows;  /* of the run, gathered */
    struct pool_buffer *body; /* in whose place they are */
    bool was_settled;         /* before they were */
};

static inline struct cached_place *cached_place(const struct cached *c, uint32_t unit,
                                                uint32_t output)
{
    return &c->places[(size_t)c->units[unit].same * c->n_outputs + output];
}

/* --- cached_key.c --- */

/* The request's units and places, all missing. NULL if memory is short, or there would be too many. */
struct cached *cached_make(struct inference *inference, bool is_by_row);

/* --- cached_value.c: what is kept of a tensor, as bytes --- */

size_t cached_value_size(const struct gp_tensor *tensor);
void cached_value_write(const struct gp_tensor *tensor, unsigned char *bytes);

/* The tensor whose bytes these are: its data point into them and are as they were written, and its shape
 * is copied to shape[GP_MAX_RANK]. False if they are none. */
bool cached_value_read(const unsigned char *bytes, size_t size_bytes, int64_t *shape,
                       struct gp_tensor *tensor);

/* Copies the data of one that was read to where they can be used, its strings to memory of the run. */
bool cached_value_copy(const struct gp_tensor *value, struct engine_run *run, void *to,
                       struct gp_error *err);

/* --- cached_rows.c --- */

/* Copies what was found, or what has come, to all units that want it: those in this state. False if it
 * does not go together, or memory is short; the request is then to be run as it is. */
bool cached_take_known(struct cached *c, enum place_state state);

/* The same for what was computed in a run that is over. */
bool cached_take_computed(struct cached *c, const struct engine_outputs *computed);

/* The row of an output of the run, or all of it, as a tensor of its own. False if it has no such row. */
bool cached_unit_of(const struct cached *c, const struct engine_outputs *computed,
                    uint32_t run_output, uint32_t unit, struct gp_tensor *tensor);

/* Makes a run of the places that are mine. False if there is no memory for it. */
bool cached_set_run(struct cached *c);

/* The inference is again what it was; the rows that were gathered go by themselves. */
void cached_end_run(struct cached *c);
void cached_drop_rows(struct cached *c);

#endif

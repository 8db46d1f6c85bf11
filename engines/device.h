/* device.h - the option "device" of engines that know GPUs. Slots are spread over the
 * devices round robin: the model's slot i runs on the (i mod n)th. With --isolate this
 * process has one of the model's slots, so its list begins with that slot's device, and
 * what is beyond the number of slots is never used. */
#ifndef GP_ENGINES_DEVICE_H
#define GP_ENGINES_DEVICE_H

#include <graphpipe/engine.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_GRAMMAR "device=cpu, cuda, cuda:N or cuda:N,N,..."

/* The default of concurrent runs per device: one computes while the other copies. */
enum { DEVICE_SLOTS = 2, DEVICE_LIMIT = 64, DEVICE_MOST = 999 };

struct device_list {
    uint32_t n;                      /* 0: the CPU */
    int numbers[DEVICE_LIMIT];       /* this process's slot i runs on numbers[i % n] */
    char text[8 + 4 * DEVICE_LIMIT]; /* "cpu", "cuda:0,1": of all processes */
};

/* The value of option "device", or NULL. */
static inline const char *device_value(const char *option)
{
    return strncmp(option, "device=", 7) == 0 ? option + 7 : NULL;
}

static inline enum gp_status device_refuse(const char *value, const char *why,
                                           struct gp_error *err)
{
    return gp_error_set(err, GP_INVALID, "device=%.*s %s; there are " DEVICE_GRAMMAR,
                        gp_cut(value, 80), value, why);
}

/* "0,1" of "cuda:0,1". */
static inline enum gp_status device_read_numbers(struct device_list *list,
                                                 const char *value, const char *at,
                                                 struct gp_error *err)
{
    do {
        char *end;
        const long number = *at >= '0' && *at <= '9' ? strtol(at, &end, 10) : -1;
        if (number < 0 || number > DEVICE_MOST || (*end && *end != ','))
            return device_refuse(value, "is no list of devices", err);
        if (list->n == DEVICE_LIMIT)
            return device_refuse(value, "has too many devices", err);
        for (uint32_t i = 0; i < list->n; i++)
            if (list->numbers[i] == (int)number)
                return device_refuse(value, "names a device twice", err);
        list->numbers[list->n++] = (int)number;
        at = *end ? end + 1 : NULL;
    } while (at);
    return GP_OK;
}

/* Reads the last option that names a device; the CPU if none does. */
static inline enum gp_status device_read(struct device_list *list,
                                         const struct gp_engine_options *options,
                                         struct gp_error *err)
{
    int given[DEVICE_LIMIT];
    const char *value = "cpu";
    memset(list, 0, sizeof *list);
    for (size_t i = 0; i < options->n_options; i++)
        if (device_value(options->options[i]))
            value = device_value(options->options[i]);
    (void)snprintf(list->text, sizeof list->text, "cpu");
    if (strcmp(value, "cpu") == 0)
        return GP_OK;
    if (strncmp(value, "cuda", 4) != 0 || (value[4] && value[4] != ':'))
        return device_refuse(value, "is no device", err);
    const enum gp_status status =
        device_read_numbers(list, value, value[4] ? value + 5 : "0", err);
    int used = snprintf(list->text, sizeof list->text, "cuda");
    for (uint32_t i = 0; i < list->n; i++) {
        given[i] = list->numbers[i];
        used += snprintf(list->text + used, sizeof list->text - (size_t)used, "%c%d",
                         i ? ',' : ':', given[i]);
    }
    const uint32_t first = GP_HAS(options, first_slot) ? options->first_slot : 0;
    for (uint32_t i = 0; i < list->n; i++)
        list->numbers[i] = given[(first + i) % list->n];
    return status;
}

/* How many of them n_slots slots use. */
static inline uint32_t device_n_used(const struct device_list *list, uint32_t n_slots)
{
    return list->n < n_slots ? list->n : n_slots;
}

/* The number of slots: as many as requested, or the default. */
static inline uint32_t device_n_slots(const struct device_list *list,
                                      const struct gp_engine_options *options)
{
    const uint32_t n_cores = options->n_cores ? options->n_cores : 1;
    if (options->n_slots)
        return options->n_slots;
    return list->n ? DEVICE_SLOTS * list->n : n_cores;
}

#endif

/* cli/npy_head.h - the header of a .npy file, checked. */
#ifndef GP_CLI_NPY_HEAD_H
#define GP_CLI_NPY_HEAD_H

#include <graphpipe/tensor.h>

#include <stdbool.h>

struct npy_head {
    int64_t shape[GP_MAX_RANK];
    uint32_t rank;
    bool is_fortran;
    char descr[16]; /* "<f4"; the fields below are derived from it */
    char kind;      /* 'f', 'U' ... */
    enum gp_dtype dtype;
    bool is_big_endian;
    size_t item_bytes;
    size_t swap_bytes; /* the unit that the byte order applies to */
};

/* Reads it from the start of a file; *used is where the elements begin. */
enum gp_status npy_head_read(const unsigned char *bytes, size_t size_bytes,
                             struct npy_head *head, size_t *used, struct gp_error *err);

#endif

/* cli/npy.h - NumPy's .npy files as tensors: bytes in, a tensor out, and back.
 *
 * Files come from strangers, so the header's dictionary is parsed strictly and every
 * number is checked against the actual bytes; nothing in a file is ever executed (arrays
 * of Python objects, which are pickles, are refused). Reading copies only what cannot be
 * sent in place: Fortran order, big-endian numbers, misaligned data, and Unicode strings.
 * Messages do not name the file: the caller does. */
#ifndef GP_CLI_NPY_H
#define GP_CLI_NPY_H

#include <graphpipe/message.h>
#include <graphpipe/tensor.h>

/* Versions 1 to 3; types b1, i1 to i8, u1 to u8, f2 to f8, and S and U as strings. The
 * tensor borrows the bytes and the arena; it has no name. */
enum gp_status npy_decode(struct gp_arena *arena, const void *bytes, size_t size_bytes,
                          struct gp_tensor *tensor, struct gp_error *err);

/* Makes a file of version 1: parts in the arena, and the tensor's own data. Strings
 * become U, or S if they are not all UTF-8; bfloat16, which .npy lacks, becomes float32,
 * which holds all its values. GP_UNSUPPORTED for strings that end in NUL, which .npy
 * cannot hold. */
enum gp_status npy_encode(struct gp_arena *arena, const struct gp_tensor *tensor,
                          struct gp_encoding *out, struct gp_error *err);

#endif

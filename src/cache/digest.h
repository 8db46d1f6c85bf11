/* cache/digest.h - BLAKE3, by which models and rows are known: nobody can make two that have the same.
 *
 * Whatever is added is framed by the caller: numbers and texts that follow each other are added with
 * their lengths, so that no two sequences give the same bytes.
 */
#ifndef GP_CACHE_DIGEST_H
#define GP_CACHE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

struct digest {
    unsigned char bytes[32];
};

/* Of a digest that is being made; a copy goes on by itself. */
struct digester {
    uint64_t state[240];
};

void digest_begin(struct digester *digester);

/* Others than without the key, or with another one. */
void digest_begin_keyed(struct digester *digester, const struct digest *key);

void digest_add(struct digester *digester, const void *bytes, size_t size_bytes);
void digest_add_number(struct digester *digester, uint64_t number);
void digest_add_text(struct digester *digester, const char *text); /* its length first */

void digest_end(const struct digester *digester, struct digest *digest);

#endif

#include "cache/digest.h"

#include <blake3.h>
#include <string.h>

_Static_assert(sizeof(blake3_hasher) <= sizeof(struct digester), "the hasher fits");
_Static_assert(_Alignof(blake3_hasher) <= _Alignof(struct digester), "and is aligned");
_Static_assert(BLAKE3_OUT_LEN == sizeof(struct digest), "it makes whole digests");

static blake3_hasher *hasher_of(struct digester *digester)
{
    return (blake3_hasher *)digester->state;
}

void digest_begin(struct digester *digester)
{
    blake3_hasher_init(hasher_of(digester));
}

void digest_begin_keyed(struct digester *digester, const struct digest *key)
{
    blake3_hasher_init_keyed(hasher_of(digester), key->bytes);
}

void digest_add(struct digester *digester, const void *bytes, size_t size_bytes)
{
    blake3_hasher_update(hasher_of(digester), bytes, size_bytes); /* NULL if it is 0 */
}

void digest_add_number(struct digester *digester, uint64_t number)
{
    unsigned char bytes[sizeof number];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(number >> (8 * i));
    digest_add(digester, bytes, sizeof bytes);
}

void digest_add_text(struct digester *digester, const char *text)
{
    const size_t size = strlen(text);
    digest_add_number(digester, size);
    digest_add(digester, text, size);
}

void digest_end(const struct digester *digester, struct digest *digest)
{
    blake3_hasher_finalize((const blake3_hasher *)digester->state, digest->bytes,
                           sizeof digest->bytes);
}

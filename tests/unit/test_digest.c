/* BLAKE3's own vectors, whole and in pieces, and what the framing keeps apart. */
#include "cache/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The first 32 bytes of the answers of BLAKE3's test_vectors.json: the input is the bytes 0 to 250
 * over and over, the key is `key`. */
static const struct digest key = {"whats the Elvish word for friend"};

static const struct {
    size_t size;
    const char *plain, *keyed;
} vectors[] = {
    {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
     "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"},
    {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
     "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"},
    {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
     "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"},
    {31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
     "efa53b389ab67c593dba624d898d0f7353ab99e4ac9d42302ee64cbf9939a419"},
    {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
     "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7"},
};

static void assert_digest(const struct digester *digester, const char *hex)
{
    struct digest digest;
    char text[2 * sizeof digest + 1];
    digest_end(digester, &digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(text + 2 * i, 3, "%02x", digest.bytes[i]);
    assert_string_equal(text, hex);
}

static void the_official_vectors(void **state)
{
    (void)state;
    static unsigned char input[102400];
    for (size_t i = 0; i < sizeof input; i++)
        input[i] = (unsigned char)(i % 251);
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct digester plain, keyed, copy;
        digest_begin(&plain);
        digest_begin_keyed(&keyed, &key);
        digest_add(&plain, input, vectors[i].size);
        for (size_t at = 0, n; at < vectors[i].size; at += n) {
            n = vectors[i].size - at < 999 ? vectors[i].size - at : 999;
            digest_add(&keyed, input + at, n);
        }
        copy = plain;
        digest_add(&copy, "x", 1);
        assert_digest(&plain, vectors[i].plain);
        assert_digest(&keyed, vectors[i].keyed);
    }
}

static struct digest digest_of(const char *const *texts, const char *bytes)
{
    struct digester digester;
    struct digest digest;
    digest_begin(&digester);
    for (; *texts; texts++)
        digest_add_text(&digester, *texts);
    digest_add(&digester, bytes, strlen(bytes));
    digest_end(&digester, &digest);
    return digest;
}

static void texts_keep_apart(void **state)
{
    (void)state;
    const struct digest digests[] = {
        digest_of((const char *const[]){"ab", NULL}, "c"),
        digest_of((const char *const[]){"a", NULL}, "bc"),
        digest_of((const char *const[]){"ab", "c", NULL}, ""),
        digest_of((const char *const[]){"a", "bc", NULL}, ""),
        digest_of((const char *const[]){"abc", NULL}, ""),
        digest_of((const char *const[]){"", "abc", NULL}, ""),
        digest_of((const char *const[]){"abc", "", NULL}, ""),
        digest_of((const char *const[]){NULL}, "abc"),
    };
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++)
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(&digests[i], &digests[k], sizeof *digests);
}

static void numbers_are_eight_bytes_from_the_lowest(void **state)
{
    (void)state;
    struct digester number, bytes;
    struct digest of_number, of_bytes;
    digest_begin(&number);
    digest_begin(&bytes);
    digest_add_number(&number, UINT64_C(0x0807060504030201));
    digest_add(&bytes, "\1\2\3\4\5\6\7\10", 8);
    digest_end(&number, &of_number);
    digest_end(&bytes, &of_bytes);
    assert_memory_equal(&of_number, &of_bytes, sizeof of_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_official_vectors),
        cmocka_unit_test(texts_keep_apart),
        cmocka_unit_test(numbers_are_eight_bytes_from_the_lowest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Calls a fuzz target once for each file of the folders named, and for no bytes at all:
 * the corpus as a test, under any compiler. Each input lies in memory of exactly its
 * size, so that a sanitizer sees any step beyond it. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    puts(path); /* the last one named is the one that failed */
    FUZZ_CHECK(file && fseek(file, 0, SEEK_END) == 0);
    const size_t size = (size_t)ftell(file);
    unsigned char *bytes = fuzz_memory(size);
    rewind(file);
    FUZZ_CHECK(fread(bytes, 1, size, file) == size);
    fclose(file);
    (void)LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
}

static unsigned replay_folder(const char *folder)
{
    unsigned n = 0;
    DIR *entries = opendir(folder);
    FUZZ_CHECK(entries);
    for (const struct dirent *entry; (entry = readdir(entries));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        replay_file(path);
        n++;
    }
    closedir(entries);
    return n;
}

int main(int argc, char **argv)
{
    int result = argc < 2;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        const unsigned n = replay_folder(argv[i]);
        printf("%s: %u inputs\n", argv[i], n);
        result |= n == 0;
    }
    return result;
}

/* An engine that breaks its process on request, for engines that run in processes of their own. A
 * request's config says how:
 *
 *   null          reads address 0
 *   abort, exit   ends the process: signal 6, exit status 3
 *   hang          never returns
 *   until PATH    returns its inputs when that file is there, whatever happens
 *   input         writes to where the input lies
 *   inputs        ends unless mapping the inputs for writing is refused, in each way
 *   outputs       writes over all classes of the arena of outputs, and returns its inputs
 *   garbage       writes what is no record to the socket, and never returns
 *   close         closes the socket, and never returns
 *   say TYPE      sends a record of this type for this run, input 0 its body, and never returns
 *   print         prints input 0 on standard error, and returns it
 *   own           gives input 0 as memory of its own that it frees
 *   twice         sets output 0 to four sizes, the last that of input 0
 *   search        gives two numbers: of how many of the server's files it holds a descriptor or has a
 *                 mapping, and how often input 0, each byte of it inverted, is in those that it can read
 *
 * anything else returns the inputs. With the engine option die-if=PATH it does not survive opening
 * while that file is there, with fail-if=PATH it fails then. */
#include <graphpipe/engine.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* As src/engine/isolate_child.h and src/base/pool.c have them. */
enum { SOCKET_FD = 3, INPUTS_FD, OUTPUTS_FD, N_CLASSES = 20 };

static bool is_there(const struct gp_engine_options *options, const char *key)
{
    const size_t n = strlen(key);
    for (size_t i = 0; i < options->n_options; i++)
        if (strncmp(options->options[i], key, n) == 0)
            return access(options->options[i] + n, F_OK) == 0;
    return false;
}

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    static uint64_t n_runs;
    if (is_there(options, "die-if="))
        abort();
    if (is_there(options, "fail-if="))
        return gp_error_set(err, GP_ENGINE, "the wild engine does not open");
    if (options->log)
        options->log(options->log_context, GP_LOG_INFO, "the wild engine opens");
    *model = &n_runs;
    return GP_OK;
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const int64_t any[] = {-1};
    static const struct gp_io io = {
        .name = "x", .description = "", .shape = any, .rank = 1, .dtype = GP_NULL};
    (void)model;
    (void)err;
    description->flags = GP_ANY_INPUTS;
    description->n_slots = 1;
    description->summary = "wild";
    description->version = "";
    description->description = "";
    description->inputs = &io;
    description->n_inputs = 1;
    description->outputs = &io;
    description->n_outputs = 1;
    return GP_OK;
}

static void hang(void)
{
    for (;;)
        pause();
}

/* What an engine with a wild pointer might do to the memory that it shares with the server. */
static void scribble(void)
{
    struct stat file;
    if (fstat(OUTPUTS_FD, &file) != 0)
        abort();
    const size_t size = (size_t)file.st_size, span = size / N_CLASSES;
    unsigned char *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_NORESERVE, OUTPUTS_FD, 0);
    if (base == MAP_FAILED)
        abort();
    for (size_t i = 0; i < N_CLASSES; i++)
        memset(base + i * span, 0xa5, 1 << 20);
    munmap(base, size);
}

/* With the rights that it was given; it could give itself others, as the server's user. */
static void want_inputs(const void *input)
{
    const uintptr_t page = (uintptr_t)input & ~(uintptr_t)4095;
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, INPUTS_FD, 0) !=
            MAP_FAILED ||
        mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) == 0 ||
        write(INPUTS_FD, "x", 1) >= 0 || ftruncate(INPUTS_FD, 0) == 0)
        abort();
}

static void write_all(const void *bytes, size_t size_bytes)
{
    if (write(SOCKET_FD, bytes, size_bytes) != (ssize_t)size_bytes)
        abort();
    hang();
}

static void say(uint32_t type, uint64_t id, const struct gp_tensor *body)
{
    unsigned char record[4096];
    const uint32_t head[] = {type, (uint32_t)body->size_bytes};
    memcpy(record, head, sizeof head);
    memcpy(record + sizeof head, &id, sizeof id);
    memcpy(record + sizeof head + sizeof id, body->data, body->size_bytes);
    write_all(record, sizeof head + sizeof id + body->size_bytes);
}

static void break_process(const char *config, uint64_t id, const struct gp_call *call)
{
    volatile unsigned char *const nothing = NULL;
    if (strcmp(config, "null") == 0)
        (void)*nothing;
    else if (strcmp(config, "abort") == 0)
        abort();
    else if (strcmp(config, "exit") == 0)
        _exit(3);
    else if (strcmp(config, "hang") == 0)
        hang();
    else if (strncmp(config, "until ", 6) == 0)
        while (access(config + 6, F_OK) != 0)
            usleep(1000);
    else if (strcmp(config, "input") == 0)
        *(volatile unsigned char *)(uintptr_t)call->inputs[0].data = 1;
    else if (strcmp(config, "inputs") == 0)
        want_inputs(call->inputs[0].data);
    else if (strcmp(config, "outputs") == 0)
        scribble();
    else if (strcmp(config, "garbage") == 0)
        write_all("this is no record at all", 24);
    else if (strcmp(config, "close") == 0)
        close(SOCKET_FD), hang();
    else if (strcmp(config, "print") == 0)
        (void)!fwrite(call->inputs[0].data, 1, call->inputs[0].size_bytes, stderr);
    else if (strncmp(config, "say ", 4) == 0)
        say((uint32_t)atoi(config + 4), id, &call->inputs[0]);
}

static enum gp_status give_own(const struct gp_tensor *input, struct gp_outputs *outputs,
                               struct gp_error *err)
{
    struct gp_tensor own = *input;
    void *copy = malloc(input->size_bytes + 1);
    if (!copy)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a copy");
    own.data = memcpy(copy, input->data, input->size_bytes);
    return gp_outputs_adopt(outputs, 0, &own, free, copy, err);
}

static enum gp_status set_twice(const struct gp_tensor *input, struct gp_outputs *outputs,
                                struct gp_error *err)
{
    const int64_t sizes[] = {100000, 10, 3000000, (int64_t)input->size_bytes};
    unsigned char *data = NULL;
    for (int i = 0; i < 4; i++) {
        data = gp_outputs_alloc(outputs, 0, GP_UINT8, &sizes[i], 1, err);
        if (!data)
            return err->status;
        memset(data, 0xee, (size_t)sizes[i]);
    }
    memcpy(data, input->data, input->size_bytes);
    return GP_OK;
}

/* --- what it can see of the server's memory --- */

enum { MOST_FILES = 64 };

struct search {
    unsigned char mark[64];
    size_t n_mark;
    unsigned long files[MOST_FILES]; /* inodes */
    int64_t found[2];                /* files, marks */
};

static bool is_pools(const char *name)
{
    return strstr(name, "memfd:graphpipe-pool") != NULL;
}

static bool add_file(struct search *search, unsigned long inode)
{
    const int64_t n = search->found[0];
    for (int64_t i = 0; i < n; i++)
        if (search->files[i] == inode)
            return false;
    if (n == MOST_FILES)
        abort();
    search->files[search->found[0]++] = inode;
    return true;
}

/* Where the file has pages. */
static void read_file(struct search *search, int fd)
{
    static unsigned char bytes[1 << 20];
    off_t at = 0;
    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        const ssize_t n = pread(fd, bytes, sizeof bytes, at);
        for (ssize_t i = 0; i + (ssize_t)search->n_mark <= n; i++)
            search->found[1] += memcmp(bytes + i, search->mark, search->n_mark) == 0;
        at += n > 0 ? n : 4096;
    }
}

static void search_descriptors(struct search *search)
{
    char path[32], name[256];
    struct stat file;
    for (int fd = 0; fd < 1024; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        const ssize_t n = readlink(path, name, sizeof name - 1);
        if (n <= 0)
            continue;
        name[n] = '\0';
        if (is_pools(name) && fstat(fd, &file) == 0 && add_file(search, file.st_ino))
            read_file(search, fd);
    }
}

static void search_mappings(struct search *search)
{
    char line[512];
    unsigned long inode;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        abort();
    while (fgets(line, sizeof line, maps))
        if (is_pools(line) && sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1)
            (void)add_file(search, inode);
    fclose(maps);
}

static enum gp_status search_all(const struct gp_tensor *input,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    static struct search search;
    static const int64_t shape[] = {2};
    search = (struct search){.n_mark = input->size_bytes};
    if (search.n_mark > sizeof search.mark)
        abort();
    for (size_t i = 0; i < search.n_mark; i++)
        search.mark[i] = (unsigned char)~((const unsigned char *)input->data)[i];
    search_descriptors(&search);
    search_mappings(&search);
    void *to = gp_outputs_alloc(outputs, 0, GP_INT64, shape, 1, err);
    if (!to)
        return err->status;
    memcpy(to, search.found, sizeof search.found);
    return GP_OK;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    uint64_t *n_runs = model;
    (void)slot;
    break_process(call->config, ++*n_runs, call);
    if (strcmp(call->config, "own") == 0)
        return give_own(&call->inputs[0], outputs, err);
    if (strcmp(call->config, "twice") == 0)
        return set_twice(&call->inputs[0], outputs, err);
    if (strcmp(call->config, "search") == 0)
        return search_all(&call->inputs[0], outputs, err);
    for (uint32_t i = 0; i < call->n_inputs; i++)
        if (gp_outputs_adopt(outputs, i, &call->inputs[i], NULL, NULL, err) != GP_OK)
            return err->status;
    return GP_OK;
}

static void close_model(void *model)
{
    (void)model;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "wild",
    .version = "1.2",
    .open = open_model,
    .describe = describe_model,
    .run = run,
    .close = close_model,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}

/* The kernel knows the other end of a unix socket. For TCP it lists all sockets of this
 * machine: if the other end of our connection is among them the server runs here, and its
 * processes are those that hold the socket that listens on its port. A process's CPU
 * clock counts nanoseconds, and can be read without any permission. */
#include "cli/bench_cpu.h"

#include "base/clock.h"

#include <ctype.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENING = 0x0a, MAX_SOCKETS = 64 };

/* The inodes of the sockets that listen on the server's port. */
struct sockets {
    unsigned long inodes[MAX_SOCKETS];
    size_t n;
    bool has_other_end; /* of our connection: the server is on this machine */
};

static void add_process(struct bench_cpu *cpu, int32_t pid)
{
    if (cpu->n < BENCH_MAX_PROCESSES &&
        clock_getcpuclockid(pid, &cpu->clocks[cpu->n]) == 0)
        cpu->n++;
}

static unsigned port_of(const struct sockaddr_storage *name)
{
    if (name->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)name)->sin_port);
    if (name->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)name)->sin6_port);
    return 0;
}

/* Searches one of the kernel's tables: "sl local:port remote:port state ... inode". */
static void read_table(struct sockets *sockets, const char *path, unsigned server_port,
                       unsigned own_port)
{
    char line[512];
    FILE *table = fopen(path, "re");
    while (table && fgets(line, sizeof line, table)) {
        unsigned local, remote, state;
        unsigned long inode;
        if (sscanf(line,
                   " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%x %x %*s %*s %*s %*s %*s %lu",
                   &local, &remote, &state, &inode) != 4 ||
            local != server_port)
            continue;
        if (state == LISTENING && sockets->n < MAX_SOCKETS)
            sockets->inodes[sockets->n++] = inode;
        if (state != LISTENING && remote == own_port)
            sockets->has_other_end = true;
    }
    if (table)
        (void)fclose(table);
}

/* True if the process has one of the sockets open. */
static bool holds_one(const struct sockets *sockets, const char *pid)
{
    char path[64], target[64];
    (void)snprintf(path, sizeof path, "/proc/%.*s/fd", 20, pid);
    DIR *folder = opendir(path);
    bool is_found = false;
    for (struct dirent *entry; folder && !is_found && (entry = readdir(folder));) {
        const ssize_t size =
            readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
        target[size > 0 ? size : 0] = '\0';
        if (strncmp(target, "socket:[", 8) != 0)
            continue;
        const unsigned long inode = strtoul(target + 8, NULL, 10);
        for (size_t i = 0; i < sockets->n && !is_found; i++)
            is_found = sockets->inodes[i] == inode;
    }
    if (folder)
        (void)closedir(folder);
    return is_found;
}

static void find_tcp(struct bench_cpu *cpu, int fd)
{
    struct sockaddr_storage server = {0}, own = {0};
    socklen_t server_size = sizeof server, own_size = sizeof own;
    struct sockets sockets = {0};
    if (getpeername(fd, (struct sockaddr *)&server, &server_size) != 0 ||
        getsockname(fd, (struct sockaddr *)&own, &own_size) != 0)
        return;
    read_table(&sockets, "/proc/net/tcp", port_of(&server), port_of(&own));
    read_table(&sockets, "/proc/net/tcp6", port_of(&server), port_of(&own));
    DIR *processes = sockets.has_other_end ? opendir("/proc") : NULL;
    for (struct dirent *entry; processes && (entry = readdir(processes));)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            holds_one(&sockets, entry->d_name))
            add_process(cpu, (int32_t)strtol(entry->d_name, NULL, 10));
    if (processes)
        (void)closedir(processes);
}

void bench_cpu_find(struct bench_cpu *cpu, int fd, int32_t pid)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    struct sockaddr_storage own = {0};
    socklen_t own_size = sizeof own;
    cpu->n = 0;
    if (pid)
        add_process(cpu, pid);
    else if (getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
             own.ss_family != AF_UNIX)
        find_tcp(cpu, fd);
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0)
        add_process(cpu, peer.pid);
}

int64_t bench_cpu_ns(const struct bench_cpu *cpu)
{
    int64_t sum_ns = 0;
    for (uint32_t i = 0; i < cpu->n; i++) {
        struct timespec used;
        if (clock_gettime(cpu->clocks[i], &used) != 0)
            return -1; /* it has ended */
        sum_ns += (int64_t)used.tv_sec * CLOCK_S + used.tv_nsec;
    }
    return cpu->n ? sum_ns : -1;
}

/* server/signals.h - the signals of a process that only serves.
 *
 * The caller's thread takes them while the server is made and runs in another, so there are no
 * handlers. The first SIGTERM or SIGINT drains the server; a second one, or one while the model
 * loads, ends the process at once with 128 + its number. A process that has not ended a second
 * after the drain limit is ended, whatever holds it up. SIGHUP reloads; SIGUSR1 and SIGUSR2 do
 * nothing. As process 1 of a container, or as a subreaper, the process waits for the orphans that
 * the kernel gives it.
 */
#ifndef GP_SERVER_SIGNALS_H
#define GP_SERVER_SIGNALS_H

#include <graphpipe/server.h>

#include <stdbool.h>

struct signals_server {
    /* Returns NULL and sets *err on failure. */
    struct gp_server *(*create)(const void *arg, struct gp_error *err);
    /* For a SIGHUP, in a thread of its own, one at a time: reads the configuration again and gives
     * it to gp_server_reload; false, and logged, if that fails. It should end soon when the server
     * drains. NULL: SIGHUP is for the files of the models alone. */
    bool (*reread)(const void *arg, struct gp_server *server);
    const void *arg; /* of both */
};

/* Makes a server, runs it until a signal, and frees it. On GP_DEADLINE a run never came back: what
 * it uses is not freed, and the process must end by _exit. SIGPIPE and SIGXFSZ are ignored from now
 * on unless the process has handlers for them, and the signals taken here stay blocked. */
enum gp_status signals_serve(const struct signals_server *with, struct gp_error *err);

/* Makes a write to a pipe without a reader, or beyond the limit on a file's size, fail instead of
 * ending the process. */
void signals_ignore_writes(void);

#endif

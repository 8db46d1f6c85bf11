/* libcurl does the talking: HTTP, TLS, redirects, proxies according to its environment
 * variables. This file decides what it may do (http and https only, and https never leads
 * to http), how much may come and how slowly, and what is kept of the answer. */
#include "cli/download.h"

#include "base/clock.h"
#include "base/curl.h"
#include "cli/file.h"

#include <graphpipe/version.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { MIN_BYTES_PER_SECOND = 1000, MAX_REDIRECTS = 10, MS_BETWEEN_LINES = 200 };

/* Shared by the callbacks. */
struct transfer {
    struct download *download;
    struct curl curl;
    CURL *easy;
    struct gp_error *err; /* why a callback ended the transfer; GP_OK: none did */
    char conditions[sizeof((struct download *)0)->conditions]; /* for the next download */
    int64_t began_ns;
    int64_t told_ns; /* state of the progress line */
    bool has_terminal;
};

void download_write_size(char *text, size_t text_size, uint64_t n_bytes)
{
    const bool is_small = n_bytes < 1000000;
    (void)snprintf(text, text_size, "%.1f %s", (double)n_bytes / (is_small ? 1e3 : 1e6),
                   is_small ? "kB" : "MB");
}

/* --- callbacks
 * ------------------------------------------------------------------------ */

/* Keeps only what a header field may hold. libcurl sends what it is given, and a line
 * break from a server would end the field for some readers. */
static bool is_value(const char *value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f)
            return false;
    return true;
}

/* Turns "ETag: x" of the answer into "If-None-Match: x" for the next request. */
static void keep_condition(struct transfer *transfer, const char *line, size_t size,
                           const char *field, const char *condition)
{
    const size_t n = strlen(field), used = strlen(transfer->conditions);
    if (size <= n || strncasecmp(line, field, n) != 0)
        return;
    const char *value = line + n, *end = line + size;
    value += strspn(value, " \t");
    while (end > value && strchr(" \t\r\n", end[-1]))
        end--;
    if (!is_value(value, (size_t)(end - value)))
        return;
    const size_t room = sizeof transfer->conditions - used;
    const int added = snprintf(transfer->conditions + used, room, "%s%.*s\n", condition,
                               (int)(end - value), value);
    if (added < 0 || (size_t)added >= room)
        transfer->conditions[used] = '\0';
}

/* Called for each line of a head, ended by '\n'; those of redirects come first. */
static size_t take_head(char *line, size_t one, size_t size, void *arg)
{
    struct transfer *transfer = arg;
    (void)one;
    if (size > 5 && strncmp(line, "HTTP/", 5) == 0)
        transfer->conditions[0] = '\0';
    keep_condition(transfer, line, size, "ETag:", "If-None-Match: ");
    keep_condition(transfer, line, size, "Last-Modified:", "If-Modified-Since: ");
    return size;
}

/* `size` is the size according to the server, or "". */
static void refuse_size(struct transfer *transfer, const char *size)
{
    const struct download *download = transfer->download;
    char most[32];
    download_write_size(most, sizeof most, download->max_bytes);
    gp_error_set(transfer->err, GP_TOO_LARGE,
                 "%s: the model is larger than %s%s%s; graphpipe serve --max-model sets "
                 "the limit",
                 download->shown, most, *size ? ": it has " : "", size);
}

/* Called before the first byte; false when the answer is not a model or is too large. */
static bool accept_answer(struct transfer *transfer)
{
    const struct download *download = transfer->download;
    curl_off_t size = -1;
    long http = 0;
    char text[32] = "";
    (void)transfer->curl.easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http);
    if (http != 200)
        return false;
    (void)transfer->curl.easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T,
                                      &size);
    if (size > 0)
        download_write_size(text, sizeof text, (uint64_t)size);
    if (size > 0 && (uint64_t)size > download->max_bytes) {
        refuse_size(transfer, text);
        return false;
    }
    transfer->began_ns = clock_now_ns();
    if (!transfer->has_terminal)
        log_line(download->log, GP_LOG_INFO, "fetching %s%s%s", download->shown,
                 *text ? ", " : "", text);
    return true;
}

static size_t take_body(char *bytes, size_t one, size_t size, void *arg)
{
    struct transfer *transfer = arg;
    struct download *download = transfer->download;
    (void)one;
    if (size == 0)
        return 0;
    if (download->n_bytes == 0 && !accept_answer(transfer))
        return 0;
    download->n_bytes += size;
    if (download->n_bytes > download->max_bytes) {
        refuse_size(transfer, "");
        return 0;
    }
    if (file_put(download->fd, bytes, size))
        return size;
    gp_error_set(transfer->err, GP_UNAVAILABLE, "%s: cannot write the model: %s",
                 download->shown, strerror(errno));
    return 0;
}

/* Called about once a second, or more often. On a terminal it is one line that is overwritten again
 * and again. */
static int tell_progress(void *arg, curl_off_t expected, curl_off_t come, curl_off_t up,
                         curl_off_t sent)
{
    struct transfer *transfer = arg;
    const struct download *download = transfer->download;
    const int64_t now = clock_now_ns();
    (void)up, (void)sent;
    if (download->is_ending && atomic_load(download->is_ending)) {
        gp_error_set(transfer->err, GP_UNAVAILABLE,
                     "%s: not fetched, the server is ending", download->shown);
        return 1;
    }
    if (!transfer->has_terminal || download->n_bytes == 0 ||
        now - transfer->told_ns < MS_BETWEEN_LINES * CLOCK_MS)
        return 0;
    const double seconds = (double)(now - transfer->began_ns) / 1e9;
    char size[32], percent[16] = "";
    download_write_size(size, sizeof size, (uint64_t)come);
    if (expected > 0)
        (void)snprintf(percent, sizeof percent, "%3d%%  ", (int)(come * 100 / expected));
    (void)dprintf(download->log->fd, "\r%s%s  %.1f MB/s\033[K", percent, size,
                  seconds > 0 ? (double)come / 1e6 / seconds : 0);
    transfer->told_ns = now;
    return 0;
}

/* --- the transfer
 * --------------------------------------------------------------------- */

/* False if libcurl does not know one of them, since none may be missing. */
static bool set_options(struct transfer *transfer, struct curl_slist *fields,
                        char *message)
{
    const struct download *download = transfer->download;
    const bool is_https = strncasecmp(download->url, "https:", 6) == 0;
    const long protocols = is_https ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS;
    const long timeout_s = (long)(download->timeout_ms + 999) / 1000;
    int trouble = 0;
#define SET(option, value)                                                               \
    trouble |= (int)transfer->curl.easy_setopt(transfer->easy, CURLOPT_##option, (value))
    SET(URL, download->url);
    SET(PROTOCOLS, protocols);
    SET(REDIR_PROTOCOLS, protocols);
    SET(FOLLOWLOCATION, 1L);
    SET(MAXREDIRS, (long)MAX_REDIRECTS);
    SET(SSL_VERIFYPEER, 1L);
    SET(SSL_VERIFYHOST, 2L);
    SET(NOSIGNAL, 1L);
    SET(CONNECTTIMEOUT_MS, (long)download->timeout_ms);
    SET(LOW_SPEED_LIMIT, (long)MIN_BYTES_PER_SECOND);
    SET(LOW_SPEED_TIME, timeout_s);
    SET(USERAGENT, "graphpipe/" GP_VERSION);
    SET(HTTPHEADER, fields);
    SET(ERRORBUFFER, message);
    SET(HEADERFUNCTION, take_head);
    SET(HEADERDATA, transfer);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, transfer);
    SET(XFERINFOFUNCTION, tell_progress);
    SET(XFERINFODATA, transfer);
    SET(NOPROGRESS, 0L);
#undef SET
    return trouble == 0;
}

/* True if a later try may succeed. */
static bool is_passing(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    default:
        return false;
    }
}

/* Judges the answer once it is complete. */
static enum gp_status judge(struct transfer *transfer, CURLcode code, const char *message)
{
    struct download *download = transfer->download;
    struct gp_error *err = transfer->err;
    long http = 0;
    (void)transfer->curl.easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http);
    if (err->status != GP_OK)
        return err->status;
    const bool is_ours =
        code == CURLE_WRITE_ERROR && http != 200; /* refused by accept_answer */
    if (code != CURLE_OK && !is_ours)
        return gp_error_set(err, is_passing(code) ? GP_UNAVAILABLE : GP_IO, "%s: %s",
                            download->shown,
                            *message ? message : transfer->curl.easy_strerror(code));
    if (http == 304 && download->conditions[0]) {
        download->is_unchanged = true;
        return GP_OK;
    }
    if (http != 200)
        return gp_error_set(err, http >= 500 ? GP_UNAVAILABLE : GP_IO,
                            "%s: the server answered with status %ld", download->shown,
                            http);
    if (download->n_bytes == 0)
        return gp_error_set(err, GP_IO, "%s: the server sent an empty answer",
                            download->shown);
    memcpy(download->conditions, transfer->conditions, sizeof download->conditions);
    return GP_OK;
}

/* Sets the conditional header fields; the file with them may be from another release. */
static struct curl_slist *list_conditions(const struct curl *curl, char *lines)
{
    struct curl_slist *list = NULL;
    char *rest = NULL;
    for (char *line = strtok_r(lines, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        struct curl_slist *more =
            is_value(line, strlen(line)) ? curl->slist_append(list, line) : NULL;
        list = more ? more : list;
    }
    return list;
}

enum gp_status download_run(struct download *download, struct gp_error *err)
{
    char message[CURL_ERROR_SIZE] = "", lines[sizeof download->conditions];
    struct log *log = download->log;
    struct transfer transfer = {.download = download, .err = err};
    transfer.has_terminal =
        log->format == GP_LOG_TEXT && log->level >= GP_LOG_INFO && isatty(log->fd) == 1;
    err->status = GP_OK;
    if (!curl_open(&transfer.curl, "fetching a model", err))
        return err->status;
    const struct curl *curl = &transfer.curl;
    memcpy(lines, download->conditions, sizeof lines);
    struct curl_slist *fields = list_conditions(curl, lines);
    transfer.easy = curl->easy_init();
    enum gp_status status;
    struct sigaction before;
    const struct sigaction ignored = {.sa_handler = SIG_IGN};
    /* TLS writes to it like to any descriptor */
    (void)sigaction(SIGPIPE, &ignored, &before);
    if (!transfer.easy || !set_options(&transfer, fields, message))
        status =
            gp_error_set(err, GP_UNSUPPORTED, "this libcurl is too old to fetch a model");
    else
        status = judge(&transfer, curl->easy_perform(transfer.easy), message);
    (void)sigaction(SIGPIPE, &before, NULL);
    if (transfer.told_ns)
        (void)dprintf(log->fd, "\r\033[K");
    curl->easy_cleanup(transfer.easy);
    curl->slist_free_all(fields);
    return status;
}

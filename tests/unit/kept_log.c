#include "kept_log.h"

#include "lines.h"

#include <string.h>

void kept_log_begin(struct log *log)
{
    *log = (struct log){.fd = 1, .level = GP_LOG_INFO};
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->added, NULL);
}

void kept_log_end(struct log *log)
{
    text_finish(&log->pending);
    pthread_cond_destroy(&log->added);
    pthread_mutex_destroy(&log->lock);
}

/* "2026-11-30T12:00:00.000Z error: ..." */
static size_t time_size(const char *line)
{
    static const char form[] = "0000-00-00T00:00:00.000Z ";
    for (size_t i = 0; form[i]; i++)
        if (form[i] == '0' ? line[i] < '0' || line[i] > '9' : line[i] != form[i])
            return 0;
    return sizeof form - 1;
}

void assert_logged(struct log *log, const char *wanted)
{
    struct text lines = {0}, all;
    pthread_mutex_lock(&log->lock);
    all = log->pending;
    log->pending = (struct text){0};
    pthread_mutex_unlock(&log->lock);
    for (const char *line = all.data; line && *line;) {
        line += time_size(line);
        const size_t n = strcspn(line, "\n") + 1;
        text_add(&lines, line, n);
        line += n;
    }
    assert_lines(lines.data ? lines.data : "", wanted);
    text_finish(&lines);
    text_finish(&all);
}

bool kept_log_has(struct log *log, const char *text)
{
    pthread_mutex_lock(&log->lock);
    const bool has_it = log->pending.size_bytes && strstr(log->pending.data, text);
    pthread_mutex_unlock(&log->lock);
    return has_it;
}

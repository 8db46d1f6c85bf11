/* Two played children of an isolate, whose supervisor runs by a clock that the test turns. A child that
 * ends cannot start again: its program is nowhere. */
#ifndef GP_TESTS_SUPERVISED_H
#define GP_TESTS_SUPERVISED_H

#include "played_child.h"
#include "turned_clock.h"

enum { SUPERVISED = 2 };

#define SUPERVISED_BEGIN_NS (1000 * CLOCK_S)
#define SUPERVISED_HANG_NS (3600 * CLOCK_S)

struct supervised {
    struct isolate isolate;
    struct child children[SUPERVISED];
    struct played_child peers[SUPERVISED];
    struct pollfd looks[2 * SUPERVISED + 1];
    bool was_supervised[SUPERVISED];
    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t changed;
    char lines[1 << 16]; /* of the log, those that were not awaited yet */
    unsigned n_lines;
    unsigned n_told;
};

/* An open isolate whose children are ready, and idle. The supervisor has not started, so that what a
 * test does is not seen in parts. */
void supervised_begin(struct supervised *s);
void supervised_start(struct supervised *s);

/* Asks the supervisor to end, and waits until it has; then what is left. */
void supervised_ask_to_end(struct supervised *s);
void supervised_join(struct supervised *s);
void supervised_end(struct supervised *s);

/* Waits for a line with these words, and drops it and those before it. */
void supervised_await(struct supervised *s, const char *words);

/* Waits for the next of the news. */
void supervised_await_news(struct supervised *s, enum isolate_news news, uint32_t slot);

/* So many lines since the beginning; and how often it was told that there are news. */
unsigned supervised_n_lines(struct supervised *s);
unsigned supervised_n_told(struct supervised *s);

/* As the server does after a run: it was left behind, or it ended. */
void supervised_make_late(struct supervised *s, uint32_t slot);
void supervised_lose(struct supervised *s, uint32_t slot);

/* Turns the clock, and has the supervisor look. */
void supervised_turn(struct supervised *s, int64_t ns);

/* Waits until it has done all that has come, and that is due. */
void supervised_catch_up(struct supervised *s);

#endif

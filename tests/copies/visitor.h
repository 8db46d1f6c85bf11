/* A visitor with a bare socket, which sends the same requests in different ways. */
#ifndef GP_TESTS_COPIES_VISITOR_H
#define GP_TESTS_COPIES_VISITOR_H

#include <stddef.h>

enum way {
    WHOLE,  /* with one write, all requests */
    PIECES, /* of odd sizes, with pauses */
    EXPECT, /* the head alone, until the server asks for the body */
    ONE_CHUNK,
    CHUNK_PIECES, /* the same in such pieces */
    LARGE_CHUNKS,
    SMALL_CHUNKS
};

struct visitor {
    int fd;
    char *bytes; /* received, up to `end`; answers before `at` have been read */
    size_t at;
    size_t end;
};

/* `address` is "unix:PATH". No wait for the server lasts longer than some seconds. */
void visitor_open(struct visitor *visitor, const char *address);
void visitor_close(struct visitor *visitor);

/* Sends a message n times. */
void visitor_ask(struct visitor *visitor, enum way way, const char *message, size_t size,
                 size_t n);

/* Receives the next answer, which has to be good: its body. */
const char *visitor_answer(struct visitor *visitor, size_t *size);

#endif

#include "server/news.h"

#include <sys/epoll.h>

/* Lives in the server's arena, as long as its model. */
struct news {
    struct source source; /* first */
    struct model *model;
};

static void take_news(struct worker *worker, struct source *source)
{
    struct news *news = (struct news *)(void *)source;
    slots_take_news(&news->model->slots, worker);
}

enum gp_status news_watch(struct gp_server *server, struct model *model,
                          struct gp_error *err)
{
    struct news *news = gp_arena_alloc(server->arena, sizeof *news);
    if (!news)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the news of a model");
    *news =
        (struct news){{.serve = take_news, .fd = isolate_news_fd(model->isolate)}, model};
    if (poller_add(&server->poller, &news->source, EPOLLIN | EPOLLET))
        return GP_OK;
    return gp_error_set(err, GP_IO, "cannot watch the engine's processes");
}

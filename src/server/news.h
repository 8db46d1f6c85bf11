/* server/news.h - what isolated models say between runs: children that end and start. */
#ifndef GP_SERVER_NEWS_H
#define GP_SERVER_NEWS_H

#include "server/server.h"

/* From now on the model's news are taken by a thread that polls. */
enum gp_status news_watch(struct gp_server *server, struct model *model,
                          struct gp_error *err);

#endif

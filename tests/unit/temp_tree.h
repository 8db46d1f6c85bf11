/* A temporary folder for each test, and files in it by their paths from there. */
#ifndef GP_TESTS_TEMP_TREE_H
#define GP_TESTS_TEMP_TREE_H

extern char tree_root[64];

/* For cmocka: an empty folder, and its end. */
int tree_make(void **state);
int tree_remove(void **state);

/* Makes a file, a folder or a symbolic link, and the folders on the way. A path begins with "/". */
void tree_put(const char *path, const char *content);
void tree_folder(const char *path);
void tree_link(const char *path, const char *target);

/* Moves, replacing what is there; and removes a file or all of a folder. */
void tree_move(const char *from, const char *to);
void tree_drop(const char *path);

/* The whole path; valid until the fourth call from now. */
const char *tree_path(const char *path);

#endif

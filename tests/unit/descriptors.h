/* A process that has only few descriptors left. */
#ifndef GP_TESTS_DESCRIPTORS_H
#define GP_TESTS_DESCRIPTORS_H

/* How many are open. */
unsigned descriptors_count(void);

/* Lowers `ulimit -n` to n more than up to the first that is free, until it is undone. */
void descriptors_limit(unsigned n);
void descriptors_unlimit(void);

#endif

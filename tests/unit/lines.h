/* Text that a test compares line by line. */
#ifndef GP_TESTS_LINES_H
#define GP_TESTS_LINES_H

/* The text has these lines and no others. A "*" in a wanted line stands for anything. */
void assert_lines(const char *text, const char *wanted);

#endif

/* A test ends at what does not hold, and says what the library said last. */
#include <stdio.h>
#include <stdlib.h>

#include "bayeslora.h"

#define EXPECT(condition)                                                                         \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, bl_last_error()); \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* Every function once, with good arguments. */
#include "every.h"

int main(void) {
    every_function();
    return 0;
}

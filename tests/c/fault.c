#include <stdint.h>

uint8_t commit_fault(void);

/* Overwrites what the stack still holds of pointers. */
static int scrub(void) {
    volatile char stack[4096];
    for (unsigned i = 0; i < sizeof stack; i++) stack[i] = (char)i;
    return stack[7];
}

int main(void) {
    volatile uint8_t result = commit_fault();
    return result == 255 || scrub() == 100;
}

/* bcryptprimitives.dll, which Rust's standard library asks for random bytes and wine 8 does not have. For tests alone. */
#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *bytes, SIZE_T length) {
    return RtlGenRandom(bytes, (ULONG)length);
}

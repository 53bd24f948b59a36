/* The U-net's convolutions for CPUs with AVX-512 or AVX2; each function does the work of one thread.
 *
 * Plain C functions, called through ctypes: no Python API, so one build serves every Python. Built for each
 * instruction set in turn; which one runs is decided where it runs.
 */
#include <stdint.h>

#define POINT_A 0.70710678118654752f
#define POINT_B 1.41421356237309505f

/* Keeps the compiler from computing 36 addresses ahead of a loop and spilling them. */
#define KEEP_IN_REGISTER(value) __asm__("" : "+r"(value))

#if defined(__x86_64__) && defined(__GNUC__)

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma")
#define LANES 16
#define ROWS 8
#define NAMED(name) name##_avx512
#include "convolution_kernels.h"
#undef LANES
#undef ROWS
#undef NAMED
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define LANES 8
#define ROWS 4
#define NAMED(name) name##_avx2
#include "convolution_kernels.h"
#undef LANES
#undef ROWS
#undef NAMED
#pragma GCC pop_options

/* Lanes of the widest instruction set that this CPU and its system have; 0 if none of the above. */
int64_t lanes_here(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        return 16;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 8 : 0;
}

#else

int64_t lanes_here(void) { return 0; }

#endif

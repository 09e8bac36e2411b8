// The system's randomness and clock, as a simulation has them: where RKAFKA_SIM_CHANCE is set when the process starts,
// getrandom() gives numbers that follow from it, and every clock stands still. Hash maps, `rand` and the scheduler of tokio
// all take their seeds from there, so that a process with one thread does the same in each run, and no line of the
// product has to know of it. Without the variable both are the kernel's.
//
// In C because Rust has no way to define these functions without `unsafe`, which this workspace forbids.

#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

// 2026-01-01.
static const time_t FROZEN_SECONDS = 1767225600;

static int is_read;
static int is_simulated;
static uint64_t state;

static int simulated(void) {
    if (!is_read) {
        const char *seed = getenv("RKAFKA_SIM_CHANCE");
        is_simulated = seed != NULL;
        state = seed != NULL ? strtoull(seed, NULL, 10) : 0;
        is_read = 1;
    }
    return is_simulated;
}

// SplitMix64.
static uint64_t next(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t len, unsigned int flags) {
    if (!simulated()) return syscall(SYS_getrandom, buffer, len, flags);
    unsigned char *out = buffer;
    for (size_t at = 0; at < len; at += 8) {
        uint64_t word = next();
        memcpy(out + at, &word, len - at < 8 ? len - at : 8);
    }
    return (ssize_t)len;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!simulated()) return (int)syscall(SYS_clock_gettime, clock, time);
    time->tv_sec = FROZEN_SECONDS;
    time->tv_nsec = 0;
    return 0;
}

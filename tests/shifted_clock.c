/* Lets a process believe that it is another time: CLOCK_AHEAD_SEC later, or earlier where that is negative.

   To be preloaded (LD_PRELOAD). CLOCK_ONLY_WITH names a variable without which a process is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long ahead;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *seconds = getenv("CLOCK_AHEAD_SEC"), *only_with = getenv("CLOCK_ONLY_WITH");
    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (seconds && (!only_with || getenv(only_with))) ahead = atol(seconds);
}

int clock_gettime(clockid_t which, struct timespec *to) {
    if (!real_gettime) real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_gettime(which, to);
    if (!result && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) to->tv_sec += ahead;
    return result;
}

int gettimeofday(struct timeval *to, void *zone) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

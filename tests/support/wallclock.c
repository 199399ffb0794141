/* Preloaded into a process under test: its wall clock differs from the system's by the seconds in the file that
 * WALLCLOCK_OFFSET names. The clock that only goes forward stays as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    const char *path = getenv("WALLCLOCK_OFFSET");
    char text[32] = "0";
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t size = read(file, text, sizeof text - 1);
        if (size >= 0) text[size] = '\0';
        close(file);
    }
    return atol(text);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
    int fault = REAL(clock_gettime)(clock, now);
    if (fault == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return fault;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int fault = REAL(gettimeofday)(now, zone);
    if (fault == 0 && now != NULL) now->tv_sec += offset();
    return fault;
}

time_t time(time_t *kept) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (kept != NULL) *kept = now.tv_sec;
    return now.tv_sec;
}

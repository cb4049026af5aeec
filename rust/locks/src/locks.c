/* fcntl for SQLite, with open file description locks in place of POSIX locks. lib.rs says why.
 *
 * SQLite's own records decide which lock the process needs. It keeps one descriptor for a shared-memory file, and locks are taken and
 * dropped on that. Of a database it has one descriptor for each connection and takes it for granted that they share their
 * locks, so all of them go through the one that took the shared lock. SQLite closes no descriptor of a database as long
 * as any lock is held on it. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__APPLE__) && !defined(F_OFD_SETLK)
#define F_OFD_SETLK 90
#define F_OFD_SETLKW 91
#define F_OFD_GETLK 92
#endif

/* Where SQLite locks databases; the locks of a shared-memory file lie far below. */
#define PENDING_BYTE 0x40000000
#define SHARED_FIRST (PENDING_BYTE + 2)

int buquet_locks_supported(void);
int buquet_locks_is_taken(int fd, int byte);
int buquet_locks_fcntl(int fd, int command, ...);

#ifdef F_OFD_SETLK

/* A database on which the process holds the shared lock, and the descriptor that holds it. */
struct shared {
    dev_t device;
    ino_t inode;
    int fd;
    struct shared *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct shared *all;

static int with_description(int fd, int command, struct flock *lock) {
    lock->l_pid = 0;
    switch (command) {
    case F_SETLK:
        return fcntl(fd, F_OFD_SETLK, lock);
    case F_SETLKW:
        return fcntl(fd, F_OFD_SETLKW, lock);
    default:
        return fcntl(fd, F_OFD_GETLK, lock);
    }
}

static struct shared **find(const struct stat *file) {
    struct shared **place = &all;
    while (*place && ((*place)->device != file->st_dev || (*place)->inode != file->st_ino))
        place = &(*place)->next;
    return place;
}

static int on_database(int fd, int command, struct flock *lock, const struct stat *file) {
    struct shared **place = find(file), *held = *place, *fresh = NULL;
    int takes_shared = command != F_GETLK && lock->l_type != F_UNLCK && lock->l_start == SHARED_FIRST;
    int drops_all = command != F_GETLK && lock->l_type == F_UNLCK && lock->l_len == 0;
    int result;

    if (takes_shared && !held && !(fresh = malloc(sizeof *fresh))) {
        errno = ENOLCK;
        return -1;
    }
    result = with_description(held ? held->fd : fd, command, lock);
    if (result == 0 && fresh) {
        fresh->device = file->st_dev;
        fresh->inode = file->st_ino;
        fresh->fd = fd;
        fresh->next = NULL;
        *place = fresh;
    } else {
        free(fresh);
    }
    if (drops_all && held) {
        *place = held->next;
        free(held);
    }
    return result;
}

static int lock_file(int fd, int command, struct flock *lock) {
    struct stat file;
    int result, error;

    if (lock->l_start != 0 && lock->l_start < PENDING_BYTE)
        return with_description(fd, command, lock);
    if (fstat(fd, &file) != 0)
        return -1;
    pthread_mutex_lock(&mutex);
    result = on_database(fd, command, lock, &file);
    error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

/* Whether the system has these locks. */
int buquet_locks_supported(void) {
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    int fd = open("/", O_RDONLY | O_CLOEXEC), supported;
    if (fd < 0)
        return 0;
    supported = fcntl(fd, F_OFD_GETLK, &lock) == 0 || errno != EINVAL;
    close(fd);
    return supported;
}

/* Whether anybody, this process included, keeps others from locking a byte; -1 if that cannot be told. */
int buquet_locks_is_taken(int fd, int byte) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 ? lock.l_type != F_UNLCK : -1;
}

/* What SQLite calls instead of fcntl. */
int buquet_locks_fcntl(int fd, int command, ...) {
    va_list rest;
    void *argument;

    va_start(rest, command);
    argument = va_arg(rest, void *);
    va_end(rest);
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK)
        return lock_file(fd, command, argument);
    return fcntl(fd, command, argument);
}

#else

int buquet_locks_supported(void) { return 0; }

int buquet_locks_is_taken(int fd, int byte) {
    (void)fd, (void)byte;
    return -1;
}

int buquet_locks_fcntl(int fd, int command, ...) {
    (void)fd, (void)command;
    errno = EINVAL;
    return -1;
}

#endif

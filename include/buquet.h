/*
 * buquet: a distributed task queue whose only infrastructure is a bucket.
 *
 * Open an engine, open a completion queue on it, submit operations as JSON, drain their completions as JSON. Nothing
 * ever calls back into the program. docs/abi.md explains the whole and lists the operations.
 *
 * Statuses are int32_t: 0 and above mean that the call did its work, below 0 that it did not. Strings go in as pointer
 * and length, need no NUL at the end, and are borrowed for the call. What comes out belongs to the caller and has its
 * own function that frees it.
 *
 * Generated from rust/ffi; do not edit. BUQUET_WRITE_HEADER=1 cargo test -p buquet-ffi header
 */

#ifndef BUQUET_H
#define BUQUET_H

#include <stddef.h>
#include <stdint.h>

/**
 * The version of the ABI that this header describes: major << 16 | minor.
 */
#define BQ_ABI_VERSION 65536

/**
 * The call did what it says.
 */
#define BQ_OK 0

/**
 * The time was up first. Not an error.
 */
#define BQ_TIMEOUT 1

/**
 * An argument cannot be used: NULL, a handle of the wrong kind, text that is not UTF-8.
 */
#define BQ_ERR_INVALID -1

/**
 * The engine's configuration cannot be used.
 */
#define BQ_ERR_CONFIG -2

/**
 * The engine or the queue was closed.
 */
#define BQ_ERR_CLOSED -3

/**
 * The handle was opened before a fork, and this is the child. Open a new engine in the child.
 */
#define BQ_ERR_FORKED -4

/**
 * A defect in buquet. Please report it.
 */
#define BQ_ERR_INTERNAL -5

/**
 * The queue holds BQ_MAX_PENDING operations. Drain it, then submit again.
 */
#define BQ_ERR_OVERLOADED -6

/**
 * The system refused a thread or a descriptor.
 */
#define BQ_ERR_RESOURCES -7

/**
 * How many operations a queue holds at most, in flight and completed together.
 */
#define BQ_MAX_PENDING 65536

/**
 * How many bytes a configuration, the name of an operation or a request may have: 1 GiB. A greater length is refused
 * before a byte is read.
 */
#define BQ_MAX_BYTES (1 << 30)

/**
 * An engine: one queue of tasks in one store, with its connections and threads.
 *
 * The pointer is a name, not an address: do not look behind it. Any thread may use it. After bq_engine_close() every
 * call with it returns BQ_ERR_CLOSED, and after a fork every call in the child returns BQ_ERR_FORKED.
 */
typedef struct bq_engine bq_engine;

/**
 * What went wrong in a call.
 *
 * A function that takes `bq_error **error` sets it to NULL on success and to a new object on failure. The object
 * belongs to the caller, who frees it with bq_error_free(). Pass NULL for `error` to do without.
 *
 * An error does not change. Several threads may read it; it must not be used after it was freed.
 */
typedef struct bq_error bq_error;

/**
 * A completion queue on an engine: operations are submitted to it, and their completions come back on it. Open one
 * for each event loop or thread.
 *
 * The pointer is a name, not an address: do not look behind it. Any thread may use it. After bq_queue_close() every
 * call with it returns BQ_ERR_CLOSED, and after a fork every call in the child returns BQ_ERR_FORKED.
 */
typedef struct bq_queue bq_queue;

/**
 * Bytes that the library made and the caller owns. Free with bq_buffer_free(), not with free().
 *
 * One NUL byte follows the data and is not counted in `len`, so that text can be used as a C string. The bytes do not
 * change. Several threads may read them; they must not be used after the buffer was freed.
 */
typedef struct bq_buffer {
  /**
   * The first byte; never NULL.
   */
  const uint8_t *data;
  /**
   * The number of bytes.
   */
  size_t len;
} bq_buffer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the ABI that the loaded library has: major << 16 | minor.
 *
 * Check it after loading the library: the major part must be that of BQ_ABI_VERSION, the minor part must not be
 * lower. A minor version only adds.
 *
 * Any thread may call it at any time.
 */
uint32_t bq_abi_version(void);

/**
 * The version of the library, such as "0.2.0": static text, never NULL, not to be freed.
 *
 * Any thread may call it at any time.
 */
const char *bq_version(void);

/**
 * The status that the failed call returned. BQ_ERR_INVALID if `error` is NULL.
 */
int32_t bq_error_status(const struct bq_error *error);

/**
 * The stable name of the kind of error, such as "config": never NULL, and "" if `error` is NULL.
 *
 * The text lives as long as the error.
 */
const char *bq_error_code(const struct bq_error *error);

/**
 * What was wrong, with which value, and what to do: UTF-8 for people, never NULL, and "" if `error` is NULL.
 *
 * The text lives as long as the error. Its wording may change in any release.
 */
const char *bq_error_message(const struct bq_error *error);

/**
 * Frees an error. NULL is allowed.
 */
void bq_error_free(struct bq_error *error);

/**
 * Frees a buffer and its bytes. NULL is allowed.
 */
void bq_buffer_free(struct bq_buffer *buffer);

/**
 * Opens an engine and starts its threads.
 *
 * No network is used: the store is reached at the first operation, and what is wrong there (credentials, a missing
 * bucket) is the error of that operation.
 *
 * `config`: JSON, UTF-8, `config_len` bytes, read during the call only; NULL with length 0 stands for {}.
 * `out`: receives the engine, NULL on failure. Close it with bq_engine_close().
 * `error`: may be NULL; receives an error that the caller frees.
 *
 * Returns BQ_OK; BQ_ERR_INVALID for a NULL argument or a length above BQ_MAX_BYTES; BQ_ERR_CONFIG for a configuration
 * that cannot be used, such as text that is not the JSON asked for; BQ_ERR_RESOURCES; BQ_ERR_INTERNAL.
 */
int32_t bq_engine_open(const uint8_t *config,
                       size_t config_len,
                       struct bq_engine **out,
                       struct bq_error **error);

/**
 * Closes an engine: accepts nothing more, waits for what was accepted, ends the threads, frees the handle.
 *
 * Workers are stopped and give back what they hold. Operations that have not finished after `timeout_ms` complete with
 * the code "closed". Completions stay in the engine's queues, where they can be drained until each queue is closed;
 * close every queue, before or after.
 *
 * `timeout_ms`: 0 waits for nothing, below 0 waits for ever. In any case the message that wakes workers for tasks just
 * submitted gets up to a second. Ending the threads may take up to 5 seconds more while one of them is inside a system
 * call that hangs (a disk, a name server); such a thread ends when its call does.
 *
 * Several threads may call it: one closes, the others get BQ_ERR_CLOSED at once, before the first is done.
 *
 * Returns BQ_OK if everything had finished; BQ_TIMEOUT if something was cut off (the engine is closed all the same);
 * BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED, which frees nothing; BQ_ERR_INTERNAL.
 */
int32_t bq_engine_close(struct bq_engine *engine,
                        int64_t timeout_ms);

/**
 * Opens a completion queue on an engine.
 *
 * `out`: receives the queue, NULL on failure. Close it with bq_queue_close(), before or after its engine.
 * `error`: may be NULL; receives an error that the caller frees.
 *
 * Returns BQ_OK; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED; BQ_ERR_RESOURCES; BQ_ERR_INTERNAL.
 */
int32_t bq_queue_open(struct bq_engine *engine,
                      struct bq_queue **out,
                      struct bq_error **error);

/**
 * Closes a queue and frees the handle. It does not block.
 *
 * Operations in flight are aborted and completions not yet drained are dropped, since nobody can read them any more;
 * what an operation has already stored stays stored. Threads inside bq_queue_wait() return BQ_ERR_CLOSED. The
 * descriptor of bq_queue_fd() is closed: take it out of the event loop first.
 *
 * Returns BQ_OK; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED, which frees nothing; BQ_ERR_INTERNAL.
 */
int32_t bq_queue_close(struct bq_queue *queue);

/**
 * The queue's descriptor, for poll(), epoll, kqueue or an event loop: readable while completions wait.
 *
 * It belongs to the queue: do not read it, write it or close it. It stays the same until bq_queue_close().
 *
 * Returns the descriptor, or -1 for a handle that cannot be used.
 */
int32_t bq_queue_fd(const struct bq_queue *queue);

/**
 * Starts an operation. It does not block; the answer arrives on the queue as one completion with this token.
 *
 * `op`: the name of the operation, `op_len` bytes. `request`: its request, JSON in UTF-8, `request_len` bytes; NULL
 * with length 0 stands for {}. Both are read during the call only.
 * `token`: any number, handed back in the completion. Tokens need not differ, but bq_cancel() goes by them.
 * `error`: may be NULL; receives an error that the caller frees.
 *
 * Returns BQ_OK if the operation was accepted: it then completes exactly once, unless the queue is closed first. A
 * wrong operation name or request is an error of the completion, not of this call. BQ_ERR_INVALID for a NULL argument,
 * a length above BQ_MAX_BYTES or a name that is not UTF-8; BQ_ERR_OVERLOADED if BQ_MAX_PENDING operations are in the queue; BQ_ERR_CLOSED if the
 * queue or its engine is closed; BQ_ERR_FORKED; BQ_ERR_INTERNAL.
 */
int32_t bq_submit(struct bq_queue *queue,
                  const uint8_t *op,
                  size_t op_len,
                  const uint8_t *request,
                  size_t request_len,
                  uint64_t token,
                  struct bq_error **error);

/**
 * Cancels every operation in flight with this token. It does not block.
 *
 * Each of them completes with the code "closed" unless it has completed already; it may have taken effect in the store
 * or may still do so.
 *
 * Returns BQ_OK, also if no such operation is in flight; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED;
 * BQ_ERR_INTERNAL.
 */
int32_t bq_cancel(struct bq_queue *queue,
                  uint64_t token);

/**
 * Waits until a completion can be drained.
 *
 * `timeout_ms`: 0 only looks, below 0 waits for ever. Several threads may wait; all of them wake, and the first to
 * drain gets the completions.
 *
 * Returns BQ_OK if completions wait; BQ_TIMEOUT; BQ_ERR_CLOSED if the queue is closed, also meanwhile, or if its engine
 * is closed and the last completion was drained; BQ_ERR_INVALID; BQ_ERR_FORKED; BQ_ERR_INTERNAL.
 */
int32_t bq_queue_wait(struct bq_queue *queue,
                      int64_t timeout_ms);

/**
 * Takes completions off the queue, oldest first. It does not block.
 *
 * `max`: how many at most, 1 or more.
 * `out`: receives a buffer that the caller frees with bq_buffer_free(), with a JSON array of completions:
 * [{"token": 7, "ok": ANSWER}, {"token": 8, "error": {"code": "not_found", "message": "..."}}]. NULL if there are
 * none, and on failure.
 * `error`: may be NULL; receives an error that the caller frees.
 *
 * Returns BQ_OK, also if there were none; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED; BQ_ERR_INTERNAL.
 */
int32_t bq_queue_drain(struct bq_queue *queue,
                       size_t max,
                       struct bq_buffer **out,
                       struct bq_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BUQUET_H */

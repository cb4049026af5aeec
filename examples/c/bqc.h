/*
 * bqc: buquet for C programs, over include/buquet.h alone.
 *
 * A client is one queue of tasks. bqc_call() and what is built on it block; any number of threads may call them with
 * the same client. A loop is for programs that must not block: put its descriptor into poll() and the like, start
 * operations with a callback, and dispatch. A loop belongs to one thread.
 *
 * Requests and answers are JSON text, as docs/abi.md lists them. Functions that return bool return false on failure,
 * those that return a pointer NULL, and both then fill in the error, if it is not NULL.
 */
#ifndef BQC_H
#define BQC_H

#include <stdbool.h>
#include <stddef.h>

/* What went wrong: plain values, nothing to free. */
typedef struct bqc_error {
  char code[32];      /* the stable name of the kind, such as "not_found" */
  char message[1024]; /* for people; cut off if it is longer */
} bqc_error;

bool bqc_is(const bqc_error *error, const char *code);

typedef struct bqc_client bqc_client;
typedef struct bqc_loop bqc_loop;

/* Opens a client. `config` is JSON, such as {"url": "sqlite:jobs.db"}; NULL looks in the usual places, such as
   BUQUET_URL. No network is used yet. */
bqc_client *bqc_open(const char *config, bqc_error *error);

/* Closes and frees a client, after its loops and when no thread uses it any more. Waits up to `timeout_ms` for what is
   under way; false if something was cut off. NULL is allowed. */
bool bqc_close(bqc_client *client, int timeout_ms);

/* Runs one operation and returns its answer, which the caller frees. `request` NULL stands for {}. */
char *bqc_call(bqc_client *client, const char *op, const char *request, bqc_error *error);

/* Stores a task and returns its id, which the caller frees. `input` is JSON; `options` is a JSON object of further
   fields, such as {"priority": 9, "delay": "5s"}, or NULL. */
char *bqc_submit(bqc_client *client, const char *type, const char *input, const char *options, bqc_error *error);

/* Waits until a task has ended, whatever it came to, and returns it as JSON, which the caller frees. Below 0 seconds:
   waits for ever. The code is "timeout" if the time is up first. */
char *bqc_wait(bqc_client *client, const char *id, double seconds, bqc_error *error);

/* Receives what an operation came to: the answer or the error, the other is NULL. Both are borrowed for the call. It
   may start and cancel operations, and must neither dispatch nor close the loop. */
typedef void bqc_callback(void *context, const char *answer, const bqc_error *error);

bqc_loop *bqc_loop_open(bqc_client *client, bqc_error *error);

/* Closes and frees a loop. Callbacks not called yet are called now, with the code "closed". NULL is allowed. */
void bqc_loop_close(bqc_loop *loop);

/* The descriptor to poll: readable while there is something to dispatch. It belongs to the loop. */
int bqc_loop_fd(const bqc_loop *loop);

/* Names an operation on a loop, to cancel it. 0 names none. */
typedef unsigned long long bqc_token;

/* Starts an operation. Its callback is called exactly once, from bqc_loop_dispatch() or bqc_loop_close(); it is not
   called if this function fails. Returns 0 on failure. */
bqc_token bqc_loop_start(bqc_loop *loop, const char *op, const char *request, bqc_callback *callback, void *context,
                         bqc_error *error);

/* Cancels an operation: its callback gets the code "closed", soon, unless it has its answer already. It may have taken
   effect all the same. */
void bqc_loop_cancel(bqc_loop *loop, bqc_token token);

/* Calls the callbacks of what has completed. Does not block. */
bool bqc_loop_dispatch(bqc_loop *loop, bqc_error *error);

#endif

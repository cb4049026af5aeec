/*
 * A worker: runs tasks on threads of its own, one for each task at work, until it is told to drain.
 *
 * It keeps to what is expected of every worker: it learns of lost leases and of cancellations while tasks run and tells
 * their handlers, ends attempts whose time is up, sends outcomes in batches, tries again while the store is away, and
 * gives everything back when it ends. The heartbeat is the library's own business.
 */
#ifndef BQC_WORKER_H
#define BQC_WORKER_H

#include "bqc.h"

/* One run of one task. What the accessors return lives as long as the handler runs. */
typedef struct bqc_attempt bqc_attempt;

const char *bqc_attempt_id(const bqc_attempt *attempt);
const char *bqc_attempt_type(const bqc_attempt *attempt);
const char *bqc_attempt_input(const bqc_attempt *attempt); /* JSON */
int bqc_attempt_number(const bqc_attempt *attempt);        /* 1 in the first run */

/* Whether there is no use in going on: no result is taken any more, since the lease was lost, the time is up or the
   worker has to end, or the task was called off. Handlers that run for long ask now and then, and return if so. */
bool bqc_attempt_is_over(const bqc_attempt *attempt);

/* Whether somebody called the task off. A handler that returns without an outcome then has stopped as it was asked to;
   one that completes the task all the same has completed it. */
bool bqc_attempt_is_called_off(const bqc_attempt *attempt);

/* How the attempt ends: a handler calls one of these before it returns, the last one counts. One that calls none has
   failed. Their arguments are copied. */
/* Done, with an output that is JSON. */
void bqc_attempt_complete(bqc_attempt *attempt, const char *output);
/* Tried again while retries are left. */
void bqc_attempt_fail(bqc_attempt *attempt, const char *kind, const char *message);
/* Failed for good. */
void bqc_attempt_refuse(bqc_attempt *attempt, const char *kind, const char *message);
/* Again later, at no retry's cost. */
void bqc_attempt_reschedule(bqc_attempt *attempt, double seconds);

typedef void bqc_handler(bqc_attempt *attempt);

typedef struct bqc_worker_options {
  const char *const *types; /* the task types it takes, one handler each */
  bqc_handler *const *handlers;
  size_t count;
  int concurrency;  /* tasks at a time, 1 or more */
  int drain_fd;     /* it drains once this descriptor is readable; -1 for never */
  double drain_seconds; /* how long tasks at work may go on then, before they are given back */
} bqc_worker_options;

/* Works until it has drained. False if something ended it before. Logs to stderr. */
bool bqc_work(bqc_client *client, const bqc_worker_options *options, bqc_error *error);

#endif

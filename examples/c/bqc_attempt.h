/* What bqc_worker.c and bqc_attempt.c share. Not for programs. */
#ifndef BQC_ATTEMPT_H
#define BQC_ATTEMPT_H

#include <pthread.h>
#include <stdio.h>

#include "bqc_worker.h"

struct worker;

/* The worker's thread makes and frees it. In between the handler's thread alone uses what does not say otherwise. */
struct bqc_attempt {
  struct worker *worker;
  pthread_mutex_t *lock;           /* the worker's */
  char *id, *lease, *type, *input; /* never changed, so that both threads may read them */
  int number;                      /* likewise */
  bqc_handler *handler;
  pthread_t thread;
  char *outcome; /* the fields of its outcome, as JSON without brackets; NULL if there is none yet */
  size_t outcome_len;
  bool over;              /* no result is taken any more; in the worker's lock */
  bool called_off;        /* in the worker's lock */
  bqc_attempt *next_done; /* in the worker's lock */
  double deadline;        /* the worker's thread's alone, as is what follows */
  bqc_attempt *next;
};

/* Says that no result is taken any more; false if that was so already. */
bool bqc_attempt_give_up(bqc_attempt *attempt);

/* Whether that was so. */
bool bqc_attempt_is_given_up(const bqc_attempt *attempt);

/* Says that the task was called off; false if that is known, or nothing is to be told any more. */
bool bqc_attempt_call_off(bqc_attempt *attempt);

void bqc_attempt_free(bqc_attempt *attempt);

/* Writes the fields of an outcome that is a failure. */
void bqc_write_failure(FILE *out, const char *kind, const char *message, bool retry);

/* Writes a line to stderr. */
void bqc_say(const char *format, ...);

/* Ends the program if memory is out: such a worker cannot even give back what it holds, and its leases run out by
   themselves. */
void *bqc_need(void *memory);

#endif

#define _POSIX_C_SOURCE 200809L
#include "bqc_attempt.h"

#include <stdarg.h>
#include <stdlib.h>

#include "json.h"

void bqc_say(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  flockfile(stderr); /* lines of several threads stay whole */
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  funlockfile(stderr);
  va_end(arguments);
}

void *bqc_need(void *memory) {
  if (memory == NULL) {
    bqc_say("out of memory");
    abort();
  }
  return memory;
}

const char *bqc_attempt_id(const bqc_attempt *attempt) { return attempt->id; }
const char *bqc_attempt_type(const bqc_attempt *attempt) { return attempt->type; }
const char *bqc_attempt_input(const bqc_attempt *attempt) { return attempt->input; }
int bqc_attempt_number(const bqc_attempt *attempt) { return attempt->number; }

bool bqc_attempt_is_over(const bqc_attempt *attempt) {
  pthread_mutex_lock(attempt->lock);
  bool over = attempt->over || attempt->called_off;
  pthread_mutex_unlock(attempt->lock);
  return over;
}

bool bqc_attempt_is_called_off(const bqc_attempt *attempt) {
  pthread_mutex_lock(attempt->lock);
  bool called_off = attempt->called_off;
  pthread_mutex_unlock(attempt->lock);
  return called_off;
}

bool bqc_attempt_is_given_up(const bqc_attempt *attempt) {
  pthread_mutex_lock(attempt->lock);
  bool over = attempt->over;
  pthread_mutex_unlock(attempt->lock);
  return over;
}

/* A stream for the outcome, in place of one given before. */
static FILE *outcome(bqc_attempt *attempt) {
  free(attempt->outcome);
  attempt->outcome = NULL;
  return bqc_need(open_memstream(&attempt->outcome, &attempt->outcome_len));
}

void bqc_attempt_complete(bqc_attempt *attempt, const char *output) {
  FILE *out = outcome(attempt);
  fprintf(out, "\"outcome\": \"complete\", \"output\": %s", output);
  fclose(out);
}

void bqc_write_failure(FILE *out, const char *kind, const char *message, bool retry) {
  fputs("\"outcome\": \"fail\", \"error\": {\"type\": ", out);
  json_write(out, kind);
  fputs(", \"message\": ", out);
  json_write(out, message);
  fprintf(out, "}, \"retry\": %s", retry ? "true" : "false");
}

void bqc_attempt_fail(bqc_attempt *attempt, const char *kind, const char *message) {
  FILE *out = outcome(attempt);
  bqc_write_failure(out, kind, message, true);
  fclose(out);
}

void bqc_attempt_refuse(bqc_attempt *attempt, const char *kind, const char *message) {
  FILE *out = outcome(attempt);
  bqc_write_failure(out, kind, message, false);
  fclose(out);
}

void bqc_attempt_reschedule(bqc_attempt *attempt, double seconds) {
  FILE *out = outcome(attempt);
  fprintf(out, "\"outcome\": \"reschedule\", \"delay\": \"%lldms\"", (long long)(seconds * 1000));
  fclose(out);
}

void bqc_attempt_free(bqc_attempt *attempt) {
  free(attempt->id);
  free(attempt->lease);
  free(attempt->type);
  free(attempt->input);
  free(attempt->outcome);
  free(attempt);
}

bool bqc_attempt_call_off(bqc_attempt *attempt) {
  pthread_mutex_lock(attempt->lock);
  bool first = !attempt->over && !attempt->called_off;
  attempt->called_off = true;
  pthread_mutex_unlock(attempt->lock);
  return first;
}

bool bqc_attempt_give_up(bqc_attempt *attempt) {
  pthread_mutex_lock(attempt->lock);
  bool first = !attempt->over;
  attempt->over = true;
  pthread_mutex_unlock(attempt->lock);
  return first;
}

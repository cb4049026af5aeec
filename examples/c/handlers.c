#define _POSIX_C_SOURCE 200809L
#include "handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

/* [1, 2, 3] becomes 6. */
static void sum(bqc_attempt *attempt) {
  double total = 0;
  char output[64];
  json numbers = json_parse(bqc_attempt_input(attempt));
  for (json number = {0}; json_next(numbers, &number);) total += json_number(number);
  snprintf(output, sizeof output, "%.17g", total);
  bqc_attempt_complete(attempt, output);
}

/* {"name": "Ada"} becomes "hello Ada". */
static void greet(bqc_attempt *attempt) {
  char *name = json_string(json_member(json_parse(bqc_attempt_input(attempt)), "name"));
  if (name == NULL) {
    bqc_attempt_refuse(attempt, "BadInput", "the input has no \"name\" that is text");
    return;
  }
  char greeting[256];
  snprintf(greeting, sizeof greeting, "hello %.200s", name);
  char *output = json_format("%s", greeting);
  if (output == NULL) abort();
  bqc_attempt_complete(attempt, output);
  free(output);
  free(name);
}

/* {"attempts": 3} fails twice; the third attempt succeeds and gives its number. */
static void flaky(bqc_attempt *attempt) {
  char output[64];
  int needed = (int)json_number(json_member(json_parse(bqc_attempt_input(attempt)), "attempts"));
  if (bqc_attempt_number(attempt) < needed) {
    bqc_attempt_fail(attempt, "Flaky", "not this time");
    return;
  }
  snprintf(output, sizeof output, "%d", bqc_attempt_number(attempt));
  bqc_attempt_complete(attempt, output);
}

/* Fails for good, whatever retries are left. */
static void refuse(bqc_attempt *attempt) { bqc_attempt_refuse(attempt, "Refused", "this will never work"); }

/* {"path": "..."} waits until there is such a file. Gives up when the attempt is over, or the task was called off. */
static void await_file(bqc_attempt *attempt) {
  const struct timespec step = {0, 20 * 1000 * 1000};
  char *path = json_string(json_member(json_parse(bqc_attempt_input(attempt)), "path"));
  if (path == NULL) {
    bqc_attempt_refuse(attempt, "BadInput", "the input has no \"path\" that is text");
    return;
  }
  fprintf(stderr, "waiting for %s\n", path);
  bool there = access(path, F_OK) == 0;
  while (!there && !bqc_attempt_is_over(attempt)) {
    nanosleep(&step, NULL);
    there = access(path, F_OK) == 0;
  }
  free(path);
  if (there) bqc_attempt_complete(attempt, "\"there\"");
}

const named_handler handlers[HANDLERS] = {
    {"sum", sum}, {"greet", greet}, {"flaky", flaky}, {"refuse", refuse}, {"await_file", await_file},
};

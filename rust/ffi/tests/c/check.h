/* What the test programs share: checks that say where they failed, and a blocking call. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buquet.h"

#define SOON 60000 /* milliseconds; long enough for any machine, far below a test's own limit */

#define CHECK(condition)                                                          \
  do {                                                                            \
    if (!(condition)) {                                                           \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);     \
      exit(1);                                                                    \
    }                                                                             \
  } while (0)

/* Fails with the library's own words unless the status is BQ_OK. */
static inline void check_ok(int32_t status, bq_error *error) {
  if (status != BQ_OK) {
    fprintf(stderr, "%d %s: %s\n", status, bq_error_code(error), bq_error_message(error));
    exit(1);
  }
}

static inline bq_engine *open_engine(const char *config) {
  bq_engine *engine = NULL;
  bq_error *error = NULL;
  check_ok(bq_engine_open((const uint8_t *)config, strlen(config), &engine, &error), error);
  CHECK(engine != NULL && error == NULL);
  return engine;
}

static inline bq_queue *open_queue(bq_engine *engine) {
  bq_queue *queue = NULL;
  bq_error *error = NULL;
  check_ok(bq_queue_open(engine, &queue, &error), error);
  CHECK(queue != NULL && bq_queue_fd(queue) >= 0);
  return queue;
}

static inline void submit(bq_queue *queue, const char *op, const char *request, uint64_t token) {
  bq_error *error = NULL;
  check_ok(bq_submit(queue, (const uint8_t *)op, strlen(op), (const uint8_t *)request, strlen(request), token, &error),
           error);
}

/* Waits for completions and returns up to `max` of them as a C string, which the caller frees. */
static inline char *next(bq_queue *queue, size_t max) {
  bq_buffer *buffer = NULL;
  bq_error *error = NULL;
  CHECK(bq_queue_wait(queue, SOON) == BQ_OK);
  check_ok(bq_queue_drain(queue, max, &buffer, &error), error);
  CHECK(buffer != NULL && buffer->data[buffer->len] == '\0');
  char *text = malloc(buffer->len + 1);
  CHECK(text != NULL);
  memcpy(text, buffer->data, buffer->len + 1);
  bq_buffer_free(buffer);
  return text;
}

/* Runs one operation to its end and returns the completion. Nothing else may be in flight on the queue. */
static inline char *call(bq_queue *queue, const char *op, const char *request) {
  static uint64_t token = 1000;
  char expected[64];
  submit(queue, op, request, ++token);
  char *completion = next(queue, 1);
  snprintf(expected, sizeof expected, "[{\"token\":%llu,", (unsigned long long)token);
  CHECK(strncmp(completion, expected, strlen(expected)) == 0);
  return completion;
}

static inline int has(const char *text, const char *part) { return strstr(text, part) != NULL; }

/* The completion must contain `part`; it is freed. */
static inline void expect(char *completion, const char *part) {
  if (!has(completion, part)) {
    fprintf(stderr, "expected %s in %s\n", part, completion);
    exit(1);
  }
  free(completion);
}

/* Copies the value of the first string field of this name behind `text`; returns where it ends, NULL if there is none.
   Real programs use a JSON library. */
static inline const char *field(const char *text, const char *name, char *value, size_t size) {
  char start[64];
  snprintf(start, sizeof start, "\"%s\":\"", name);
  const char *from = strstr(text, start);
  if (from == NULL) return NULL;
  from += strlen(start);
  size_t len = strcspn(from, "\"");
  CHECK(len < size);
  memcpy(value, from, len);
  value[len] = '\0';
  return from + len;
}

#endif

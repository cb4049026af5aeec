/* Handles that are made up, of the wrong kind, closed, or closed by somebody else at this moment. */
#include <pthread.h>

#include "check.h"

#define THREADS 8
#define ROUNDS 30

static const char *const REQUESTS[][2] = {
    {"usage", "{}"},
    {"list", "{}"},
    {"submit", "{\"type\":\"t\",\"input\":1}"},
    {"wait", "{\"id\":\"6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000\"}"},
    {"worker.start", "{\"types\":[\"t\"],\"concurrency\":1}"},
    {"no such operation", "no such request"},
};

static int32_t start(bq_queue *queue, unsigned n, bq_error **error) {
  const char *const *one = REQUESTS[n % (sizeof REQUESTS / sizeof *REQUESTS)];
  return bq_submit(queue, (const uint8_t *)one[0], strlen(one[0]), (const uint8_t *)one[1], strlen(one[1]), n, error);
}

/* Every function refuses the handle as `engine` and as `queue` with this status. */
static void refused(void *handle, int32_t as_engine, int32_t as_queue) {
  bq_queue *queue = (bq_queue *)1;
  bq_buffer *buffer = (bq_buffer *)1;
  bq_error *errors[3] = {NULL, NULL, NULL};
  CHECK(bq_queue_open(handle, &queue, &errors[0]) == as_engine && queue == NULL);
  CHECK(bq_engine_close(handle, -1) == as_engine);
  CHECK(start(handle, 0, &errors[1]) == as_queue);
  CHECK(bq_queue_drain(handle, 1, &buffer, &errors[2]) == as_queue && buffer == NULL);
  CHECK(bq_queue_wait(handle, -1) == as_queue && bq_cancel(handle, 0) == as_queue);
  CHECK(bq_queue_fd(handle) == -1 && bq_queue_close(handle) == as_queue);
  for (int i = 0; i < 3; i++) {
    CHECK(errors[i] != NULL && bq_error_message(errors[i])[0] != '\0');
    bq_error_free(errors[i]);
  }
  CHECK(bq_queue_open(handle, NULL, NULL) < 0 && start(handle, 1, NULL) == as_queue);
  CHECK(bq_queue_drain(handle, 1, NULL, NULL) < 0 && bq_queue_drain(handle, 0, &buffer, NULL) == as_queue);
}

static void made_up_handles(void) {
  int on_the_stack = 0;
  void *on_the_heap = malloc(64);
  CHECK(on_the_heap != NULL);
  uintptr_t numbers[] = {UINTPTR_MAX, UINTPTR_MAX - 1, UINTPTR_MAX / 2 + 1, 0xdeadbeef, (uintptr_t)1 << 31};
  refused(NULL, BQ_ERR_INVALID, BQ_ERR_INVALID);
  refused(&on_the_stack, BQ_ERR_INVALID, BQ_ERR_INVALID);
  refused(on_the_heap, BQ_ERR_INVALID, BQ_ERR_INVALID);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    refused((void *)numbers[i], BQ_ERR_INVALID, BQ_ERR_INVALID);
  }
  free(on_the_heap);
}

static void closed_twice_and_used_after(void) {
  bq_engine *engine = open_engine("{\"url\": \"memory:\"}");
  bq_queue *first = open_queue(engine), *second = open_queue(engine), *other = NULL;
  CHECK(bq_queue_open((bq_engine *)first, &other, NULL) == BQ_ERR_INVALID && other == NULL);
  CHECK(bq_engine_close((bq_engine *)first, 0) == BQ_ERR_INVALID && bq_queue_close((bq_queue *)engine) == BQ_ERR_INVALID);
  CHECK(start((bq_queue *)engine, 0, NULL) == BQ_ERR_INVALID && bq_queue_fd((bq_queue *)engine) == -1);
  submit(first, "list", "{}", 1);
  CHECK(bq_queue_close(first) == BQ_OK);
  for (int i = 0; i < 3; i++) refused(first, BQ_ERR_CLOSED, BQ_ERR_CLOSED);
  CHECK(bq_engine_close(engine, SOON) == BQ_OK);
  for (int i = 0; i < 3; i++) refused(engine, BQ_ERR_CLOSED, BQ_ERR_CLOSED);
  CHECK(start(second, 0, NULL) == BQ_ERR_CLOSED && bq_queue_wait(second, -1) == BQ_ERR_CLOSED);
  CHECK(bq_cancel(second, 1) == BQ_OK && bq_queue_close(second) == BQ_OK);
  refused(second, BQ_ERR_CLOSED, BQ_ERR_CLOSED);
}

static void *wait_for_ever(void *queue) {
  return (void *)(intptr_t)bq_queue_wait(queue, -1);
}

/* Whoever waits learns at once that the queue, or its engine, is closed under it. */
static void closed_while_others_wait(int by_the_engine) {
  pthread_t waiters[THREADS];
  bq_engine *engine = open_engine("{\"url\": \"memory:\"}");
  bq_queue *queue = open_queue(engine);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&waiters[i], NULL, wait_for_ever, queue) == 0);
  if (by_the_engine) CHECK(bq_engine_close(engine, SOON) == BQ_OK);
  if (!by_the_engine) CHECK(bq_queue_close(queue) == BQ_OK);
  for (int i = 0; i < THREADS; i++) {
    void *status = NULL;
    CHECK(pthread_join(waiters[i], &status) == 0 && (intptr_t)status == BQ_ERR_CLOSED);
  }
  if (by_the_engine) CHECK(bq_queue_close(queue) == BQ_OK);
  if (!by_the_engine) CHECK(bq_engine_close(engine, SOON) == BQ_OK);
}

typedef struct pair {
  bq_engine *engine;
  bq_queue *queue;
} pair;

/* Uses both handles in every way until both are closed. */
static void *use_until_closed(void *argument) {
  const pair *handles = argument;
  int32_t status = BQ_OK;
  for (unsigned n = 0; status != BQ_ERR_CLOSED; n++) {
    bq_buffer *buffer = NULL;
    bq_queue *extra = NULL;
    bq_error *error = NULL;
    status = start(handles->queue, n, &error);
    CHECK(status == BQ_OK || status == BQ_ERR_CLOSED || status == BQ_ERR_OVERLOADED);
    CHECK((status == BQ_OK) == (error == NULL));
    bq_error_free(error);
    int32_t drained = bq_queue_drain(handles->queue, 16, &buffer, NULL);
    CHECK(drained == BQ_OK || drained == BQ_ERR_CLOSED);
    bq_buffer_free(buffer);
    int32_t waited = bq_queue_wait(handles->queue, n % 2);
    CHECK(waited == BQ_OK || waited == BQ_TIMEOUT || waited == BQ_ERR_CLOSED);
    int32_t cancelled = bq_cancel(handles->queue, n);
    CHECK(cancelled == BQ_OK || cancelled == BQ_ERR_CLOSED);
    int32_t opened = bq_queue_open(handles->engine, &extra, NULL);
    CHECK(opened == BQ_OK || opened == BQ_ERR_CLOSED);
    CHECK((opened == BQ_OK) == (extra != NULL));
    if (extra != NULL) CHECK(bq_queue_close(extra) == BQ_OK);
  }
  return NULL;
}

static void *close_both(void *argument) {
  const pair *handles = argument;
  int32_t engine = bq_engine_close(handles->engine, 50), queue = bq_queue_close(handles->queue);
  CHECK(engine == BQ_OK || engine == BQ_TIMEOUT || engine == BQ_ERR_CLOSED);
  CHECK(queue == BQ_OK || queue == BQ_ERR_CLOSED);
  return (void *)(intptr_t)((engine != BQ_ERR_CLOSED) + (queue != BQ_ERR_CLOSED));
}

/* Several threads use the handles, several close them: each close succeeds once, and everybody comes to an end. */
static void closed_while_others_use_them(void) {
  pthread_t users[THREADS], closers[3];
  pair handles;
  intptr_t closes = 0;
  handles.engine = open_engine("{\"url\": \"memory:\"}");
  handles.queue = open_queue(handles.engine);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&users[i], NULL, use_until_closed, &handles) == 0);
  CHECK(bq_queue_wait(handles.queue, SOON) == BQ_OK);
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&closers[i], NULL, close_both, &handles) == 0);
  for (int i = 0; i < 3; i++) {
    void *closed = NULL;
    CHECK(pthread_join(closers[i], &closed) == 0);
    closes += (intptr_t)closed;
  }
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(users[i], NULL) == 0);
  CHECK(closes == 2);
}

int main(void) {
  made_up_handles();
  closed_twice_and_used_after();
  for (int i = 0; i < ROUNDS; i++) closed_while_others_wait(i % 2);
  for (int i = 0; i < ROUNDS; i++) closed_while_others_use_them();
  return 0;
}

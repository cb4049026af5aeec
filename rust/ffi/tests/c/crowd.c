/* Sixty-four threads on one queue: all submit, wait and drain, and every operation is answered exactly once. */
#include <pthread.h>

#include "check.h"

#define THREADS 64

static bq_queue *queue;
static unsigned each;            /* operations of one thread */
static unsigned char *answered;  /* how often each token came back */
static unsigned open_answers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Counts the completions in a buffer; whether any are still to come. */
static int note(const bq_buffer *buffer) {
  pthread_mutex_lock(&lock);
  for (const char *at = buffer == NULL ? NULL : (const char *)buffer->data; at != NULL;) {
    at = strstr(at, "{\"token\":");
    if (at == NULL) break;
    at += strlen("{\"token\":");
    unsigned long token = strtoul(at, NULL, 10);
    CHECK(token < THREADS * each && answered[token] == 0 && open_answers > 0);
    answered[token] = 1;
    open_answers--;
  }
  int more = open_answers > 0;
  pthread_mutex_unlock(&lock);
  return more;
}

static void *take_part(void *argument) {
  unsigned thread = (unsigned)(uintptr_t)argument;
  for (unsigned n = 0; n < each; n++) {
    uint64_t token = (uint64_t)thread * each + n;
    switch (n % 4) {
      case 0: submit(queue, "submit", "{\"type\":\"t\",\"input\":[1]}", token); break;
      case 1: submit(queue, "usage", "{}", token); break;
      case 2: submit(queue, "list", "{\"limit\":1}", token); break;
      default: submit(queue, "list", "not json", token); break;
    }
    if (n % 8 == 7) CHECK(bq_cancel(queue, token) == BQ_OK);
  }
  for (int more = 1; more;) {
    bq_buffer *buffer = NULL;
    int32_t status = bq_queue_wait(queue, 10);
    CHECK(status == BQ_OK || status == BQ_TIMEOUT);
    CHECK(bq_queue_drain(queue, 1 + thread % 7, &buffer, NULL) == BQ_OK);
    more = note(buffer);
    bq_buffer_free(buffer);
  }
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  CHECK(argc == 3);
  each = (unsigned)strtoul(argv[2], NULL, 10);
  open_answers = THREADS * each;
  answered = calloc(open_answers, 1);
  CHECK(answered != NULL);
  char config[128];
  CHECK(snprintf(config, sizeof config, "{\"url\": \"%s\"}", argv[1]) < (int)sizeof config);
  bq_engine *engine = open_engine(config);
  queue = open_queue(engine);
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, take_part, (void *)i) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(open_answers == 0 && bq_queue_wait(queue, 0) == BQ_TIMEOUT);
  CHECK(bq_queue_close(queue) == BQ_OK && bq_engine_close(engine, SOON) == BQ_OK);
  free(answered);
  return 0;
}

/* After a fork the child is refused its parent's handles, at once and without harm; its own engine works. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static void *wait_for_ever(void *queue) {
  return (void *)(intptr_t)(bq_queue_wait(queue, -1) == BQ_ERR_CLOSED);
}

static void refused(int32_t status, bq_error *error) {
  CHECK(status == BQ_ERR_FORKED && error != NULL && bq_error_status(error) == BQ_ERR_FORKED);
  CHECK(strcmp(bq_error_code(error), "forked") == 0 && has(bq_error_message(error), "open a new engine"));
  bq_error_free(error);
}

static void in_the_child(bq_engine *engine, bq_queue *queue, bq_error *kept) {
  bq_error *error = NULL;
  bq_queue *other = NULL;
  bq_buffer *buffer = NULL;
  int32_t status;
  alarm(120); /* a call that blocks fails the test */
  status = bq_queue_open(engine, &other, &error);
  refused(status, error);
  status = bq_submit(queue, (const uint8_t *)"list", 4, NULL, 0, 1, &error);
  refused(status, error);
  status = bq_queue_drain(queue, 1, &buffer, &error);
  refused(status, error);
  CHECK(bq_queue_wait(queue, -1) == BQ_ERR_FORKED && bq_cancel(queue, 1) == BQ_ERR_FORKED && bq_queue_fd(queue) == -1);
  CHECK(bq_queue_close(queue) == BQ_ERR_FORKED && bq_engine_close(engine, -1) == BQ_ERR_FORKED);
  CHECK(has(bq_error_message(kept), "NULL"));
  bq_error_free(kept); /* plain memory: the child's copy is the child's */

  bq_engine *own = open_engine("{\"url\": \"memory:\"}");
  bq_queue *own_queue = open_queue(own);
  free(call(own_queue, "list", "{}"));
  CHECK(bq_queue_close(queue) == BQ_ERR_FORKED);
  CHECK(bq_queue_close(own_queue) == BQ_OK && bq_queue_close(own_queue) == BQ_ERR_CLOSED);
  CHECK(bq_engine_close(own, SOON) == BQ_OK);
}

int main(void) {
  bq_engine *engine = open_engine("{\"url\": \"memory:\"}");
  bq_queue *queue = open_queue(engine), *idle = open_queue(engine), *none = NULL;
  bq_error *error = NULL;
  pthread_t waiter;
  CHECK(bq_queue_open(NULL, &none, &error) == BQ_ERR_INVALID && none == NULL);
  CHECK(pthread_create(&waiter, NULL, wait_for_ever, idle) == 0);

  for (int i = 0; i < 5; i++) { /* while the engine's threads are busy */
    for (uint64_t token = 0; token < 50; token++) submit(queue, "list", "{}", token);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      in_the_child(engine, queue, error);
      exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  bq_error_free(error);

  int answers = 0;
  while (answers < 250) { /* the parent has noticed nothing */
    char *completions = next(queue, 1);
    answers++;
    free(completions);
  }
  void *closed = NULL;
  CHECK(bq_queue_close(idle) == BQ_OK);
  CHECK(pthread_join(waiter, &closed) == 0 && closed != NULL);
  CHECK(bq_queue_close(queue) == BQ_OK && bq_engine_close(engine, SOON) == BQ_OK);
  return 0;
}

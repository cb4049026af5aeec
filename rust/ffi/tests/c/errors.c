/* Every mistake gets a status, a code and a message, and harms nothing. */
#include "check.h"

static void refused(int32_t status, bq_error *error, int32_t expected, const char *code, const char *part) {
  if (status != expected || error == NULL || bq_error_status(error) != expected ||
      strcmp(bq_error_code(error), code) != 0 || !has(bq_error_message(error), part)) {
    fprintf(stderr, "expected %d %s ...%s..., got %d %s %s\n", expected, code, part, status, bq_error_code(error),
            bq_error_message(error));
    exit(1);
  }
  bq_error_free(error);
}

/* The call comes first: C does not say in which order arguments are evaluated. */
#define REFUSED(call, ...)             \
  do {                                 \
    int32_t status_ = call;            \
    refused(status_, error, __VA_ARGS__); \
  } while (0)

static void bad_configurations(void) {
  const char *configs[] = {"not json", "3", "{\"url\": \"ftp://x\"}", "{\"colour\": \"red\"}", "{\"url\": 3}"};
  for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
    bq_engine *engine = (bq_engine *)1;
    bq_error *error = NULL;
    int32_t status = bq_engine_open((const uint8_t *)configs[i], strlen(configs[i]), &engine, &error);
    if (status != BQ_ERR_CONFIG && status != BQ_ERR_INVALID) {
      fprintf(stderr, "%s was taken: %d\n", configs[i], status);
      exit(1);
    }
    CHECK(engine == NULL && error != NULL && bq_error_message(error)[0] != '\0');
    bq_error_free(error);
  }
}

static void bad_arguments(bq_queue *queue) {
  bq_engine *none = NULL;
  const uint8_t *op = (const uint8_t *)"get";
  bq_error *error = NULL;
  bq_queue *other = NULL;
  bq_buffer *buffer = NULL;
  REFUSED(bq_engine_open(NULL, 2, &none, &error), BQ_ERR_INVALID, "invalid", "config is NULL");
  REFUSED(bq_queue_open(NULL, &other, &error), BQ_ERR_INVALID, "invalid", "the engine is NULL");
  REFUSED(bq_queue_open((bq_engine *)queue, &other, &error), BQ_ERR_INVALID, "invalid", "does not stand for");
  REFUSED(bq_submit(NULL, op, 3, NULL, 0, 1, &error), BQ_ERR_INVALID, "invalid", "the queue is NULL");
  REFUSED(bq_submit(queue, NULL, 3, NULL, 0, 1, &error), BQ_ERR_INVALID, "invalid", "op is NULL");
  REFUSED(bq_submit(queue, op, 3, NULL, 1, 1, &error), BQ_ERR_INVALID, "invalid", "request is NULL");
  REFUSED(bq_submit(queue, (const uint8_t *)"\xff", 1, NULL, 0, 1, &error), BQ_ERR_INVALID, "invalid", "UTF-8");
  REFUSED(bq_queue_drain(queue, 1, NULL, &error), BQ_ERR_INVALID, "invalid", "out is NULL");
  REFUSED(bq_queue_drain(queue, 0, &buffer, &error), BQ_ERR_INVALID, "invalid", "max is 0");
  CHECK(bq_submit(queue, NULL, 3, NULL, 0, 1, NULL) == BQ_ERR_INVALID);
  CHECK(bq_engine_close(NULL, 0) == BQ_ERR_INVALID && bq_queue_close(NULL) == BQ_ERR_INVALID);
  CHECK(bq_queue_wait(NULL, 0) == BQ_ERR_INVALID && bq_cancel(NULL, 1) == BQ_ERR_INVALID && bq_queue_fd(NULL) == -1);
  CHECK(bq_error_status(NULL) == BQ_ERR_INVALID && bq_error_code(NULL)[0] == 0 && bq_error_message(NULL)[0] == 0);
  bq_error_free(NULL);
  bq_buffer_free(NULL);
}

static void bad_operations(bq_queue *queue) {
  expect(call(queue, "make_coffee", "{}"), "\"code\":\"invalid\"");
  expect(call(queue, "get", "not json"), "\"code\":\"invalid\"");
  expect(call(queue, "", ""), "\"code\":\"invalid\"");
}

static void closed_handles(bq_engine *engine, bq_queue *queue) {
  bq_error *error = NULL;
  bq_queue *other = NULL;
  bq_buffer *buffer = NULL;
  CHECK(bq_queue_close(queue) == BQ_OK);
  CHECK(bq_queue_close(queue) == BQ_ERR_CLOSED);
  CHECK(bq_queue_wait(queue, -1) == BQ_ERR_CLOSED && bq_cancel(queue, 1) == BQ_ERR_CLOSED && bq_queue_fd(queue) == -1);
  REFUSED(bq_submit(queue, (const uint8_t *)"get", 3, NULL, 0, 1, &error), BQ_ERR_CLOSED, "closed", "queue was closed");
  REFUSED(bq_queue_drain(queue, 1, &buffer, &error), BQ_ERR_CLOSED, "closed", "queue was closed");
  CHECK(bq_engine_close(engine, SOON) == BQ_OK);
  CHECK(bq_engine_close(engine, 0) == BQ_ERR_CLOSED);
  REFUSED(bq_queue_open(engine, &other, &error), BQ_ERR_CLOSED, "closed", "engine was closed");
}

int main(void) {
  bad_configurations();
  bq_engine *engine = open_engine("{\"url\": \"memory:\"}");
  bq_queue *queue = open_queue(engine);
  bad_arguments(queue);
  bad_operations(queue);
  closed_handles(engine, queue);
  return 0;
}

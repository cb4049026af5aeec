/* The main job in C, on the store named by the first argument: submit tasks, work them, read the results. */
#include <poll.h>

#include "check.h"

#define ID 64

/* A request that names one thing, such as {"id": "..."}. */
static const char *with(const char *format, const char *value) {
  static char request[512];
  CHECK(snprintf(request, sizeof request, format, value) < (int)sizeof request);
  return request;
}

static void wait_until_readable(bq_queue *queue) {
  struct pollfd ready = {bq_queue_fd(queue), POLLIN, 0};
  CHECK(poll(&ready, 1, SOON) == 1 && (ready.revents & POLLIN) != 0);
}

static void submit_tasks(bq_queue *queue, char *lone) {
  char *completion = call(queue, "submit", "{\"type\": \"greet\", \"input\": {\"name\": \"Ada\"}, \"priority\": 9}");
  CHECK(field(completion, "id", lone, ID) != NULL);
  free(completion);
  completion = call(queue, "submit_many", "{\"type\": \"greet\", \"inputs\": [1, 2, 3, 4, 5, 6, 7, 8, 9]}");
  CHECK(has(completion, "\"ids\":["));
  free(completion);
  completion = call(queue, "get", with("{\"ids\": [\"%s\"]}", lone));
  CHECK(has(completion, "\"status\":\"pending\"") && has(completion, "\"Ada\""));
  free(completion);
  expect(call(queue, "wait", with("{\"id\": \"%s\", \"timeout\": \"10ms\"}", lone)), "\"code\":\"timeout\"");
  expect(call(queue, "submit", "{\"type\": \"../up\", \"input\": 1}"), "\"code\":\"invalid\"");
  expect(call(queue, "get", "{\"ids\": [\"../up\"]}"), "\"code\":\"invalid\"");
}

/* Settles every assignment in the completion of worker.next: one task fails for good, the others complete. */
static int settle(bq_queue *queue, const char *worker, const char *assignments) {
  static char request[16384];
  char id[ID], lease[ID];
  int count = 0, used = snprintf(request, sizeof request, "{\"worker\": \"%s\", \"outcomes\": [", worker);
  const char *rest = strstr(assignments, "\"assignments\":[");
  const char *end = strstr(assignments, "\"lost\":");
  CHECK(rest != NULL && end != NULL);
  while ((rest = field(rest, "id", id, sizeof id)) != NULL && rest < end) {
    CHECK((rest = field(rest, "lease", lease, sizeof lease)) != NULL);
    const char *outcome = strncmp(rest, "\",\"type\":\"greet\",\"input\":5,", 27) == 0
                              ? "\"fail\", \"error\": {\"type\": \"Five\", \"message\": \"no five\"}, \"retry\": false"
                              : "\"complete\", \"output\": {\"said\": \"hello\"}";
    used += snprintf(request + used, sizeof request - (size_t)used,
                     "%s{\"id\": \"%s\", \"lease\": \"%s\", \"outcome\": %s}", count == 0 ? "" : ", ", id, lease, outcome);
    CHECK(used < (int)sizeof request - 3);
    count++;
  }
  strcpy(request + used, "]}");
  if (count > 0) expect(call(queue, "worker.settle", request), "\"state\":\"committed\"");
  return count;
}

static void work(bq_queue *queue, int tasks) {
  char worker[ID];
  char *completion = call(queue, "worker.start", "{\"types\": [\"greet\"], \"concurrency\": 4}");
  CHECK(field(completion, "worker", worker, sizeof worker) != NULL);
  free(completion);
  while (tasks > 0) {
    submit(queue, "worker.next", with("{\"worker\": \"%s\", \"max\": 4, \"wait\": 20}", worker), 1);
    wait_until_readable(queue);
    completion = next(queue, 1);
    CHECK(has(completion, "\"state\":\"running\""));
    int settled = settle(queue, worker, completion);
    CHECK(settled > 0 && settled <= 4);
    tasks -= settled;
    free(completion);
  }
  expect(call(queue, "workers", "{}"), worker);
  expect(call(queue, "worker.drain", with("{\"worker\": \"%s\"}", worker)), "\"ok\":");
  expect(call(queue, "worker.next", with("{\"worker\": \"%s\", \"max\": 1}", worker)), "\"state\":\"draining\"");
  expect(call(queue, "worker.stop", with("{\"worker\": \"%s\"}", worker)), "\"released\":0");
  expect(call(queue, "worker.next", with("{\"worker\": \"%s\", \"max\": 1}", worker)), "\"code\":\"closed\"");
}

static void read_results(bq_queue *queue, const char *lone) {
  char *completion = call(queue, "wait", with("{\"id\": \"%s\", \"timeout\": 20}", lone));
  CHECK(has(completion, "\"status\":\"completed\"") && has(completion, "\"hello\""));
  free(completion);
  completion = call(queue, "list", "{\"status\": [\"failed\"]}");
  CHECK(has(completion, "\"message\":\"no five\"") && has(completion, "\"type\":\"Five\""));
  free(completion);
  completion = call(queue, "history", with("{\"id\": \"%s\"}", lone));
  CHECK(has(completion, "\"status\":\"pending\"") && has(completion, "\"status\":\"running\""));
  CHECK(has(completion, "\"status\":\"completed\"") && has(completion, "\"complete\":true"));
  free(completion);
  expect(call(queue, "usage", "{}"), "\"requests\":{\"put\":");
}

/* Cancelled, and cut off by the close of the engine: either way the operation completes, as closed. */
static void close_with_operations_in_flight(bq_engine *engine, bq_queue *queue) {
  char id[ID];
  char *completion = call(queue, "submit", "{\"type\": \"nobody_works_this\", \"input\": null}");
  CHECK(field(completion, "id", id, sizeof id) != NULL);
  free(completion);
  submit(queue, "wait", with("{\"id\": \"%s\"}", id), 7);
  CHECK(bq_queue_wait(queue, 20) == BQ_TIMEOUT);
  CHECK(bq_cancel(queue, 7) == BQ_OK);
  expect(next(queue, 1), "[{\"token\":7,\"error\":{\"code\":\"closed\"");
  submit(queue, "wait", with("{\"id\": \"%s\"}", id), 8);
  int32_t closed = bq_engine_close(engine, 200);
  CHECK(closed == BQ_OK || closed == BQ_TIMEOUT);
  expect(next(queue, 10), "[{\"token\":8,\"error\":{\"code\":\"closed\"");
  CHECK(bq_queue_wait(queue, -1) == BQ_ERR_CLOSED);
  CHECK(bq_submit(queue, (const uint8_t *)"usage", 5, NULL, 0, 9, NULL) == BQ_ERR_CLOSED);
  CHECK(bq_queue_close(queue) == BQ_OK);
}

int main(int argc, char **argv) {
  char lone[ID];
  CHECK(argc == 2);
  CHECK(bq_abi_version() >> 16 == BQ_ABI_VERSION >> 16 && bq_abi_version() >= BQ_ABI_VERSION);
  bq_engine *engine = open_engine(with("{\"url\": \"%s\"}", argv[1]));
  bq_queue *queue = open_queue(engine);
  expect(call(queue, "connect", "{}"), "\"format\":1");
  submit_tasks(queue, lone);
  work(queue, 10);
  read_results(queue, lone);
  close_with_operations_in_flight(engine, queue);
  return 0;
}

/* Requests as an attacker or a broken caller would write them: each gets one answer, and the engine goes on. */
#include "check.h"

#define DEEP 100000
#define IN_FLIGHT 500
#define ARRAY_LENGTH(array) (sizeof(array) / sizeof *(array))

typedef struct operation {
  const char *name;
  const char *request;
} operation;

/* Every operation with a request that has the right form. */
static const operation OPERATIONS[] = {
    {"connect", "{}"},
    {"submit", "{\"type\":\"t\",\"input\":{\"a\":[1,\"\\ud83d\\ude00\"]},\"retry\":{\"max_retries\":1},\"delay\":\"1h\"}"},
    {"submit_many", "{\"type\":\"t\",\"inputs\":[1,null],\"priority\":9}"},
    {"get", "{\"ids\":[\"6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000\"]}"},
    {"list", "{\"status\":[\"pending\"],\"type\":\"t\",\"limit\":2}"},
    {"history", "{\"id\":\"6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000\",\"limit\":1}"},
    {"wait", "{\"id\":\"6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000\",\"timeout\":0}"},
    {"workers", "{}"},
    {"usage", "{}"},
    {"worker.start", "{\"types\":[\"t\"],\"concurrency\":1,\"prefetch\":0}"},
    {"worker.next", "{\"worker\":\"b3f0a7d12c4e8a90\",\"max\":1,\"wait\":0}"},
    {"worker.settle",
     "{\"worker\":\"b3f0a7d12c4e8a90\",\"outcomes\":[{\"id\":\"6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000\","
     "\"lease\":\"e1d2c3b4a5968788\",\"outcome\":\"complete\",\"output\":1}]}"},
    {"worker.extend",
     "{\"worker\":\"b3f0a7d12c4e8a90\",\"id\":\"6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000\","
     "\"lease\":\"e1d2c3b4a5968788\",\"by\":\"5m\"}"},
    {"worker.stuck", "{\"worker\":\"b3f0a7d12c4e8a90\",\"places\":1}"},
    {"worker.drain", "{\"worker\":\"b3f0a7d12c4e8a90\"}"},
    {"worker.stop", "{\"worker\":\"b3f0a7d12c4e8a90\"}"},
};

/* Submits exactly these bytes from a block of their own size, so that a read beyond them is noticed. */
static void submit_bytes(bq_queue *queue, const char *op, const char *bytes, size_t len) {
  bq_error *error = NULL;
  uint8_t *exact = malloc(len == 0 ? 1 : len);
  CHECK(exact != NULL);
  memcpy(exact, bytes, len);
  check_ok(bq_submit(queue, (const uint8_t *)op, strlen(op), exact, len, 1, &error), error);
  free(exact);
}

static void expect_answers(bq_queue *queue, int *in_flight) {
  while (*in_flight > 0) {
    char *completion = next(queue, 1);
    CHECK(has(completion, "\"ok\":") || has(completion, "\"error\":{\"code\":\""));
    CHECK(!has(completion, "\"internal\""));
    free(completion);
    --*in_flight;
  }
}

static void expect_refusal(bq_queue *queue, const char *op, const char *bytes, size_t len) {
  submit_bytes(queue, op, bytes, len);
  expect(next(queue, 1), "\"error\":{\"code\":\"invalid\"");
}

static void every_request_cut_short(bq_queue *queue) {
  int in_flight = 0;
  for (size_t i = 0; i < ARRAY_LENGTH(OPERATIONS); i++) {
    for (size_t len = 0; len < strlen(OPERATIONS[i].request); len++) {
      submit_bytes(queue, OPERATIONS[i].name, OPERATIONS[i].request, len);
      if (++in_flight == IN_FLIGHT) expect_answers(queue, &in_flight);
    }
  }
  expect_answers(queue, &in_flight);
}

/* Every byte of every request once replaced by a byte that UTF-8 does not know, and by a NUL. */
static void every_request_with_a_bad_byte(bq_queue *queue) {
  int in_flight = 0;
  for (size_t i = 0; i < ARRAY_LENGTH(OPERATIONS); i++) {
    size_t len = strlen(OPERATIONS[i].request);
    char *text = malloc(len + 1);
    CHECK(text != NULL);
    for (size_t place = 0; place < 2 * len; place++) {
      memcpy(text, OPERATIONS[i].request, len + 1);
      text[place / 2] = place % 2 == 0 ? '\xff' : '\0';
      submit_bytes(queue, OPERATIONS[i].name, text, len);
      if (++in_flight == IN_FLIGHT) expect_answers(queue, &in_flight);
    }
    free(text);
  }
  expect_answers(queue, &in_flight);
}

static void text_that_is_not_utf8(bq_queue *queue) {
  const char *bad[] = {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"};
  char request[128];
  for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
    bq_error *error = NULL;
    int32_t status = bq_submit(queue, (const uint8_t *)bad[i], strlen(bad[i]), NULL, 0, 1, &error);
    CHECK(status == BQ_ERR_INVALID && has(bq_error_message(error), "UTF-8"));
    bq_error_free(error);
    expect_refusal(queue, "list", bad[i], strlen(bad[i]));
    snprintf(request, sizeof request, "{\"type\":\"t\",\"input\":\"%s\"}", bad[i]);
    expect_refusal(queue, "submit", request, strlen(request));
    snprintf(request, sizeof request, "{\"type\":\"t\",\"input\":1,\"%s\":1}", bad[i]);
    expect_refusal(queue, "submit", request, strlen(request));

    bq_engine *engine = NULL;
    snprintf(request, sizeof request, "{\"url\":\"sqlite:%s\"}", bad[i]);
    status = bq_engine_open((const uint8_t *)request, strlen(request), &engine, &error);
    CHECK((status == BQ_ERR_INVALID || status == BQ_ERR_CONFIG) && engine == NULL && error != NULL);
    bq_error_free(error);
  }
  expect_refusal(queue, "li\x01st", "{}", 2);
  const char *half = "{\"type\":\"t\",\"input\":\"\\ud800\"}"; /* of a character */
  expect_refusal(queue, "submit", half, strlen(half));
}

static void nesting_without_end(bq_queue *queue) {
  const char *starts[] = {
      "",           "{\"input\":",    "{\"type\":\"t\",\"input\":", "{\"type\":\"t\",\"inputs\":", "{\"retry\":",
      "{\"ids\":",  "{\"status\":",   "{\"outcomes\":",             "{\"outcomes\":[{\"output\":", "{\"unknown\":",
      "{\"types\":", "{\"timeout\":",
  };
  const char *units[] = {"[", "{\"a\":"};
  for (size_t unit = 0; unit < ARRAY_LENGTH(units); unit++) {
    size_t step = strlen(units[unit]);
    for (size_t start = 0; start < ARRAY_LENGTH(starts); start++) {
      size_t head = strlen(starts[start]), len = head + DEEP * step;
      char *text = malloc(len + DEEP + 2);
      CHECK(text != NULL);
      memcpy(text, starts[start], head);
      for (size_t i = 0; i < DEEP; i++) memcpy(text + head + i * step, units[unit], step);
      for (size_t i = 0; i < ARRAY_LENGTH(OPERATIONS); i++) {
        expect_refusal(queue, OPERATIONS[i].name, text, len);
      }
      memset(text + len, step == 1 ? ']' : '}', DEEP); /* now closed, and still too deep for every reader */
      text[len + DEEP] = '}';
      expect_refusal(queue, "submit", text, len + DEEP + (head > 0));
      expect_refusal(queue, "submit_many", text, len + DEEP + (head > 0));

      bq_engine *engine = NULL;
      bq_error *error = NULL;
      CHECK(bq_engine_open((const uint8_t *)text, len, &engine, &error) != BQ_OK && engine == NULL);
      bq_error_free(error);
      free(text);
    }
  }
}

/* `count` times `unit` between `start` and `end`. */
static void repeated(bq_queue *queue, const char *op, const char *start, const char *unit, size_t count,
                     const char *end) {
  size_t step = strlen(unit), head = strlen(start), len = head + count * step;
  char *text = malloc(len + strlen(end) + 1);
  CHECK(text != NULL);
  memcpy(text, start, head);
  for (size_t i = 0; i < count; i++) memcpy(text + head + i * step, unit, step);
  strcpy(text + len, end);
  expect_refusal(queue, op, text, strlen(text));
  free(text);
}

static void more_than_the_limits(bq_queue *queue) {
  const operation numbers[] = {
      {"list", "{\"limit\":0}"},
      {"list", "{\"limit\":1001}"},
      {"list", "{\"limit\":18446744073709551615}"},
      {"list", "{\"limit\":18446744073709551616}"},
      {"list", "{\"limit\":-1}"},
      {"submit", "{\"type\":\"t\",\"input\":1,\"priority\":99999999999999999999}"},
      {"submit", "{\"type\":\"t\",\"input\":1,\"timeout\":1e308}"},
      {"submit", "{\"type\":\"t\",\"input\":1e999}"},
      {"submit", "{\"type\":\"t\",\"input\":1,\"at\":\"99999-01-01T00:00:00Z\"}"},
      {"submit", "{\"type\":\"t\",\"input\":1,\"retry\":{\"max_retries\":4294967296}}"},
      {"worker.start", "{\"types\":[\"t\"],\"concurrency\":18446744073709551615}"},
      {"worker.start", "{\"types\":[],\"concurrency\":1}"},
      {"worker.next", "{\"worker\":\"b3f0a7d12c4e8a90\",\"max\":1,\"wait\":-1}"},
  };
  for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
    expect_refusal(queue, numbers[i].name, numbers[i].request, strlen(numbers[i].request));
  }
  repeated(queue, "submit", "{\"type\":\"", "x", 129, "\",\"input\":1}");
  repeated(queue, "submit", "{\"type\":\"", "x", 1 << 20, "\",\"input\":1}");
  repeated(queue, "submit", "{\"type\":\"t\",\"input\":\"", "x", 4194303, "\"}");
  repeated(queue, "submit_many", "{\"type\":\"t\",\"inputs\":[0", ",0", 100000, "]}");
  repeated(queue, "get", "{\"ids\":[\"\"", ",\"\"", 100000, "]}");
  repeated(queue, "history", "{\"id\":\"", "0", 1 << 20, "\"}");
  repeated(queue, "worker.start", "{\"types\":[\"t\"],\"concurrency\":1,\"host\":\"", "x", 256, "\"}");
  repeated(queue, "worker.start", "{\"concurrency\":1,\"types\":[\"t\"", ",\"t\"", 1000, "]}");
}

/* No byte behind such a length may be read: there are only a few. */
static void lengths_that_no_caller_can_mean(bq_queue *queue) {
  const size_t lengths[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1, SIZE_MAX / 2, (size_t)BQ_MAX_BYTES + 1};
  const uint8_t *bytes = (const uint8_t *)"list";
  for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
    bq_engine *engine = (bq_engine *)1;
    bq_error *errors[3] = {NULL, NULL, NULL};
    CHECK(bq_submit(queue, bytes, lengths[i], NULL, 0, 1, &errors[0]) == BQ_ERR_INVALID);
    CHECK(bq_submit(queue, bytes, 4, bytes, lengths[i], 1, &errors[1]) == BQ_ERR_INVALID);
    CHECK(bq_engine_open(bytes, lengths[i], &engine, &errors[2]) == BQ_ERR_INVALID && engine == NULL);
    for (int e = 0; e < 3; e++) {
      CHECK(has(bq_error_message(errors[e]), "length"));
      bq_error_free(errors[e]);
    }
    CHECK(bq_submit(queue, NULL, lengths[i], NULL, lengths[i], 1, NULL) == BQ_ERR_INVALID);
  }
  CHECK(bq_queue_wait(queue, 0) == BQ_TIMEOUT); /* nothing was accepted */

  const int64_t far[] = {INT64_MAX, INT64_MAX - 1, INT64_MIN, -1};
  for (size_t i = 0; i < ARRAY_LENGTH(far); i++) {
    submit(queue, "usage", "{}", UINT64_MAX);
    CHECK(bq_queue_wait(queue, far[i]) == BQ_OK);
    bq_buffer *buffer = NULL;
    CHECK(bq_queue_drain(queue, SIZE_MAX, &buffer, NULL) == BQ_OK);
    CHECK(buffer != NULL && has((const char *)buffer->data, "\"token\":18446744073709551615,"));
    bq_buffer_free(buffer);
  }
}

int main(void) {
  bq_engine *engine = open_engine("{\"url\": \"memory:\"}");
  bq_queue *queue = open_queue(engine);
  every_request_cut_short(queue);
  every_request_with_a_bad_byte(queue);
  text_that_is_not_utf8(queue);
  nesting_without_end(queue);
  more_than_the_limits(queue);
  lengths_that_no_caller_can_mean(queue);
  free(call(queue, "submit", "{\"type\":\"t\",\"input\":1}")); /* all is well */
  CHECK(bq_queue_close(queue) == BQ_OK && bq_engine_close(engine, INT64_MAX) == BQ_OK);
  return 0;
}

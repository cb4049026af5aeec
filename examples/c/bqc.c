#define _POSIX_C_SOURCE 200809L
#include "bqc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buquet.h"
#include "json.h"

enum { DRAIN = 256 };

struct bqc_client {
  bq_engine *engine;
};

/* An operation on a loop that has not been answered. */
struct pending {
  bqc_token token;
  bqc_callback *callback;
  void *context;
  struct pending *next;
};

struct bqc_loop {
  bq_queue *queue;
  bqc_token last;
  struct pending *pending; /* newest first */
};

/* Errors. */

bool bqc_is(const bqc_error *error, const char *code) { return strcmp(error->code, code) == 0; }

static void set_error(bqc_error *error, const char *code, const char *message) {
  if (error == NULL) return;
  snprintf(error->code, sizeof error->code, "%s", code);
  snprintf(error->message, sizeof error->message, "%s", message);
}

/* Whether a call of the library succeeded. Takes its error over and frees it. */
static bool succeeded(int32_t status, bq_error *native, bqc_error *error) {
  if (status < 0) set_error(error, bq_error_code(native), bq_error_message(native));
  bq_error_free(native);
  return status >= 0;
}

static void out_of_memory(bqc_error *error) { set_error(error, "resources", "out of memory"); }

/* A completion's error as ours. */
static void read_error(json value, bqc_error *error) {
  char *code = json_string(json_member(value, "code"));
  char *message = json_string(json_member(value, "message"));
  set_error(error, code != NULL ? code : "resources", message != NULL ? message : "out of memory");
  free(code);
  free(message);
}

/* Clients. */

bqc_client *bqc_open(const char *config, bqc_error *error) {
  if (bq_abi_version() >> 16 != BQ_ABI_VERSION >> 16 || bq_abi_version() < BQ_ABI_VERSION) {
    set_error(error, "config", "the libbuquet that was loaded is too old or too new for this program");
    return NULL;
  }
  bqc_client *client = malloc(sizeof *client);
  if (client == NULL) {
    out_of_memory(error);
    return NULL;
  }
  bq_error *native = NULL;
  size_t len = config == NULL ? 0 : strlen(config);
  int32_t status = bq_engine_open((const uint8_t *)config, len, &client->engine, &native);
  if (!succeeded(status, native, error)) {
    free(client);
    return NULL;
  }
  return client;
}

bool bqc_close(bqc_client *client, int timeout_ms) {
  if (client == NULL) return true;
  int32_t status = bq_engine_close(client->engine, timeout_ms);
  free(client);
  return status == BQ_OK;
}

/* Calls that block: each has a completion queue to itself, so that threads do not get each other's answers. */

static bool start(bq_queue *queue, const char *op, const char *request, uint64_t token, bqc_error *error) {
  bq_error *native = NULL;
  size_t len = request == NULL ? 0 : strlen(request);
  int32_t status =
      bq_submit(queue, (const uint8_t *)op, strlen(op), (const uint8_t *)request, len, token, &native);
  return succeeded(status, native, error);
}

/* Takes up to `max` completions. True with `*drained` NULL if there are none. */
static bool drain(bq_queue *queue, size_t max, bq_buffer **drained, bqc_error *error) {
  bq_error *native = NULL;
  return succeeded(bq_queue_drain(queue, max, drained, &native), native, error);
}

/* Waits for the one completion that will come and returns its answer. */
static char *take_answer(bq_queue *queue, bqc_error *error) {
  bq_buffer *drained = NULL;
  int32_t status = bq_queue_wait(queue, -1);
  if (status < 0) {
    set_error(error, status == BQ_ERR_FORKED ? "forked" : "closed", "the client was closed during the call");
    return NULL;
  }
  if (!drain(queue, 1, &drained, error)) return NULL;
  json completion = {0};
  json_next(json_parse((const char *)drained->data), &completion);
  json ok = json_member(completion, "ok");
  char *answer = json_text(ok);
  if (ok.at == NULL) {
    read_error(json_member(completion, "error"), error);
  } else if (answer == NULL) {
    out_of_memory(error);
  }
  bq_buffer_free(drained);
  return answer;
}

char *bqc_call(bqc_client *client, const char *op, const char *request, bqc_error *error) {
  bq_queue *queue = NULL;
  bq_error *native = NULL;
  if (!succeeded(bq_queue_open(client->engine, &queue, &native), native, error)) return NULL;
  char *answer = start(queue, op, request, 1, error) ? take_answer(queue, error) : NULL;
  bq_queue_close(queue);
  return answer;
}

/* Runs an operation with a request that was written to `out`, a memory stream over `*request`; closes and frees it. */
static char *call_written(bqc_client *client, const char *op, FILE *out, char **request, bqc_error *error) {
  char *answer = NULL;
  if (fclose(out) == 0) {
    answer = bqc_call(client, op, *request, error);
  } else {
    out_of_memory(error);
  }
  free(*request);
  return answer;
}

/* Ends an object with the fields of another one. What is no object the engine will refuse. */
static void write_fields(FILE *out, const char *object) {
  static const char space[] = " \t\r\n";
  object += strspn(object, space);
  if (*object == '{') object += 1 + strspn(object + 1, space);
  if (*object != '}') fputs(", ", out);
  fputs(object, out);
}

char *bqc_submit(bqc_client *client, const char *type, const char *input, const char *options, bqc_error *error) {
  char *request = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&request, &len);
  if (out == NULL) {
    out_of_memory(error);
    return NULL;
  }
  fputs("{\"type\": ", out);
  json_write(out, type);
  fprintf(out, ", \"input\": %s", input);
  write_fields(out, options == NULL ? "{}" : options);
  char *answer = call_written(client, "submit", out, &request, error);
  if (answer == NULL) return NULL;
  char *id = json_string(json_member(json_parse(answer), "id"));
  if (id == NULL) out_of_memory(error);
  free(answer);
  return id;
}

char *bqc_wait(bqc_client *client, const char *id, double seconds, bqc_error *error) {
  char *request = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&request, &len);
  if (out == NULL) {
    out_of_memory(error);
    return NULL;
  }
  fputs("{\"id\": ", out);
  json_write(out, id);
  if (seconds >= 0) fprintf(out, ", \"timeout\": \"%lldms\"", (long long)(seconds * 1000)); /* %f goes by the locale */
  fputc('}', out);
  return call_written(client, "wait", out, &request, error);
}

/* Loops. */

bqc_loop *bqc_loop_open(bqc_client *client, bqc_error *error) {
  bqc_loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) {
    out_of_memory(error);
    return NULL;
  }
  bq_error *native = NULL;
  if (!succeeded(bq_queue_open(client->engine, &loop->queue, &native), native, error)) {
    free(loop);
    return NULL;
  }
  return loop;
}

int bqc_loop_fd(const bqc_loop *loop) { return bq_queue_fd(loop->queue); }

bqc_token bqc_loop_start(bqc_loop *loop, const char *op, const char *request, bqc_callback *callback, void *context,
                         bqc_error *error) {
  struct pending *pending = malloc(sizeof *pending);
  if (pending == NULL) {
    out_of_memory(error);
    return 0;
  }
  *pending = (struct pending){loop->last + 1, callback, context, loop->pending};
  if (!start(loop->queue, op, request, pending->token, error)) {
    free(pending);
    return 0;
  }
  loop->pending = pending;
  return ++loop->last;
}

void bqc_loop_cancel(bqc_loop *loop, bqc_token token) { bq_cancel(loop->queue, token); }

static struct pending *take_pending(bqc_loop *loop, bqc_token token) {
  struct pending **place = &loop->pending;
  while (*place != NULL && (*place)->token != token) place = &(*place)->next;
  struct pending *found = *place;
  if (found != NULL) *place = found->next;
  return found;
}

static void complete(bqc_loop *loop, json completion) {
  struct pending *pending = take_pending(loop, strtoull(json_member(completion, "token").at, NULL, 10));
  if (pending == NULL) return;
  bqc_error error;
  json ok = json_member(completion, "ok");
  char *answer = json_text(ok);
  if (ok.at == NULL) {
    read_error(json_member(completion, "error"), &error);
  } else if (answer == NULL) {
    out_of_memory(&error);
  }
  pending->callback(pending->context, answer, answer == NULL ? &error : NULL);
  free(answer);
  free(pending);
}

bool bqc_loop_dispatch(bqc_loop *loop, bqc_error *error) {
  bq_buffer *drained = NULL;
  while (drain(loop->queue, DRAIN, &drained, error)) {
    if (drained == NULL) return true;
    json completions = json_parse((const char *)drained->data);
    for (json completion = {0}; json_next(completions, &completion);) complete(loop, completion);
    bq_buffer_free(drained);
  }
  return false;
}

void bqc_loop_close(bqc_loop *loop) {
  if (loop == NULL) return;
  bq_queue_close(loop->queue);
  bqc_error error;
  set_error(&error, "closed", "the loop was closed before the operation was done; it may still have taken effect");
  while (loop->pending != NULL) {
    struct pending *pending = take_pending(loop, loop->pending->token);
    pending->callback(pending->context, NULL, &error);
    free(pending);
  }
  free(loop);
}

#define _POSIX_C_SOURCE 200809L
#include "bqc_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bqc_attempt.h"
#include "json.h"

struct worker {
  const bqc_worker_options *options;
  bqc_loop *loop;
  char *id;
  bqc_attempt *running; /* those with a thread */
  int busy;             /* how many those are */
  int settling;         /* outcomes on their way */
  bqc_token asking;     /* the worker.next under way, 0 if there is none */
  int asked;            /* for how many tasks */
  bool draining;
  double drained_by; /* then what still runs is given back */
  bool failed;
  bqc_error *error;
  int wake[2]; /* a pipe with a byte for each thread that has ended */
  pthread_mutex_t lock;
  bqc_attempt *done; /* attempts whose threads have ended, in the lock */
};

/* An outcome on its way. */
struct settling {
  struct worker *worker;
  char *id, *lease;
  char *request;
  bool last_try; /* it says already that another outcome was refused */
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static char *string_of(json object, const char *name) { return bqc_need(json_string(json_member(object, name))); }

/* Ending. */

static void drain(struct worker *worker);

static void fail(struct worker *worker, const bqc_error *error) {
  if (!worker->failed && worker->error != NULL) *worker->error = *error;
  worker->failed = true;
  drain(worker);
}

static void ignore(void *context, const char *answer, const bqc_error *error) {
  (void)context;
  (void)answer;
  (void)error;
}

/* A request that is about this worker: {"worker": ID and what follows. The caller frees it. */
static char *request_with(const struct worker *worker, const char *format, ...) {
  char *request = NULL;
  size_t len = 0;
  FILE *out = bqc_need(open_memstream(&request, &len));
  va_list arguments;
  va_start(arguments, format);
  fprintf(out, "{\"worker\": \"%s\"", worker->id);
  vfprintf(out, format, arguments);
  fputc('}', out);
  va_end(arguments);
  fclose(out);
  return bqc_need(request);
}

/* Claims no more; the library gives back what it had claimed ahead. */
static void drain(struct worker *worker) {
  if (worker->draining) return;
  worker->draining = true;
  worker->drained_by = now() + worker->options->drain_seconds;
  bqc_say("worker %s: draining, %d task(s) at work", worker->id, worker->busy);
  char *request = request_with(worker, "");
  bqc_loop_start(worker->loop, "worker.drain", request, ignore, NULL, NULL);
  free(request);
}

/* Outcomes. */

static void settled(void *context, const char *answer, const bqc_error *error);

static void send_outcome(struct settling *settling) {
  bqc_error error;
  if (bqc_loop_start(settling->worker->loop, "worker.settle", settling->request, settled, settling, &error) == 0) {
    settled(settling, NULL, &error);
  }
}

/* Sends an outcome, given as the fields of its JSON object. */
static void settle(struct worker *worker, const char *id, const char *lease, const char *fields, bool last_try) {
  struct settling *settling = bqc_need(malloc(sizeof *settling));
  char *request = request_with(worker, ", \"outcomes\": [{\"id\": \"%s\", \"lease\": \"%s\", %s}]", id, lease, fields);
  *settling = (struct settling){worker, bqc_need(strdup(id)), bqc_need(strdup(lease)), request, last_try};
  worker->settling++;
  send_outcome(settling);
}

/* The outcome cannot be stored: too large an output, or no JSON. The task fails for good instead. */
static void settle_refusal(struct settling *settling, const char *message) {
  bqc_say("task %s: the outcome is refused: %s", settling->id, message);
  if (settling->last_try) return;
  char *fields = NULL;
  size_t len = 0;
  FILE *out = bqc_need(open_memstream(&fields, &len));
  bqc_write_failure(out, "OutcomeRefused", message, false);
  fclose(out);
  settle(settling->worker, settling->id, settling->lease, bqc_need(fields), true);
  free(fields);
}

static void read_settled(struct settling *settling, const char *answer) {
  json one = {0};
  json_next(json_member(json_parse(answer), "settled"), &one);
  char *state = string_of(one, "state"), *message = json_string(json_member(one, "message"));
  if (strcmp(state, "lease_lost") == 0) {
    bqc_say("task %s: the lease was lost, its outcome is dropped", settling->id);
  } else if (strcmp(state, "refused") == 0) {
    settle_refusal(settling, message == NULL ? "" : message);
  }
  free(state);
  free(message);
}

static void settled(void *context, const char *answer, const bqc_error *error) {
  struct settling *settling = context;
  struct worker *worker = settling->worker;
  if (answer != NULL) {
    read_settled(settling, answer);
  } else if (bqc_is(error, "unavailable") && !(worker->draining && now() > worker->drained_by)) {
    /* The library has tried for a while before it said so. The lease lasts as long as the heartbeat gets through. */
    bqc_say("task %s: the outcome cannot be stored yet: %s", settling->id, error->message);
    send_outcome(settling);
    return;
  } else if (bqc_is(error, "invalid")) {
    settle_refusal(settling, error->message);
  } else {
    bqc_say("task %s: the outcome is given up, the lease will run out: %s", settling->id, error->message);
  }
  worker->settling--;
  free(settling->id);
  free(settling->lease);
  free(settling->request);
  free(settling);
}

/* Attempts, as the worker sees them. */

static void *run(void *argument) {
  bqc_attempt *attempt = argument;
  struct worker *worker = attempt->worker;
  attempt->handler(attempt);
  pthread_mutex_lock(&worker->lock);
  attempt->next_done = worker->done;
  worker->done = attempt;
  pthread_mutex_unlock(&worker->lock);
  while (write(worker->wake[1], "", 1) < 0 && errno == EINTR) continue;
  return NULL;
}

static bqc_handler *handler_of(const struct worker *worker, const char *type) {
  for (size_t n = 0; n < worker->options->count; n++) {
    if (strcmp(worker->options->types[n], type) == 0) return worker->options->handlers[n];
  }
  return NULL;
}

static void take(struct worker *worker, json assignment) {
  bqc_attempt *attempt = bqc_need(calloc(1, sizeof *attempt));
  attempt->worker = worker;
  attempt->lock = &worker->lock;
  attempt->id = string_of(assignment, "id");
  attempt->lease = string_of(assignment, "lease");
  attempt->type = string_of(assignment, "type");
  attempt->input = bqc_need(json_text(json_member(assignment, "input")));
  attempt->number = (int)json_number(json_member(assignment, "attempt"));
  attempt->deadline = now() + json_number(json_member(assignment, "timeout_ms")) / 1000;
  attempt->handler = handler_of(worker, attempt->type);
  if (worker->draining || attempt->handler == NULL || pthread_create(&attempt->thread, NULL, run, attempt) != 0) {
    settle(worker, attempt->id, attempt->lease, "\"outcome\": \"release\"", false);
    bqc_attempt_free(attempt);
    return;
  }
  attempt->next = worker->running;
  worker->running = attempt;
  worker->busy++;
}

/* Another worker has the task, or will: tell the handler. */
static void lose(struct worker *worker, json loss) {
  char *lease = string_of(loss, "lease"), *id = string_of(loss, "id"), *reason = string_of(loss, "reason");
  for (bqc_attempt *attempt = worker->running; attempt != NULL; attempt = attempt->next) {
    if (strcmp(attempt->lease, lease) == 0 && strcmp(attempt->id, id) == 0 && bqc_attempt_give_up(attempt)) {
      bqc_say("task %s: the lease is lost: %s", id, reason);
    }
  }
  free(lease);
  free(id);
  free(reason);
}

/* Somebody wants the task called off: ask the handler to stop. What it then comes to counts. */
static void call_off(struct worker *worker, json wish) {
  char *lease = string_of(wish, "lease"), *id = string_of(wish, "id");
  char *by = json_string(json_member(wish, "by")), *reason = json_string(json_member(wish, "reason"));
  for (bqc_attempt *attempt = worker->running; attempt != NULL; attempt = attempt->next) {
    if (strcmp(attempt->lease, lease) == 0 && strcmp(attempt->id, id) == 0 && bqc_attempt_call_off(attempt)) {
      bqc_say("task %s: called off by %s: %s", id, by == NULL ? "somebody" : by,
              reason == NULL ? "no reason given" : reason);
    }
  }
  free(lease);
  free(id);
  free(by);
  free(reason);
}

static void free_slot(struct worker *worker, bqc_attempt *attempt) {
  bqc_attempt **place = &worker->running;
  while (*place != attempt) place = &(*place)->next;
  *place = attempt->next;
  worker->busy--;
  /* A request for no tasks can bring none, so it may be given up for a better one. */
  if (worker->asking != 0 && worker->asked == 0) bqc_loop_cancel(worker->loop, worker->asking);
}

/* Takes over the attempts whose handlers have returned. */
static void reap(struct worker *worker) {
  char bytes[64];
  if (read(worker->wake[0], bytes, sizeof bytes) < 0) return;
  pthread_mutex_lock(&worker->lock);
  bqc_attempt *done = worker->done;
  worker->done = NULL;
  pthread_mutex_unlock(&worker->lock);
  while (done != NULL) {
    bqc_attempt *attempt = done;
    done = attempt->next_done;
    pthread_join(attempt->thread, NULL);
    free_slot(worker, attempt);
    if (!attempt->over) {
      bool stopped = attempt->outcome == NULL && attempt->called_off;
      if (attempt->outcome == NULL && !stopped) {
        bqc_attempt_fail(attempt, "NoOutcome", "the handler returned without an outcome");
      }
      const char *fields = stopped ? "\"outcome\": \"cancel\"" : bqc_need(attempt->outcome);
      settle(worker, attempt->id, attempt->lease, fields, false);
    }
    bqc_attempt_free(attempt);
  }
}

/* Gives up the attempts whose time is up, and all of them at the end of the drain. A thread cannot be stopped: it keeps
   its place until the handler returns. */
static void watch_time(struct worker *worker) {
  double time = now();
  bool ending = worker->draining && time >= worker->drained_by;
  for (bqc_attempt *attempt = worker->running; attempt != NULL; attempt = attempt->next) {
    if (ending && bqc_attempt_give_up(attempt)) {
      settle(worker, attempt->id, attempt->lease, "\"outcome\": \"release\"", false);
    } else if (time >= attempt->deadline && bqc_attempt_give_up(attempt)) {
      bqc_say("task %s: its time is up", attempt->id);
      settle(worker, attempt->id, attempt->lease, "\"outcome\": \"timeout\"", false);
    }
  }
}

/* Asking for work. */

static void read_next(struct worker *worker, json answer) {
  for (json loss = {0}; json_next(json_member(answer, "lost"), &loss);) lose(worker, loss);
  for (json wish = {0}; json_next(json_member(answer, "cancelled"), &wish);) call_off(worker, wish);
  for (json problem = {0}; json_next(json_member(answer, "problems"), &problem);) {
    char *key = string_of(problem, "key"), *message = string_of(problem, "message");
    bqc_say("set aside: %s: %s", key, message);
    free(key);
    free(message);
  }
  for (json assignment = {0}; json_next(json_member(answer, "assignments"), &assignment);) take(worker, assignment);
  char *state = string_of(answer, "state");
  if (strcmp(state, "running") != 0) drain(worker);
  free(state);
}

static void answered(void *context, const char *answer, const bqc_error *error) {
  struct worker *worker = context;
  bool cancelled = worker->asked == 0;
  worker->asking = 0;
  if (answer != NULL) {
    read_next(worker, json_parse(answer));
  } else if (!bqc_is(error, "unavailable") && !(cancelled && bqc_is(error, "closed"))) {
    fail(worker, error);
  }
}

/* Keeps one request for work under way, also while there is no room for any: news of lost leases and of cancellations
   come that way. */
static void ask(struct worker *worker) {
  if (worker->asking != 0 || worker->failed) return;
  bqc_error error;
  worker->asked = worker->draining ? 0 : worker->options->concurrency - worker->busy;
  char *request = request_with(worker, ", \"max\": %d, \"wait\": 20", worker->asked);
  worker->asking = bqc_loop_start(worker->loop, "worker.next", request, answered, worker, &error);
  free(request);
  if (worker->asking == 0) fail(worker, &error);
}

/* The worker's thread. */

/* How long to poll, in milliseconds: until the next time something is to be given up. */
static int pause_ms(const struct worker *worker) {
  double first = now() + 60;
  for (bqc_attempt *attempt = worker->running; attempt != NULL; attempt = attempt->next) {
    if (bqc_attempt_is_given_up(attempt)) continue;
    if (attempt->deadline < first) first = attempt->deadline;
    if (worker->draining && worker->drained_by < first) first = worker->drained_by;
  }
  double left = first - now();
  return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

static void turn(struct worker *worker) {
  bqc_error error;
  struct pollfd ready[] = {
      {bqc_loop_fd(worker->loop), POLLIN, 0},
      {worker->wake[0], POLLIN, 0},
      {worker->draining ? -1 : worker->options->drain_fd, POLLIN, 0}, /* one below 0 is left out */
  };
  if (poll(ready, 3, pause_ms(worker)) < 0) return; /* a signal */
  if (ready[2].revents != 0) drain(worker);
  if (ready[1].revents != 0) reap(worker);
  if (ready[0].revents != 0 && !bqc_loop_dispatch(worker->loop, &error)) fail(worker, &error);
  watch_time(worker);
}

/* Signs the worker up with its types. */
static bool sign_up(bqc_client *client, struct worker *worker) {
  char *request = NULL;
  size_t len = 0;
  FILE *out = bqc_need(open_memstream(&request, &len));
  fputs("{\"types\": [", out);
  for (size_t n = 0; n < worker->options->count; n++) {
    if (n > 0) fputs(", ", out);
    json_write(out, worker->options->types[n]);
  }
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  fprintf(out, "], \"concurrency\": %d, \"host\": ", worker->options->concurrency);
  json_write(out, host);
  fputc('}', out);
  fclose(out);
  char *answer = bqc_call(client, "worker.start", bqc_need(request), worker->error);
  free(request);
  if (answer == NULL) return false;
  worker->id = string_of(json_parse(answer), "worker");
  free(answer);
  bqc_say("worker %s: up to %d task(s) at a time", worker->id, worker->options->concurrency);
  return true;
}

/* Gives back what is still held, and signs off. */
static void sign_off(bqc_client *client, struct worker *worker) {
  bqc_error error;
  char *request = request_with(worker, "");
  char *answer = bqc_call(client, "worker.stop", request, &error);
  bqc_say("worker %s: stopped%s%s", worker->id, answer == NULL ? ": " : "", answer == NULL ? error.message : "");
  free(request);
  free(answer);
}

/* Two descriptors that threads ring each other up with; reading never blocks. */
static bool open_pipe(int ends[2], bqc_error *error) {
  if (pipe(ends) == 0) {
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return true;
  }
  if (error != NULL) {
    *error = (bqc_error){"resources", ""};
    snprintf(error->message, sizeof error->message, "no pipe: %s", strerror(errno));
  }
  return false;
}

bool bqc_work(bqc_client *client, const bqc_worker_options *options, bqc_error *error) {
  struct worker worker = {.options = options, .error = error, .lock = PTHREAD_MUTEX_INITIALIZER};
  if (!open_pipe(worker.wake, error)) return false;
  worker.loop = bqc_loop_open(client, error);
  bool started = worker.loop != NULL && sign_up(client, &worker);
  if (started) {
    while (!(worker.draining && worker.busy == 0 && worker.settling == 0)) {
      ask(&worker);
      turn(&worker);
    }
    sign_off(client, &worker);
  }
  bool well = started && !worker.failed;
  worker.failed = true;        /* that the loop is closed is no news */
  bqc_loop_close(worker.loop); /* ends the last request for work */
  close(worker.wake[0]);
  close(worker.wake[1]);
  free(worker.id);
  return well;
}

/*
 * Submits, works and awaits tasks, on the queue that BUQUET_URL and the other usual places name.
 *
 *   bqc submit TYPE INPUT [OPTIONS]    stores a task, prints its id; INPUT is JSON, OPTIONS a JSON object
 *   bqc await ID [SECONDS]             waits for its end, prints its output
 *   bqc work [PREFIX] [CONCURRENCY]    runs sum, greet, ... under the types PREFIXsum, PREFIXgreet, ... until SIGTERM
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bqc.h"
#include "bqc_worker.h"
#include "handlers.h"
#include "json.h"

enum { FAILED = 1, USAGE = 2, CLOSE_MS = 5000 };

static int report(const bqc_error *error) {
  fprintf(stderr, "bqc: %s: %s\n", error->code, error->message);
  return FAILED;
}

static int usage(void) {
  fputs("usage: bqc submit TYPE INPUT [OPTIONS] | await ID [SECONDS] | work [PREFIX] [CONCURRENCY]\n", stderr);
  return USAGE;
}

static int submit(bqc_client *client, int count, char **words) {
  bqc_error error;
  char *id = bqc_submit(client, words[0], words[1], count > 2 ? words[2] : NULL, &error);
  if (id == NULL) return report(&error);
  puts(id);
  free(id);
  return 0;
}

static int await(bqc_client *client, int count, char **words) {
  bqc_error error;
  char *answer = bqc_wait(client, words[0], count > 1 ? strtod(words[1], NULL) : -1, &error);
  if (answer == NULL) return report(&error);
  json task = json_parse(answer);
  char *status = json_string(json_member(task, "status"));
  bool completed = status != NULL && strcmp(status, "completed") == 0;
  char *shown = json_text(json_member(task, completed ? "output" : "error"));
  if (completed) {
    puts(shown == NULL ? "null" : shown);
  } else {
    fprintf(stderr, "bqc: %s: %s: %s\n", words[0], status == NULL ? "?" : status, shown == NULL ? "?" : shown);
  }
  free(shown);
  free(status);
  free(answer);
  return completed ? 0 : FAILED;
}

/* The first signal is a byte in a pipe, which the worker polls. It is caught once: a second one ends the program, whose
   leases then run out. */
static int signalled[2];

static void on_signal(int number) {
  (void)number;
  if (write(signalled[1], "", 1) < 0) _exit(FAILED);
}

static int catch_signals(void) {
  struct sigaction action = {0};
  action.sa_handler = on_signal;
  action.sa_flags = (int)(SA_RESTART | SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  return pipe(signalled) == 0 && sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGINT, &action, NULL) == 0;
}

static int work(bqc_client *client, int count, char **words) {
  bqc_error error;
  const char *prefix = count > 0 ? words[0] : "";
  const char *types[HANDLERS];
  bqc_handler *functions[HANDLERS];
  char names[HANDLERS][128];
  for (size_t n = 0; n < HANDLERS; n++) {
    snprintf(names[n], sizeof names[n], "%s%s", prefix, handlers[n].name);
    types[n] = names[n];
    functions[n] = handlers[n].run;
  }
  if (!catch_signals()) {
    perror("bqc: signals");
    return FAILED;
  }
  bqc_worker_options options = {
      .types = types,
      .handlers = functions,
      .count = HANDLERS,
      .concurrency = count > 1 ? atoi(words[1]) : 4,
      .drain_fd = signalled[0],
      .drain_seconds = 30,
  };
  return bqc_work(client, &options, &error) ? 0 : report(&error);
}

int main(int argc, char **argv) {
  bqc_error error;
  const struct {
    const char *name;
    int least, most;
    int (*run)(bqc_client *client, int count, char **words);
  } commands[] = {{"submit", 2, 3, submit}, {"await", 1, 2, await}, {"work", 0, 2, work}};
  for (size_t n = 0; argc > 1 && n < sizeof commands / sizeof *commands; n++) {
    int count = argc - 2;
    if (strcmp(argv[1], commands[n].name) != 0 || count < commands[n].least || count > commands[n].most) continue;
    bqc_client *client = bqc_open(NULL, &error);
    if (client == NULL) return report(&error);
    int status = commands[n].run(client, count, argv + 2);
    bqc_close(client, CLOSE_MS);
    return status;
  }
  return usage();
}

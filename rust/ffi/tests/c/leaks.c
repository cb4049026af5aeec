/* A thousand opens and closes leave no thread and no descriptor behind; the descriptors are gone when a close returns. */
#include <dirent.h>
#include <sched.h>

#include "check.h"

/* The entries of a folder; -1 if the system has no such folder. */
static int entries(const char *path) {
  DIR *folder = opendir(path);
  if (folder == NULL) return -1;
  int count = 0;
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}

static void open_and_close(int round) {
  char config[128];
  snprintf(config, sizeof config, "{\"url\": \"%s\"}", round % 2 == 0 ? "memory:" : "sqlite:leaks.db");
  bq_engine *engine = open_engine(config);
  bq_queue *queues[3];
  for (int i = 0; i < 3; i++) {
    queues[i] = open_queue(engine);
    submit(queues[i], "list", "{}", 1);
  }
  free(next(queues[0], 10));
  if (round % 3 == 0) CHECK(bq_engine_close(engine, SOON) == BQ_OK);
  for (int i = 0; i < 3; i++) CHECK(bq_queue_close(queues[i]) == BQ_OK);
  if (round % 3 != 0) CHECK(bq_engine_close(engine, SOON) == BQ_OK);
}

/* The kernel may show a thread for a moment after it has ended; only the main one may stay. */
static void wait_for_threads_to_end(void) {
  for (long tries = 0; entries("/proc/self/task") > 2 + 1; tries++) { /* with . and .. */
    if (tries == 1000000) {
      fprintf(stderr, "%d threads are left\n", entries("/proc/self/task") - 2);
      exit(1);
    }
    sched_yield();
  }
}

int main(void) {
  for (int round = 0; round < 10; round++) open_and_close(round); /* what the process opens once, it has now */
  wait_for_threads_to_end();
  int before = entries("/dev/fd");
  for (int round = 0; round < 1000; round++) {
    open_and_close(round);
    int after = entries("/dev/fd");
    if (after != before) fprintf(stderr, "descriptors: %d before, %d after round %d\n", before, after, round);
    CHECK(after == before);
  }
  wait_for_threads_to_end();
  return 0;
}

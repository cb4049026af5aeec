/* A program that is busy with an SQLite file forks; every child works on the same file, and nobody loses anything. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define CONFIG "{\"url\": \"sqlite:fork.db\"}"
#define SUBMIT "{\"type\": \"count\", \"input\": 1}"
#define ROUNDS 25
#define AT_ONCE 4 /* children of a round */
#define CHILD_SECONDS 60
#define IN_FLIGHT 32
#define ID 64
#define MOST 200000 /* tasks */

static char ids[MOST][ID]; /* of every task that was acknowledged, the parent's and the children's */
static int tasks = 0, submitting = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t grown = PTHREAD_COND_INITIALIZER;

static void keep(const char *id) {
  CHECK(pthread_mutex_lock(&lock) == 0);
  CHECK(tasks < MOST);
  strcpy(ids[tasks++], id);
  pthread_cond_broadcast(&grown);
  pthread_mutex_unlock(&lock);
}

static int still_submitting(void) {
  pthread_mutex_lock(&lock);
  int still = submitting;
  pthread_mutex_unlock(&lock);
  return still;
}

/* Keeps both of the engine's connections to the file busy. */
static void *keep_busy(void *queue) {
  int reads = 0, writes = 0;
  char id[ID];
  while (still_submitting() || reads + writes > 0) {
    for (; still_submitting() && reads < IN_FLIGHT; reads++) submit(queue, "list", "{\"limit\": 5}", 1);
    for (; still_submitting() && writes < IN_FLIGHT; writes++) submit(queue, "submit", SUBMIT, 2);
    char *completion = next(queue, 1);
    CHECK(has(completion, "\"ok\":"));
    if (has(completion, "\"token\":1,")) {
      reads--;
    } else {
      writes--;
      CHECK(field(completion, "id", id, sizeof id) != NULL);
      keep(id);
    }
    free(completion);
  }
  return NULL;
}

/* One task from the child, by its own engine. */
static void in_the_child(int answer) {
  char id[ID] = "";
  alarm(CHILD_SECONDS); /* a child that hangs is killed, and counted */
  bq_engine *engine = open_engine(CONFIG);
  bq_queue *queue = open_queue(engine);
  char *completion = call(queue, "submit", SUBMIT);
  if (field(completion, "id", id, sizeof id) == NULL) fprintf(stderr, "the child: %s\n", completion);
  CHECK(id[0] != '\0' && write(answer, id, sizeof id) == sizeof id);
  free(completion);
  CHECK(bq_queue_close(queue) == BQ_OK && bq_engine_close(engine, SOON) == BQ_OK);
  exit(0);
}

/* How many of a round's children failed. The parent's own tasks must go on afterwards. */
static int fork_some(void) {
  int answers[2], failed = 0;
  char id[ID];
  pid_t children[AT_ONCE];
  CHECK(pipe(answers) == 0);
  for (int i = 0; i < AT_ONCE; i++) {
    children[i] = fork();
    CHECK(children[i] >= 0);
    if (children[i] == 0) in_the_child(answers[1]);
  }
  close(answers[1]);
  for (int i = 0; i < AT_ONCE; i++) {
    int status = 0;
    CHECK(waitpid(children[i], &status, 0) == children[i]);
    failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  }
  while (read(answers[0], id, sizeof id) == sizeof id) keep(id);
  close(answers[0]);
  pthread_mutex_lock(&lock);
  for (int before = tasks; tasks == before;) pthread_cond_wait(&grown, &lock);
  pthread_mutex_unlock(&lock);
  return failed;
}

static void all_are_there(bq_queue *queue) {
  char request[ID + 16];
  for (int i = 0; i < tasks; i++) {
    snprintf(request, sizeof request, "{\"ids\": [\"%s\"]}", ids[i]);
    expect(call(queue, "get", request), ids[i]);
  }
}

int main(void) {
  int failed = 0;
  pthread_t busy;
  bq_engine *engine = open_engine(CONFIG);
  bq_queue *queue = open_queue(engine);
  CHECK(pthread_create(&busy, NULL, keep_busy, queue) == 0);
  for (int round = 0; round < ROUNDS; round++) failed += fork_some();
  pthread_mutex_lock(&lock);
  submitting = 0;
  pthread_mutex_unlock(&lock);
  CHECK(pthread_join(busy, NULL) == 0);
  all_are_there(queue);
  CHECK(bq_queue_close(queue) == BQ_OK && bq_engine_close(engine, SOON) == BQ_OK);
  printf("%d tasks, %d of %d children failed\n", tasks, failed, ROUNDS * AT_ONCE);
  return failed != 0;
}

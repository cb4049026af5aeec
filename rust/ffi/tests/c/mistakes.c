/* What a caller must not do, to show that the sanitizers would notice it: see programs.rs. */
#include "check.h"

int main(int argc, char **argv) {
  bq_error *error = NULL;
  bq_queue *none = NULL;
  CHECK(argc == 2);
  /* Several, since the last one's address may still lie about somewhere on the stack, as if it were in use. */
  for (int i = 0; i < 100; i++) CHECK(bq_queue_open(NULL, &none, &error) == BQ_ERR_INVALID);
  if (strcmp(argv[1], "leak") == 0) return 0;
  const char *message = bq_error_message(error);
  bq_error_free(error);
  fputs(message, stderr);
  return 0;
}

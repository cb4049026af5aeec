/* What the example's worker can do. Tasks of these types come from any language. */
#ifndef HANDLERS_H
#define HANDLERS_H

#include "bqc_worker.h"

typedef struct named_handler {
  const char *name;
  bqc_handler *run;
} named_handler;

enum { HANDLERS = 5 };
extern const named_handler handlers[HANDLERS];

#endif

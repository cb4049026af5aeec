/*
 * As much JSON as these programs need: looking into texts that the library wrote, and writing strings.
 *
 * What the library answers is always well-formed, so nothing is checked here. Do not read other JSON with it. If your
 * program has a JSON library already, use that instead: nothing in buquet asks for this one.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A value inside a text, which has to outlive it. `at` is NULL for a value that is not there. */
typedef struct json {
  const char *at;
  size_t len;
} json;

/* The value that a text holds. */
json json_parse(const char *text);

/* The value of an object's field; one that is not there if the object has no such field, or is no object. */
json json_member(json object, const char *name);

/* The next element of an array: `for (json item = {0}; json_next(array, &item);)`. Nothing in what is no array. */
bool json_next(json array, json *item);

/* A number. One with a fraction is read by the rules of the program's locale: leave LC_NUMERIC at "C". */
double json_number(json value);

/* The value as JSON, as it stands in the text. The caller frees it. NULL if it is not there or memory is out. */
char *json_text(json value);

/* What a string says: UTF-8 with a NUL at its end. The caller frees it. NULL if it is no string or memory is out. */
char *json_string(json value);

/* Writes a C string as a JSON string, quotes included. The text has to be UTF-8. */
void json_write(FILE *out, const char *text);

/*
 * Makes JSON of a template, as printf makes text: json_format("{\"name\": %s, \"size\": %d}", name, 3).
 *
 *   %s  a C string, written as a JSON string with its quotes: whatever is in it, it stays one string; NULL becomes null
 *   %d  an int
 *   %g  a double, by the rules of the program's locale: leave LC_NUMERIC at "C"; what is no number becomes null
 *   %j  a C string that is JSON already, written as it is
 *   %%  a percent sign
 *
 * Never put a string into JSON by hand: a quote in it would change what is said. The caller frees the text. NULL if the
 * template holds anything else behind a %, or memory is out.
 */
char *json_format(const char *template, ...);

#endif

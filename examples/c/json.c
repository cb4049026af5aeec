#define _POSIX_C_SOURCE 200809L
#include "json.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_space(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *skip_string(const char *at) {
  for (at++; *at != '"'; at++) {
    if (*at == '\\') at++;
  }
  return at + 1;
}

/* Counts brackets instead of calling itself: a stored value may be nested deeper than a stack is. */
static const char *skip_value(const char *at) {
  size_t depth = 0;
  do {
    if (*at == '"') {
      at = skip_string(at);
    } else if (*at == '[' || *at == '{') {
      depth++;
      at++;
    } else if (*at == ']' || *at == '}') {
      depth--;
      at++;
    } else if (*at == ',' || *at == ':') {
      at++;
    } else {
      at += strcspn(at, ",:]} \t\r\n");
    }
    if (depth > 0) at = skip_space(at);
  } while (depth > 0);
  return at;
}

static json value_at(const char *at) {
  json value = {skip_space(at), 0};
  value.len = (size_t)(skip_value(value.at) - value.at);
  return value;
}

json json_parse(const char *text) { return value_at(text); }

/* What follows a value in an array or object: the start of the next one, or NULL at the end. */
static const char *after(const char *end) {
  end = skip_space(end);
  return *end == ',' ? skip_space(end + 1) : NULL;
}

json json_member(json object, const char *name) {
  json none = {NULL, 0};
  if (object.at == NULL || *object.at != '{') return none;
  const char *at = skip_space(object.at + 1);
  if (*at == '}') return none;
  while (at != NULL) {
    json key = value_at(at);
    json value = value_at(skip_space(key.at + key.len) + 1); /* behind the colon */
    if (key.len == strlen(name) + 2 && strncmp(key.at + 1, name, key.len - 2) == 0) return value;
    at = after(value.at + value.len);
  }
  return none;
}

bool json_next(json array, json *item) {
  if (array.at == NULL || *array.at != '[') return false;
  const char *at = item->at == NULL ? skip_space(array.at + 1) : after(item->at + item->len);
  if (at == NULL || *at == ']') return false;
  *item = value_at(at);
  return true;
}

double json_number(json value) { return value.at == NULL ? 0 : strtod(value.at, NULL); }

char *json_text(json value) { return value.at == NULL ? NULL : strndup(value.at, value.len); }

static unsigned hex4(const char *at) {
  char digits[5] = {at[0], at[1], at[2], at[3], '\0'};
  return (unsigned)strtoul(digits, NULL, 16);
}

static char *put_utf8(char *to, unsigned c) {
  if (c < 0x80) {
    *to++ = (char)c;
    return to;
  }
  if (c < 0x800) {
    *to++ = (char)(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      *to++ = (char)(0xE0 | c >> 12);
    } else {
      *to++ = (char)(0xF0 | c >> 18);
      *to++ = (char)(0x80 | (c >> 12 & 0x3F));
    }
    *to++ = (char)(0x80 | (c >> 6 & 0x3F));
  }
  *to++ = (char)(0x80 | (c & 0x3F));
  return to;
}

/* Reads the escape behind a backslash; returns what follows it. */
static const char *unescape(const char *from, char **to) {
  static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
  const char *letter = strchr(letters, *from);
  if (*from != 'u') {
    *(*to)++ = letter != NULL ? meanings[letter - letters] : *from;
    return from + 1;
  }
  unsigned c = hex4(from + 1);
  from += 5;
  if (c >= 0xD800 && c < 0xDC00 && from[0] == '\\' && from[1] == 'u') {
    c = 0x10000 + ((c - 0xD800) << 10) + (hex4(from + 2) - 0xDC00);
    from += 6;
  }
  *to = put_utf8(*to, c);
  return from;
}

char *json_string(json value) {
  if (value.at == NULL || *value.at != '"') return NULL;
  char *text = malloc(value.len); /* no character is longer than its escape */
  if (text == NULL) return NULL;
  char *to = text;
  const char *from = value.at + 1, *end = value.at + value.len - 1;
  while (from < end) {
    if (*from == '\\') {
      from = unescape(from + 1, &to);
    } else {
      *to++ = *from++;
    }
  }
  *to = '\0';
  return text;
}

void json_write(FILE *out, const char *text) {
  fputc('"', out);
  for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
    if (*at == '"' || *at == '\\') {
      fprintf(out, "\\%c", *at);
    } else if (*at < 0x20) {
      fprintf(out, "\\u%04x", *at);
    } else {
      fputc(*at, out);
    }
  }
  fputc('"', out);
}

static void write_number(FILE *out, double number) {
  if (isfinite(number)) {
    fprintf(out, "%.17g", number);
  } else {
    fputs("null", out);
  }
}

/* Writes what a letter behind a % stands for; false if it stands for nothing. */
static bool write_next(FILE *out, char letter, va_list *values) {
  const char *text;
  switch (letter) {
    case 's':
      text = va_arg(*values, const char *);
      if (text != NULL) {
        json_write(out, text);
      } else {
        fputs("null", out);
      }
      return true;
    case 'd':
      fprintf(out, "%d", va_arg(*values, int));
      return true;
    case 'g':
      write_number(out, va_arg(*values, double));
      return true;
    case 'j':
      fputs(va_arg(*values, const char *), out);
      return true;
    case '%':
      fputc('%', out);
      return true;
    default:
      return false;
  }
}

char *json_format(const char *template, ...) {
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  if (out == NULL) return NULL;
  bool known = true;
  va_list values;
  va_start(values, template);
  for (const char *at = template; known && *at != '\0'; at++) {
    if (*at == '%') {
      known = write_next(out, *++at, &values);
    } else {
      fputc(*at, out);
    }
  }
  va_end(values);
  bool written = !ferror(out);
  if (fclose(out) == 0 && written && known) return text;
  free(text);
  return NULL;
}

// A plugin in C on the contract alone, with the bindings of wit-bindgen and without a C library: what
// `plugins/bare` is in Rust. It has one scalar and one transform.

#include <stdlib.h>
#include <string.h>

#include "bare.h"

// Numbers that `open` gives for the functions.
#define TWICE 0
#define LONG 1

// Bytes of a name that is long.
#define LONG_BYTES 8

static bool is(const bare_string_t *text, const char *wanted) {
  return text->len == strlen(wanted) && memcmp(text->ptr, wanted, text->len) == 0;
}

static void listed(tidemill_plugin_types_function_t *function, const char *name, uint8_t kind,
                   const char *input, const char *output) {
  memset(function, 0, sizeof *function);
  bare_string_dup(&function->name, name);
  function->kind = kind;
  function->input.is_some = function->output.is_some = true;
  bare_string_dup(&function->input.val, input);
  bare_string_dup(&function->output.val, output);
  function->passes_others = kind == TIDEMILL_PLUGIN_TYPES_FUNCTION_KIND_TRANSFORM;
  function->deterministic = true;
}

// What is returned is freed by the bindings once the host has read it.
void exports_tidemill_plugin_functions_describe(exports_tidemill_plugin_functions_list_function_t *ret) {
  ret->len = 2;
  ret->ptr = malloc(2 * sizeof *ret->ptr);
  listed(&ret->ptr[0], "twice", TIDEMILL_PLUGIN_TYPES_FUNCTION_KIND_SCALAR, "n bigint", "twice bigint");
  // It adds no column, and lets those through that it does not look at.
  listed(&ret->ptr[1], "long_names", TIDEMILL_PLUGIN_TYPES_FUNCTION_KIND_TRANSFORM, "name string", "");
}

static bool bad_input(tidemill_plugin_types_failure_t *err, const char *reason) {
  err->tag = TIDEMILL_PLUGIN_TYPES_FAILURE_BAD_INPUT;
  bare_string_dup(&err->val.bad_input, reason);
  return false;
}

static void opened(tidemill_plugin_types_opened_t *ret, uint32_t id, uint32_t reads, size_t columns) {
  ret->id = id;
  ret->reads.len = 1;
  ret->reads.ptr = malloc(sizeof(uint32_t));
  ret->reads.ptr[0] = reads;
  ret->origins.len = columns;
  ret->origins.ptr = malloc(columns * sizeof *ret->origins.ptr);
}

// The columns of a schema, as simple as it gets: without backticks and nested types, `name string, n
// bigint`. Which of them is `name`; as many as there are where none is.
static size_t columns_of(const bare_string_t *schema, size_t *name) {
  size_t columns = 0, begin = 0;
  *name = SIZE_MAX;
  for (size_t i = 0; i <= schema->len; i++) {
    if (i < schema->len && schema->ptr[i] != ',') continue;
    while (begin < i && schema->ptr[begin] == ' ') begin++;
    if (i - begin > 5 && memcmp(schema->ptr + begin, "name ", 5) == 0) *name = columns;
    columns++;
    begin = i + 1;
  }
  return columns;
}

bool exports_tidemill_plugin_functions_open(bare_string_t *function, bare_string_t *config,
                                            exports_tidemill_plugin_functions_schema_t *input,
                                            exports_tidemill_plugin_functions_opened_t *ret,
                                            exports_tidemill_plugin_functions_failure_t *err) {
  bool done = true;
  size_t name;
  size_t columns = columns_of(input, &name);
  if (is(function, "twice")) {
    opened(ret, TWICE, 0, 1);
    ret->origins.ptr[0].tag = TIDEMILL_PLUGIN_TYPES_ORIGIN_MADE;
    bare_string_dup(&ret->output, "twice bigint");
  } else if (!is(function, "long_names")) {
    done = bad_input(err, "there is no such function");
  } else if (name == SIZE_MAX) {
    done = bad_input(err, "there is no column \"name\"");
  } else {
    opened(ret, LONG, (uint32_t)name, columns);
    for (size_t i = 0; i < columns; i++) {
      ret->origins.ptr[i].tag = TIDEMILL_PLUGIN_TYPES_ORIGIN_PASSED;
      ret->origins.ptr[i].val.passed = (uint32_t)i;
    }
    bare_string_dup_n(&ret->output, (const char *)input->ptr, input->len);
  }
  // What a function is called with is its own.
  bare_string_free(function);
  bare_string_free(config);
  bare_string_free(input);
  return done;
}

void exports_tidemill_plugin_functions_begin(exports_tidemill_plugin_functions_batch_context_t *context) {
  exports_tidemill_plugin_functions_batch_context_free(context);
}

bool exports_tidemill_plugin_scalars_call(uint32_t id, exports_tidemill_plugin_scalars_block_t *arguments,
                                          exports_tidemill_plugin_scalars_list_row_error_t *ret,
                                          exports_tidemill_plugin_scalars_failure_t *err) {
  (void)id;
  bool done = true;
  if (arguments->columns.len != 1 || arguments->columns.ptr[0].buffers.len != 2) {
    done = bad_input(err, "twice() takes a number, which has two buffers");
  } else {
    // In place: the column that came is the one that goes, and what was null stays null.
    bare_list_u8_t *numbers = &arguments->columns.ptr[0].buffers.ptr[1];
    for (size_t i = 0; i + 8 <= numbers->len; i += 8) {
      int64_t number;
      memcpy(&number, numbers->ptr + i, 8);
      number = (int64_t)((uint64_t)number * 2);
      memcpy(numbers->ptr + i, &number, 8);
    }
    tidemill_plugin_rows_selection_t all = {.tag = TIDEMILL_PLUGIN_ROWS_SELECTION_ALL};
    tidemill_plugin_rows_give(&all, (tidemill_plugin_rows_list_column_t *)&arguments->columns);
    *ret = (exports_tidemill_plugin_scalars_list_row_error_t){NULL, 0};
  }
  exports_tidemill_plugin_scalars_block_free(arguments);
  return done;
}

static uint32_t offset(const bare_list_u8_t *offsets, size_t row) {
  uint32_t found = 0;
  memcpy(&found, offsets->ptr + row * 4, 4);
  return found;
}

bool exports_tidemill_plugin_transforms_call(uint32_t id, exports_tidemill_plugin_transforms_block_t *input,
                                             exports_tidemill_plugin_transforms_list_row_error_t *ret,
                                             exports_tidemill_plugin_transforms_failure_t *err) {
  (void)id;
  bool done = true;
  if (input->columns.len != 1 || input->columns.ptr[0].buffers.len != 3) {
    done = bad_input(err, "a STRING has three buffers");
  } else {
    const bare_list_u8_t *buffers = input->columns.ptr[0].buffers.ptr;
    const bare_list_u8_t *nulls = &buffers[0], *offsets = &buffers[1];
    uint32_t *rows = malloc(input->rows * sizeof(uint32_t));
    size_t count = 0;
    for (uint32_t row = 0; row < input->rows; row++) {
      bool is_there = nulls->len == 0 || (nulls->ptr[row / 8] >> (row % 8) & 1);
      if (is_there && offset(offsets, row + 1) - offset(offsets, row) >= LONG_BYTES) rows[count++] = row;
    }
    tidemill_plugin_rows_selection_t taken = {.tag = TIDEMILL_PLUGIN_ROWS_SELECTION_TAKEN};
    taken.val.taken = (bare_list_u32_t){rows, count};
    tidemill_plugin_rows_list_column_t none = {NULL, 0};
    tidemill_plugin_rows_give(&taken, &none);
    free(rows);
    *ret = (exports_tidemill_plugin_transforms_list_row_error_t){NULL, 0};
  }
  exports_tidemill_plugin_transforms_block_free(input);
  return done;
}

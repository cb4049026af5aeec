package buquet

/*
#cgo pkg-config: buquet
#include <stdlib.h>
#include <buquet.h>

// Handles are small numbers in the shape of pointers. Go's runtime takes such a pointer on a stack for corruption, so
// that handles cross this border as the numbers they are.

static int32_t engine_open(const uint8_t *config, size_t len, uintptr_t *engine, bq_error **error) {
  bq_engine *opened = NULL;
  int32_t status = bq_engine_open(config, len, &opened, error);
  *engine = (uintptr_t)opened;
  return status;
}

static int32_t engine_close(uintptr_t engine, int64_t timeout_ms) {
  return bq_engine_close((bq_engine *)engine, timeout_ms);
}

static int32_t queue_open(uintptr_t engine, uintptr_t *queue, bq_error **error) {
  bq_queue *opened = NULL;
  int32_t status = bq_queue_open((bq_engine *)engine, &opened, error);
  *queue = (uintptr_t)opened;
  return status;
}

static int32_t queue_close(uintptr_t queue) {
  return bq_queue_close((bq_queue *)queue);
}

static int32_t submit(uintptr_t queue, const uint8_t *op, size_t op_len, const uint8_t *request, size_t request_len,
                      uint64_t token, bq_error **error) {
  return bq_submit((bq_queue *)queue, op, op_len, request, request_len, token, error);
}

static int32_t cancel(uintptr_t queue, uint64_t token) {
  return bq_cancel((bq_queue *)queue, token);
}

static int32_t queue_wait(uintptr_t queue, int64_t timeout_ms) {
  return bq_queue_wait((bq_queue *)queue, timeout_ms);
}

static int32_t queue_drain(uintptr_t queue, size_t max, bq_buffer **out, bq_error **error) {
  return bq_queue_drain((bq_queue *)queue, max, out, error);
}
*/
import "C"

import (
	"fmt"
	"time"
	"unsafe"
)

// engine and queue are handles of the library. Any goroutine may use them, also after their close: the library knows
// every handle that it ever gave out.
type (
	engine uintptr
	queue  uintptr
)

// checkVersion says whether the library that was loaded serves what this package was compiled for.
func checkVersion() error {
	loaded, wanted := uint32(C.bq_abi_version()), uint32(C.BQ_ABI_VERSION)
	if loaded>>16 != wanted>>16 || loaded < wanted {
		return fmt.Errorf("buquet: libbuquet has version %d.%d of the ABI, this program needs %d.%d or a later minor one",
			loaded>>16, loaded&0xffff, wanted>>16, wanted&0xffff)
	}
	return nil
}

// take turns a status and the library's error, which it frees, into an error of Go's.
func take(status C.int32_t, native *C.bq_error) error {
	if native != nil {
		defer C.bq_error_free(native)
	}
	if status >= 0 {
		return nil
	}
	return &Error{Code: C.GoString(C.bq_error_code(native)), Message: C.GoString(C.bq_error_message(native))}
}

// borrowed gives the library a look at a slice for the duration of one call.
func borrowed(data []byte) (*C.uint8_t, C.size_t) {
	if len(data) == 0 {
		return nil, 0
	}
	return (*C.uint8_t)(unsafe.Pointer(&data[0])), C.size_t(len(data))
}

func openEngine(config []byte) (engine, error) {
	var opened C.uintptr_t
	var native *C.bq_error
	data, size := borrowed(config)
	status := C.engine_open(data, size, &opened, &native)
	return engine(opened), take(status, native)
}

// close waits up to the timeout for what is under way; false if something was cut off.
func (e engine) close(timeout time.Duration) bool {
	return C.engine_close(C.uintptr_t(e), C.int64_t(timeout.Milliseconds())) == C.BQ_OK
}

func (e engine) openQueue() (queue, error) {
	var opened C.uintptr_t
	var native *C.bq_error
	status := C.queue_open(C.uintptr_t(e), &opened, &native)
	return queue(opened), take(status, native)
}

func (q queue) close() {
	C.queue_close(C.uintptr_t(q))
}

func (q queue) submit(op string, request []byte, token uint64) error {
	var native *C.bq_error
	name, nameSize := borrowed([]byte(op))
	data, size := borrowed(request)
	status := C.submit(C.uintptr_t(q), name, nameSize, data, size, C.uint64_t(token), &native)
	return take(status, native)
}

func (q queue) cancel(token uint64) {
	C.cancel(C.uintptr_t(q), C.uint64_t(token))
}

// wait blocks until a completion can be drained; false once none can come any more.
func (q queue) wait() bool {
	return C.queue_wait(C.uintptr_t(q), -1) == C.BQ_OK
}

// next takes one completion off the queue, as a JSON array of one; nil if there is none.
func (q queue) next() []byte {
	var out *C.bq_buffer
	if C.queue_drain(C.uintptr_t(q), 1, &out, nil) != C.BQ_OK || out == nil {
		return nil
	}
	defer C.bq_buffer_free(out)
	return C.GoBytes(unsafe.Pointer(out.data), C.int(out.len))
}

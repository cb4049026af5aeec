package buquet

// Error is an error of the engine. Its code is stable, its message is for people and may change.
//
// errors.Is(err, buquet.ErrNotFound) and the like compare codes; errors.As gives the message alone.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// The kinds of errors, for errors.Is.
var (
	ErrInvalid     = &Error{Code: "invalid"}     // the request is wrong
	ErrConfig      = &Error{Code: "config"}      // the configuration is wrong
	ErrNotFound    = &Error{Code: "not_found"}   // no such task, worker or object
	ErrLayout      = &Error{Code: "layout"}      // the bucket was written by an incompatible version
	ErrCorrupt     = &Error{Code: "corrupt"}     // a stored object cannot be read
	ErrLeaseLost   = &Error{Code: "lease_lost"}  // another worker has or may have the task
	ErrDenied      = &Error{Code: "denied"}      // the store refuses
	ErrUnsupported = &Error{Code: "unsupported"} // the store cannot keep what buquet promises
	ErrUnavailable = &Error{Code: "unavailable"} // the store does not answer
	ErrTimeout     = &Error{Code: "timeout"}     // the time given in the request is up
	ErrClosed      = &Error{Code: "closed"}      // the client or worker was closed
	ErrInternal    = &Error{Code: "internal"}    // a defect in buquet
	ErrOverloaded  = &Error{Code: "overloaded"}  // too many operations are under way
	ErrResources   = &Error{Code: "resources"}   // the system refused a thread or a descriptor
)

func (e *Error) Error() string {
	return "buquet: " + e.Code + ": " + e.Message
}

// Is reports whether the target is an error of the same kind.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

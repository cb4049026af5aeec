package buquet

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// verdict is an error that says what is to become of the task.
type verdict struct {
	error
	permanent  bool
	reschedule bool
	delay      time.Duration // 0 for the back-off
}

func (v *verdict) Unwrap() error { return v.error }

// Permanent makes the task fail at once, whatever retries are left.
func Permanent(err error) error {
	return &verdict{error: err, permanent: true}
}

// RetryAfter has the task tried again after the delay instead of the back-off, while retries are left.
func RetryAfter(delay time.Duration, err error) error {
	return &verdict{error: err, delay: delay}
}

// Reschedule has the task run again after the delay. It is no failure and costs no retry.
func Reschedule(delay time.Duration) error {
	return &verdict{error: errors.New("rescheduled"), reschedule: true, delay: delay}
}

// atWork is an attempt while its handler runs.
type atWork struct {
	*Attempt
	stop    context.CancelFunc // ends the attempt: no result is taken any more
	callOff context.CancelFunc // ends the handler's context alone: what it then comes to counts
	lost    atomic.Bool
	called  atomic.Bool // off
}

// outcome is an attempt's end, as worker.settle takes it.
type outcome map[string]any

func (r *run) start(attempt *Attempt) {
	ctx, stop := context.WithTimeout(r.hard, time.Duration(attempt.TimeoutMS)*time.Millisecond)
	handling, callOff := context.WithCancel(ctx)
	a := &atWork{Attempt: attempt, stop: stop, callOff: callOff}
	name := key{attempt.ID, attempt.Lease}
	r.mutex.Lock()
	r.running[name] = a
	r.mutex.Unlock()
	r.all.Add(1)
	go func() {
		defer r.all.Done()
		defer stop() // and callOff with it
		r.attempt(ctx, handling, a)
		r.mutex.Lock()
		delete(r.running, name)
		r.mutex.Unlock()
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}()
}

func (r *run) lose(name key, reason string) {
	r.mutex.Lock()
	a := r.running[name]
	r.mutex.Unlock()
	if a != nil {
		r.logf("task %s: the lease is lost: %s", name.id, reason)
		a.lost.Store(true)
		a.stop()
	}
}

func (r *run) callOff(name key, by, reason string) {
	r.mutex.Lock()
	a := r.running[name]
	r.mutex.Unlock()
	if a == nil || a.called.Swap(true) {
		return
	}
	if by == "" {
		by = "somebody"
	}
	if reason == "" {
		reason = "no reason given"
	}
	r.logf("task %s: called off by %s: %s", name.id, by, reason)
	a.callOff()
}

// attempt runs the handler and reports its end, or does so before its end when there is no use in waiting for it. A
// goroutine cannot be stopped: the attempt keeps its place until the handler returns.
func (r *run) attempt(ctx, handling context.Context, a *atWork) {
	ended := make(chan outcome, 1)
	go func() { ended <- r.handle(handling, a) }()
	select {
	case end := <-ended:
		if (end["outcome"] == "fail" || end["outcome"] == "cancel") && ctx.Err() != nil {
			r.interrupted(ctx, a)
		} else {
			r.settle(a, end)
		}
	case <-ctx.Done():
		r.interrupted(ctx, a)
		<-ended
	}
}

// interrupted reports an attempt whose context has ended.
func (r *run) interrupted(ctx context.Context, a *atWork) {
	switch {
	case a.lost.Load(): // somebody else has the task
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.logf("task %s: its time is up", a.ID)
		r.settle(a, outcome{"outcome": "timeout"})
	default:
		r.settle(a, outcome{"outcome": "release"})
	}
}

// handle calls the handler and says how it ended.
func (r *run) handle(ctx context.Context, a *atWork) (end outcome) {
	defer func() {
		if panicked := recover(); panicked != nil {
			end = failure("panic", fmt.Sprint(panicked), true)
			end["error"].(map[string]string)["traceback"] = string(debug.Stack())
		}
	}()
	output, err := r.handlers[a.Type](ctx, a.Attempt)
	if err == nil {
		return outcome{"outcome": "complete", "output": output}
	}
	if a.called.Load() && errors.Is(err, context.Canceled) {
		return outcome{"outcome": "cancel"}
	}
	said := &verdict{error: err}
	errors.As(err, &said)
	if said.reschedule {
		return outcome{"outcome": "reschedule", "delay": Duration(said.delay)}
	}
	end = failure(fmt.Sprintf("%T", said.error), err.Error(), !said.permanent)
	if said.delay > 0 {
		end["delay"] = Duration(said.delay)
	}
	return end
}

func failure(kind, message string, retry bool) outcome {
	return outcome{"outcome": "fail", "error": map[string]string{"type": kind, "message": message}, "retry": retry}
}

// settle reports an outcome until there is an answer. One that cannot be stored fails the task for good.
func (r *run) settle(a *atWork, end outcome) {
	refusal, err := r.send(a, end)
	if refusal != "" {
		r.logf("task %s: the outcome is refused: %s", a.ID, refusal)
		refusal, err = r.send(a, failure("OutcomeRefused", refusal, false))
	}
	if refusal != "" || err != nil {
		r.logf("task %s: the outcome is given up, the lease will run out: %s%v", a.ID, refusal, err)
	}
}

// send sends an outcome; the text says why it is refused.
func (r *run) send(a *atWork, end outcome) (string, error) {
	end["id"], end["lease"] = a.ID, a.Lease
	request := map[string]any{"worker": r.id, "outcomes": []outcome{end}}
	var answer struct {
		Settled []struct{ State, Message string }
	}
	for {
		err := r.client.Call(context.Background(), "worker.settle", request, &answer)
		var reported *Error
		switch {
		case err == nil:
		case errors.Is(err, ErrUnavailable) && r.hard.Err() == nil:
			// The engine has tried for a while before it said so. The lease lasts while the heartbeat gets through.
			r.logf("task %s: the outcome cannot be stored yet: %v", a.ID, err)
			continue
		case errors.Is(err, ErrInvalid), !errors.As(err, &reported): // it has no JSON form, or one that is refused
			return err.Error(), nil
		default:
			return "", err
		}
		settled := answer.Settled[0]
		switch settled.State {
		case "lease_lost":
			r.logf("task %s: the lease was lost, its outcome is dropped", a.ID)
		case "refused":
			return settled.Message, nil
		}
		return "", nil
	}
}

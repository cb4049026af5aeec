package buquet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	nextWait     = Duration(20 * time.Second)
	drainTimeout = 5 * time.Second
	stopTimeout  = 10 * time.Second
)

// Attempt is one run of one task.
type Attempt struct {
	ID         string          `json:"id"`
	Lease      string          `json:"lease"`
	Type       string          `json:"type"`
	Input      json.RawMessage `json:"input"`
	Number     int             `json:"attempt"` // 1 in the first run
	RetryCount int             `json:"retry_count"`
	MaxRetries int             `json:"max_retries"`
	TimeoutMS  int64           `json:"timeout_ms"`
}

// Read reads the input into `input`. Its error is a permanent one: the input will not be another next time.
func (a *Attempt) Read(input any) error {
	if err := json.Unmarshal(a.Input, input); err != nil {
		return Permanent(fmt.Errorf("the input cannot be read: %w", err))
	}
	return nil
}

// Handler runs an attempt: its result is stored as JSON, or its error as the failure of the attempt. The context ends
// when there is no use in going on: no result is taken any more, since the time is up, the lease was lost or the worker
// has to end, or the task was called off. One that returns the context's error then has stopped as it was asked to; a
// result counts all the same. See Permanent, RetryAfter and Reschedule for what errors can say.
type Handler func(ctx context.Context, attempt *Attempt) (any, error)

// Worker runs tasks. Set it up, then Run it.
type Worker struct {
	Concurrency int                              // tasks at a time, 4 unless changed
	Grace       time.Duration                    // how long tasks at work may go on when it drains, 30 s unless changed
	Logf        func(format string, args ...any) // where it says what happens; nowhere if nil

	client   *Client
	handlers map[string]Handler
}

// NewWorker makes a worker without handlers.
func (c *Client) NewWorker() *Worker {
	return &Worker{Concurrency: 4, Grace: 30 * time.Second, client: c, handlers: map[string]Handler{}}
}

// Handle sets the handler of a task type.
func (w *Worker) Handle(kind string, handler Handler) {
	w.handlers[kind] = handler
}

// Handle sets a function as the handler of a task type: its argument is the task's input, read from JSON. An input that
// does not fit fails the task for good.
func Handle[In, Out any](w *Worker, kind string, function func(context.Context, In) (Out, error)) {
	w.Handle(kind, func(ctx context.Context, attempt *Attempt) (any, error) {
		var input In
		if err := attempt.Read(&input); err != nil {
			return nil, err
		}
		return function(ctx, input)
	})
}

// Run works until the context ends; then it drains: it takes nothing more, lets what runs go on for up to Grace, gives
// the rest back, and returns nil. An error means that it had to end before.
func (w *Worker) Run(ctx context.Context) error {
	types := make([]string, 0, len(w.handlers))
	for kind := range w.handlers {
		types = append(types, kind)
	}
	host, _ := os.Hostname()
	request := map[string]any{"types": types, "concurrency": w.Concurrency, "host": host}
	var started struct{ Worker string }
	if err := w.client.Call(ctx, "worker.start", request, &started); err != nil {
		return err
	}
	w.logf("worker %s: up to %d task(s) at a time", started.Worker, w.Concurrency)
	hard, end := context.WithCancel(context.Background())
	r := &run{Worker: w, id: started.Worker, hard: hard, freed: make(chan struct{}, 1), running: map[key]*atWork{}}
	err := r.work(ctx, end)
	end()
	r.all.Wait()
	r.signOff()
	return err
}

func (w *Worker) logf(format string, args ...any) {
	if w.Logf != nil {
		w.Logf(format, args...)
	}
}

// run is one Run of a worker.
type run struct {
	*Worker
	id      string
	hard    context.Context // ends when what still runs is to be given back
	freed   chan struct{}   // holds something when a slot was freed since it was last looked at
	all     sync.WaitGroup  // of attempts
	drained bool

	mutex   sync.Mutex
	running map[key]*atWork
}

// key names an attempt: one task may come back under a new lease.
type key struct{ id, lease string }

type next struct {
	Assignments []*Attempt
	Lost        []struct{ ID, Lease, Reason string }
	Cancelled   []struct{ ID, Lease, By, Reason string }
	Problems    []struct{ Key, Message string }
	State       string
}

// work keeps one request for work under way, also while there is no room for any: news of lost leases and of
// cancellations come that way.
func (r *run) work(ctx context.Context, end context.CancelFunc) error {
	draining := false
	for {
		if !draining && ctx.Err() != nil {
			draining = true
			r.drain()
			defer time.AfterFunc(r.Grace, end).Stop()
		}
		room := r.room()
		if draining && room == r.Concurrency {
			return nil
		}
		if draining {
			room = 0
		}
		answer, err := r.ask(ctx, room, draining)
		if err != nil {
			return err
		}
		for _, loss := range answer.Lost {
			r.lose(key{loss.ID, loss.Lease}, loss.Reason)
		}
		for _, wish := range answer.Cancelled {
			r.callOff(key{wish.ID, wish.Lease}, wish.By, wish.Reason)
		}
		for _, problem := range answer.Problems {
			r.logf("set aside: %s: %s", problem.Key, problem.Message)
		}
		for _, attempt := range answer.Assignments {
			r.start(attempt)
		}
	}
}

// room returns how many more attempts may run now.
func (r *run) room() int {
	select {
	case <-r.freed:
	default:
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.Concurrency - len(r.running)
}

// ask asks for up to `room` tasks. The answer is empty when it was given up, or the store is away.
func (r *run) ask(ctx context.Context, room int, draining bool) (answer next, err error) {
	asking, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	var freed, drained <-chan struct{}
	if room == 0 {
		freed = r.freed // a request for no tasks can bring none, so it may be given up for a better one
	}
	if !draining {
		drained = ctx.Done()
	}
	done := make(chan error, 1)
	go func() {
		done <- r.client.Call(asking, "worker.next", map[string]any{"worker": r.id, "max": room, "wait": nextWait}, &answer)
	}()
	for {
		select {
		case err = <-done:
			if errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) {
				err = nil
			}
			return answer, err
		case <-freed:
			giveUp()
			freed = nil
		case <-drained:
			r.drain()
			giveUp() // what it would have brought in this moment is given back at the end
			drained = nil
		}
	}
}

// drain claims no more; the engine gives back what it had claimed ahead.
func (r *run) drain() {
	if r.drained {
		return
	}
	r.drained = true
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	r.logf("worker %s: draining, %d task(s) at work", r.id, r.Concurrency-r.room())
	if err := r.client.Call(ctx, "worker.drain", map[string]string{"worker": r.id}, nil); err != nil {
		r.logf("worker %s: cannot announce the drain: %v", r.id, err)
	}
}

// signOff gives back what is still held.
func (r *run) signOff() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := r.client.Call(ctx, "worker.stop", map[string]string{"worker": r.id}, nil)
	r.logf("worker %s: stopped%s", r.id, map[bool]string{true: "", false: fmt.Sprintf(": %v", err)}[err == nil])
}

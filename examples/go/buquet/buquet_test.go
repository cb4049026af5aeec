package buquet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// soon is long enough for any machine.
const soon = time.Minute

func open(t *testing.T) (*Client, context.Context) {
	t.Helper()
	client, err := Open(Config{URL: "memory:"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(func() {
		cancel()
		client.Close(time.Second)
	})
	return client, ctx
}

// works runs a worker until the test ends.
func works(t *testing.T, worker *Worker) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestManyGoroutinesShareAClient(t *testing.T) {
	client, ctx := open(t)
	worker := client.NewWorker()
	Handle(worker, "double", func(_ context.Context, n int) (int, error) { return 2 * n, nil })
	works(t, worker)
	var all sync.WaitGroup
	for n := 0; n < 64; n++ {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			id, err := client.Submit(ctx, "double", n, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			var doubled int
			if err := client.Result(ctx, id, &doubled); err != nil || doubled != 2*n {
				t.Errorf("twice %d is %d, %v", n, doubled, err)
			}
		}(n)
	}
	all.Wait()
}

func TestAContextEndsAWait(t *testing.T) {
	client, ctx := open(t)
	id, err := client.Submit(ctx, "nobody_works_this", nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	waited := make(chan error, 1)
	go func() {
		_, err := client.Wait(cancelled, id)
		waited <- err
	}()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("the wait ended with %v", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if _, err := client.Wait(short, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the wait ended with %v", err)
	}
}

func TestErrorsHaveKinds(t *testing.T) {
	client, ctx := open(t)
	_, err := client.Submit(ctx, "../up", nil, Options{})
	if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrNotFound) {
		t.Errorf("a bad type gave %v", err)
	}
	var reported *Error
	if !errors.As(err, &reported) || !strings.Contains(reported.Message, "../up") {
		t.Errorf("the message does not name the value: %v", err)
	}
	if _, err := client.Get(ctx, "6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a task that is not there gave %v", err)
	}
	if _, err := Open(Config{URL: "ftp://nowhere"}); !errors.Is(err, ErrConfig) {
		t.Errorf("a bad URL gave %v", err)
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	client, ctx := open(t)
	id, err := client.Submit(ctx, "nobody_works_this", nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := client.Wait(ctx, id)
		waited <- err
	}()
	client.Close(0)
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Errorf("the wait ended with %v", err)
	}
	if _, err := client.Submit(ctx, "late", nil, Options{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a submit after the close gave %v", err)
	}
	client.Close(0)
}

func TestHandlersSayWhatBecomesOfTheTask(t *testing.T) {
	client, ctx := open(t)
	worker := client.NewWorker()
	worker.Handle("again", func(_ context.Context, a *Attempt) (any, error) {
		if a.Number < 3 {
			return nil, RetryAfter(time.Millisecond, fmt.Errorf("attempt %d", a.Number))
		}
		return a.RetryCount, nil
	})
	worker.Handle("later", func(_ context.Context, a *Attempt) (any, error) {
		if a.Number < 3 {
			return nil, Reschedule(time.Millisecond)
		}
		return a.RetryCount, nil
	})
	worker.Handle("panics", func(context.Context, *Attempt) (any, error) { panic("oh") })
	worker.Handle("unwritable", func(context.Context, *Attempt) (any, error) { return func() {}, nil })
	worker.Handle("slow", func(ctx context.Context, _ *Attempt) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	Handle(worker, "typed", func(context.Context, int) (any, error) { return nil, nil })
	works(t, worker)

	once := Options{Retry: &Retry{MaxRetries: Int(0)}, Timeout: Duration(100 * time.Millisecond)}
	for kind, wanted := range map[string]struct{ status, output, failure string }{
		"again":      {status: "completed", output: "2"},
		"later":      {status: "completed", output: "0"},
		"panics":     {status: "failed", failure: "panic"},
		"unwritable": {status: "failed", failure: "OutcomeRefused"},
		"slow":       {status: "failed", failure: "Timeout"},
		"typed":      {status: "failed", failure: "*fmt.wrapError"},
	} {
		options := once
		if wanted.status == "completed" {
			options = Options{}
		}
		id, err := client.Submit(ctx, kind, "text", options)
		if err != nil {
			t.Fatal(err)
		}
		task, err := client.Wait(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		failure := ""
		if task.Error != nil && task.Status == "failed" {
			failure = task.Error.Type
		}
		if task.Status != wanted.status || failure != wanted.failure || wanted.output != "" && string(task.Output) != wanted.output {
			t.Errorf("%s: %s, %s, %s", kind, task.Status, task.Output, failure)
		}
		var ended *TaskError
		if err := client.Result(ctx, id, nil); errors.As(err, &ended) != (wanted.status == "failed") {
			t.Errorf("%s: the result is %v", kind, err)
		}
	}
}

func TestWhatIsNestedTooDeeplyFailsItsOwnCallOnly(t *testing.T) {
	deep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	came := read([]byte(`[{"token":7,"ok":` + deep + `}]`))
	if came.Token != 7 || !errors.Is(came.Error, ErrInternal) {
		t.Errorf("token %d, %v", came.Token, came.Error)
	}
}

func TestATaskThatIsCalledOffStopsOrCompletes(t *testing.T) {
	client, ctx := open(t)
	begun := make(chan struct{}, 2)
	worker := client.NewWorker()
	worker.Handle("stops", func(ctx context.Context, _ *Attempt) (any, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, fmt.Errorf("not done: %w", ctx.Err())
	})
	worker.Handle("completes", func(ctx context.Context, _ *Attempt) (any, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return "nearly done", nil
	})
	works(t, worker)

	for kind, wanted := range map[string]string{"stops": "cancelled", "completes": "completed"} {
		id, err := client.Submit(ctx, kind, nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		if err := client.Call(ctx, "cancel", map[string]any{"ids": []string{id}}, nil); err != nil {
			t.Fatal(err)
		}
		task, err := client.Wait(ctx, id)
		if err != nil || task.Status != wanted || task.Attempt != 1 || task.Error != nil {
			t.Errorf("%s: it is %v, %v", kind, task, err)
		}
	}
}

func TestADrainGivesBackWhatDoesNotEnd(t *testing.T) {
	client, ctx := open(t)
	begun := make(chan struct{})
	worker := client.NewWorker()
	worker.Grace = 0
	worker.Handle("endless", func(ctx context.Context, _ *Attempt) (any, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	id, err := client.Submit(ctx, "endless", nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	running, drain := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(running) }()
	<-begun
	drain()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	task, err := client.Get(ctx, id)
	if err != nil || task.Status != "pending" || task.RetryCount != 0 {
		t.Errorf("it is %v, %v", task, err)
	}
}

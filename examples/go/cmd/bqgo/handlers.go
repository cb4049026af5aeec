package main

import (
	"context"
	"errors"
	"log"
	"os"
	"time"

	"example.com/bqgo/buquet"
)

// handle gives the worker what it can do. Tasks of these types come from any language.
func handle(worker *buquet.Worker, prefix string) {
	buquet.Handle(worker, prefix+"sum", sum)
	buquet.Handle(worker, prefix+"greet", greet)
	buquet.Handle(worker, prefix+"refuse", refuse)
	buquet.Handle(worker, prefix+"await_file", awaitFile)
	worker.Handle(prefix+"flaky", flaky)
}

// [1, 2, 3] becomes 6.
func sum(_ context.Context, numbers []float64) (total float64, err error) {
	for _, number := range numbers {
		total += number
	}
	return total, nil
}

// {"name": "Ada"} becomes "hello Ada".
func greet(_ context.Context, input struct{ Name string }) (string, error) {
	return "hello " + input.Name, nil
}

var errFlaky = errors.New("not this time")

// {"attempts": 3} fails twice; the third attempt succeeds and gives its number.
func flaky(_ context.Context, attempt *buquet.Attempt) (any, error) {
	var input struct{ Attempts int }
	if err := attempt.Read(&input); err != nil {
		return nil, err
	}
	if attempt.Number < input.Attempts {
		return nil, errFlaky
	}
	return attempt.Number, nil
}

// Fails for good, whatever retries are left.
func refuse(context.Context, any) (any, error) {
	return nil, buquet.Permanent(errors.New("this will never work"))
}

// {"path": "..."} waits until there is such a file. Gives up when the context ends.
func awaitFile(ctx context.Context, input struct{ Path string }) (string, error) {
	log.Printf("waiting for %s", input.Path)
	step := time.NewTicker(20 * time.Millisecond)
	defer step.Stop()
	for {
		if _, err := os.Stat(input.Path); err == nil {
			return "there", nil
		}
		select {
		case <-step.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

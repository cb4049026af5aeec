// Bqgo submits, works and awaits tasks, on the queue that BUQUET_URL and the other usual places name.
//
//	bqgo submit TYPE INPUT              stores a task, prints its id; INPUT is JSON
//	bqgo await ID [SECONDS]             waits for its end, prints its output
//	bqgo work [PREFIX] [CONCURRENCY]    runs sum, greet, ... under the types PREFIXsum, PREFIXgreet, ... until SIGTERM
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"example.com/bqgo/buquet"
)

const closeTimeout = 5 * time.Second

var errUsage = errors.New("usage: bqgo submit TYPE INPUT | await ID [SECONDS] | work [PREFIX] [CONCURRENCY]")

func main() {
	log.SetFlags(0)
	log.SetPrefix("bqgo: ")
	if err := run(os.Args[1:]); err != nil {
		log.Print(err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) == 0 {
		return errUsage
	}
	// The first signal ends the context. It is caught once: a second one ends the program, whose leases then run out.
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		restore()
	}()
	client, err := buquet.Open(buquet.Config{})
	if err != nil {
		return err
	}
	defer client.Close(closeTimeout)
	command, words := words[0], words[1:]
	switch {
	case command == "submit" && len(words) == 2:
		return submit(ctx, client, words[0], words[1])
	case command == "await" && (len(words) == 1 || len(words) == 2):
		return await(ctx, client, words)
	case command == "work" && len(words) <= 2:
		return work(ctx, client, words)
	}
	return errUsage
}

func submit(ctx context.Context, client *buquet.Client, kind, input string) error {
	id, err := client.Submit(ctx, kind, json.RawMessage(input), buquet.Options{})
	if err == nil {
		fmt.Println(id)
	}
	return err
}

func await(ctx context.Context, client *buquet.Client, words []string) error {
	if len(words) == 2 {
		seconds, err := strconv.ParseFloat(words[1], 64)
		if err != nil {
			return errUsage
		}
		limited, cancel := context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
		defer cancel()
		ctx = limited
	}
	var output json.RawMessage
	if err := client.Result(ctx, words[0], &output); err != nil {
		return err
	}
	fmt.Println(string(output))
	return nil
}

func work(ctx context.Context, client *buquet.Client, words []string) error {
	worker := client.NewWorker()
	worker.Logf = log.Printf
	prefix := ""
	if len(words) > 0 {
		prefix = words[0]
	}
	if len(words) > 1 {
		concurrency, err := strconv.Atoi(words[1])
		if err != nil {
			return errUsage
		}
		worker.Concurrency = concurrency
	}
	handle(worker, prefix)
	return worker.Run(ctx)
}

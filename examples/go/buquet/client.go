// Package buquet submits, works and awaits tasks through the C ABI of buquet.
//
// A Client is one queue of tasks. Everything on it may be used by any number of goroutines at a time, and every call
// that waits takes a context. It has to be closed.
package buquet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// Config says where the queue lives. The zero value looks in the usual places, such as BUQUET_URL.
type Config struct {
	URL      string `json:"url,omitempty"` // such as s3://bucket/prefix or sqlite:jobs.db
	Region   string `json:"region,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Profile  string `json:"profile,omitempty"`
}

// Client is an open queue of tasks.
type Client struct {
	engine engine
	queue  queue
	pumped chan struct{} // closed when no completion can come any more

	mutex   sync.Mutex
	last    uint64
	pending map[uint64]chan completion
}

// completion is what an operation came to: OK or Error.
type completion struct {
	Token uint64          `json:"token"`
	OK    json.RawMessage `json:"ok"`
	Error *Error          `json:"error"`
}

// Open opens a client. It reaches for no network: what is wrong there is the error of the first call.
func Open(config Config) (*Client, error) {
	if err := checkVersion(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	opened, err := openEngine(text)
	if err != nil {
		return nil, err
	}
	completions, err := opened.openQueue()
	if err != nil {
		opened.close(0)
		return nil, err
	}
	c := &Client{
		engine:  opened,
		queue:   completions,
		pumped:  make(chan struct{}),
		pending: map[uint64]chan completion{},
	}
	go c.pump()
	return c, nil
}

// Close ends the client. It waits up to the timeout for calls under way and reports whether all of them had ended; the
// others return ErrClosed. Closing again changes nothing and
// reports false.
func (c *Client) Close(timeout time.Duration) bool {
	well := c.engine.close(timeout)
	<-c.pumped // the engine's close lets the last completion through, and then the pump ends
	return well
}

// Call runs an operation of docs/abi.md: the request goes there as JSON and its answer comes back from JSON. Nil stands
// for an empty request, and for an answer that does not matter. When the context ends first, the operation is cancelled,
// and may have taken effect all the same.
func (c *Client) Call(ctx context.Context, op string, request, answer any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var text []byte
	if request != nil {
		var err error
		if text, err = json.Marshal(request); err != nil {
			return fmt.Errorf("buquet: the request of %s: %w", op, err)
		}
	}
	token, arrival := c.expect()
	if err := c.queue.submit(op, text, token); err != nil {
		c.take(token)
		return err
	}
	var came completion
	select {
	case came = <-arrival:
	case <-ctx.Done():
		c.queue.cancel(token)
		if came = <-arrival; came.Error != nil {
			return ctx.Err()
		}
	}
	if came.Error != nil {
		return came.Error
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(came.OK, answer); err != nil {
		return fmt.Errorf("buquet: the answer to %s: %w", op, err)
	}
	return nil
}

// expect makes a token and the channel on which its completion will come.
func (c *Client) expect() (uint64, chan completion) {
	arrival := make(chan completion, 1)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.last++
	c.pending[c.last] = arrival
	return c.last, arrival
}

func (c *Client) take(token uint64) chan completion {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	arrival := c.pending[token]
	delete(c.pending, token)
	return arrival
}

// pump hands completions to those who wait for them, until the engine is closed and the last one has come.
func (c *Client) pump() {
	defer close(c.pumped)
	defer c.queue.close()
	for c.queue.wait() {
		for text := c.queue.next(); text != nil; text = c.queue.next() {
			came := read(text)
			if arrival := c.take(came.Token); arrival != nil {
				arrival <- came
			}
		}
	}
}

// read decodes one completion. Stored values may be nested deeper than encoding/json allows: then the call that asked
// for them fails, and no other. The token is readable all the same, since it comes first.
func read(text []byte) completion {
	var came []completion
	err := json.Unmarshal(text, &came)
	if err == nil {
		return came[0]
	}
	var token uint64
	_, _ = fmt.Fscanf(bytes.NewReader(text), `[{"token":%d`, &token)
	return completion{Token: token, Error: &Error{Code: "internal", Message: "the answer cannot be read: " + err.Error()}}
}

package buquet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Task is a task as it is stored.
type Task struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Status      string          `json:"status"` // pending, running, completed, failed, ...
	Input       json.RawMessage `json:"input"`
	Output      json.RawMessage `json:"output"`
	Attempt     int             `json:"attempt"` // 1 in the first run
	RetryCount  int             `json:"retry_count"`
	MaxRetries  int             `json:"max_retries"`
	Priority    int             `json:"priority"`
	SubmittedAt time.Time       `json:"submitted_at"`
	AvailableAt time.Time       `json:"available_at"`
	StartedAt   *time.Time      `json:"started_at"`
	CompletedAt *time.Time      `json:"completed_at"`
	Worker      string          `json:"worker"` // "" if none has had it
	Error       *Failure        `json:"error"`  // of the last attempt that failed
}

// Failure is why an attempt failed.
type Failure struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// TaskError is the error of a task that did not complete.
type TaskError struct{ Task *Task }

func (e *TaskError) Error() string {
	if e.Task.Error == nil {
		return fmt.Sprintf("task %s is %s", e.Task.ID, e.Task.Status)
	}
	return fmt.Sprintf("task %s is %s: %s: %s", e.Task.ID, e.Task.Status, e.Task.Error.Type, e.Task.Error.Message)
}

// Options are what a submit may say beside type and input. The zero value takes the engine's defaults.
type Options struct {
	Timeout  Duration `json:"timeout,omitempty"` // of each attempt
	Delay    Duration `json:"delay,omitempty"`   // until it becomes due
	Priority *int     `json:"priority,omitempty"`
	Retry    *Retry   `json:"retry,omitempty"`
}

// Retry says how often and when a failed attempt is followed by another. What is nil or zero takes the default.
type Retry struct {
	MaxRetries *int     `json:"max_retries,omitempty"`
	Initial    Duration `json:"initial,omitempty"`
	Max        Duration `json:"max,omitempty"`
}

// Duration is a time.Duration that is seconds in JSON.
type Duration time.Duration

// MarshalJSON writes the seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).Seconds())
}

// Int is for the options that are pointers: Options{Priority: buquet.Int(9)}.
func Int(n int) *int { return &n }

// Submit stores a task and returns its id once it is durable.
func (c *Client) Submit(ctx context.Context, kind string, input any, options Options) (string, error) {
	request := struct {
		Type  string `json:"type"`
		Input any    `json:"input"`
		Options
	}{kind, input, options}
	var answer struct{ ID string }
	err := c.Call(ctx, "submit", request, &answer)
	return answer.ID, err
}

// SubmitMany stores tasks of one type, many to an object, and returns their ids in the order of the inputs.
func (c *Client) SubmitMany(ctx context.Context, kind string, inputs []any, options Options) ([]string, error) {
	request := struct {
		Type   string `json:"type"`
		Inputs []any  `json:"inputs"`
		Options
	}{kind, inputs, options}
	var answer struct{ IDs []string }
	err := c.Call(ctx, "submit_many", request, &answer)
	return answer.IDs, err
}

// Get reads a task; ErrNotFound if there is none of that id.
func (c *Client) Get(ctx context.Context, id string) (*Task, error) {
	var answer struct{ Tasks []*Task }
	if err := c.Call(ctx, "get", map[string]any{"ids": []string{id}}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Tasks) != 1 || answer.Tasks[0] == nil {
		return nil, &Error{Code: ErrNotFound.Code, Message: "there is no task " + id}
	}
	return answer.Tasks[0], nil
}

// Wait waits until a task has ended, whatever it came to, or the context has.
func (c *Client) Wait(ctx context.Context, id string) (*Task, error) {
	task := new(Task)
	if err := c.Call(ctx, "wait", map[string]string{"id": id}, task); err != nil {
		return nil, err
	}
	return task, nil
}

// Result waits for a task and reads its output into `output`, which may be nil. A task that did not complete is a
// *TaskError.
func (c *Client) Result(ctx context.Context, id string, output any) error {
	task, err := c.Wait(ctx, id)
	if err != nil {
		return err
	}
	if task.Status != "completed" {
		return &TaskError{task}
	}
	if output == nil {
		return nil
	}
	return json.Unmarshal(task.Output, output)
}

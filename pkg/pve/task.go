package pve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

const (
	firstPoll = 100 * time.Millisecond
	lastPoll  = 2 * time.Second
	// crowdPause is what each request that waits for its turn adds to the pause between two questions: some four times
	// what it takes until that one is served.
	crowdPause = 25 * time.Millisecond
	logLines   = 200 // read at once; longer logs are read again from their end
	tailLines  = 4   // shown
)

// TaskError is a task that ended badly. errors.Is finds kvm.ErrTaskFailed and the sentinel that its words stand for.
type TaskError struct {
	UPID kvm.UPID
	Exit string   // the exit status, which is the error's text
	Tail []string // the last lines of the log

	what string
	kind error
}

// Error is one line: the task, how it ended, and the end of its log.
func (e *TaskError) Error() string {
	s := e.what + " failed: " + e.Exit
	if len(e.Tail) > 0 {
		s += " (log: " + strings.Join(e.Tail, " | ") + ")"
	}
	return s
}

// Unwrap gives kvm.ErrTaskFailed and the sentinel.
func (e *TaskError) Unwrap() []error {
	if e.kind == nil {
		return []error{kvm.ErrTaskFailed}
	}
	return []error{kvm.ErrTaskFailed, e.kind}
}

type taskStatus struct {
	Status text `json:"status"`
	Exit   text `json:"exitstatus"`
}

var (
	warnings   = pattern.New(`^WARNINGS: \d+$`)
	goneVolume = pattern.New(`^volume '.*' does not exist`)
)

// Wait follows the task until it has ended: nil for OK and WARNINGS, else a *TaskError with the end of its log, which is
// kvm.ErrUnknown where the task was killed and so did not say what it had done. It gives up after limit with
// kvm.ErrStillRunning. A node that cannot be asked for a while is no answer and is asked again until the limit.
//
// The first question is asked when tasks of this type have usually ended (see paces), else after 100 ms. The pause then
// grows by a sixteenth, to 2 s, so that an end is soon seen; where requests queue for the cluster's slots it is longer, for
// then a question keeps others from their work, and an end that is seen late costs nothing.
func (c *Client) Wait(ctx context.Context, id kvm.UPID, limit time.Duration) error {
	u, err := parseUPID(string(id))
	if err != nil {
		return err
	}
	began := c.clock.Now()
	end := began.Add(limit)
	pause, next := c.paces.first(u.Type)
	var last error
	for {
		err := c.clock.Sleep(ctx, min(pause, end.Sub(c.clock.Now())))
		if more := min(pause/8, c.crowded()); err == nil && more > 0 && pause > firstPoll {
			err = c.clock.Sleep(ctx, min(more, end.Sub(c.clock.Now()))) // so that this question is the last
		}
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", u.what(), err)
		}
		var st taskStatus
		last = c.get(ctx, path("nodes", u.Node, "tasks", id, "status"), nil, &st)
		switch {
		case last == nil && st.Status == "stopped":
			c.paces.note(u.Type, c.clock.Now().Sub(began))
			return c.ended(ctx, u, id, string(st.Exit))
		case last == nil && st.Status != "running":
			last = fmt.Errorf("its status is %.40q", st.Status)
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for %s: %w", u.what(), ctx.Err())
		case last != nil && !passing(last):
			return fmt.Errorf("waiting for %s: %w", u.what(), last)
		}
		if !c.clock.Now().Before(end) {
			break
		}
		pause, next = max(next, c.crowded()), min(next+next/16, lastPoll)
	}
	if last != nil {
		return kvm.Errorf(kvm.ErrStillRunning, "%s has not been seen to end within %v: %w", u.what(), limit, onlyText{last})
	}
	return kvm.Errorf(kvm.ErrStillRunning, "%s has not ended within %v", u.what(), limit)
}

// crowded is the least pause between two questions about a task while requests wait for each other; 0 = they do not.
func (c *Client) crowded() time.Duration {
	return min(time.Duration(c.trip.waiting.Load())*crowdPause, lastPoll)
}

// passing says whether a question about a task may be answered later: nobody answered, or a 5xx without a meaning.
func passing(err error) bool {
	if errors.Is(err, kvm.ErrUnreachable) || errors.Is(err, kvm.ErrBusy) {
		return true
	}
	var e *Error
	return errors.As(err, &e) && e.Status >= 500 && e.kind == nil
}

func (c *Client) ended(ctx context.Context, u upid, id kvm.UPID, exit string) error {
	if exit == "OK" || warnings.MatchString(exit) || u.Type == "imgdel" && goneVolume.MatchString(exit) {
		return nil
	}
	if exit == "" {
		exit = "unexpected status"
	}
	e := &TaskError{UPID: id, what: u.what(), Exit: oneLine(exit), Tail: c.tail(ctx, u, id, exit)}
	e.kind = classify(refusal{write: true, text: e.Exit})
	for i := len(e.Tail) - 1; i >= 0 && e.kind == nil; i-- { // "migration aborted" and the like: the reason is above
		e.kind = classify(refusal{write: true, text: e.Tail[i]})
	}
	return e
}

// tail is the end of a task's log, without what the exit status says anyway. A log that cannot be read has none: the
// task's failure is what matters.
func (c *Client) tail(ctx context.Context, u upid, id kvm.UPID, exit string) []string {
	lines, err := c.logEnd(ctx, u, id, logLines, 20)
	if err != nil {
		return nil
	}
	var out []string
	for _, l := range lines {
		l = oneLine(l)
		if l == "" || l == "TASK ERROR: "+oneLine(exit) || l == oneLine(exit) {
			continue
		}
		out = append(out, l)
	}
	return out[max(0, len(out)-tailLines):]
}

// TaskLog are the last n lines of a task's log, of a running task as far as it has come. kvm.ErrNotFound: there is no log,
// or no such task.
func (c *Client) TaskLog(ctx context.Context, id kvm.UPID, n int) ([]string, error) {
	u, err := parseUPID(string(id))
	if err != nil {
		return nil, err
	}
	n = max(n, 1)
	lines, err := c.logEnd(ctx, u, id, n, n)
	if err != nil {
		return nil, fmt.Errorf("the log of %s: %w", u.what(), err)
	}
	for i := range lines {
		lines[i] = oneLine(lines[i])
	}
	return lines, nil
}

// logEnd is the whole log where it has no more than whole lines, else its last n, by a second request: only the answer says
// how long a log is.
func (c *Client) logEnd(ctx context.Context, u upid, id kvm.UPID, whole, n int) ([]string, error) {
	at := path("nodes", u.Node, "tasks", id, "log")
	lines, total, err := c.log(ctx, at, 0, whole)
	if err == nil && total > whole {
		lines, _, err = c.log(ctx, at, total-n, n)
	}
	return lines, err
}

func (c *Client) log(ctx context.Context, at string, start, limit int) (lines []string, total int, err error) {
	a, err := c.call(ctx, http.MethodGet, at, params{"start": strconv.Itoa(start), "limit": strconv.Itoa(limit)})
	if err != nil {
		return nil, 0, err
	}
	var rows []struct {
		Text text `json:"t"`
	}
	if json.Unmarshal(a.Data, &rows) != nil { // an object: there is no log file
		return nil, 0, kvm.Errorf(kvm.ErrNotFound, "GET %s: there is no log", at)
	}
	for _, r := range rows {
		lines = append(lines, string(r.Text))
	}
	return lines, int(a.Total), nil
}

package event

import (
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Event is one of the structs of this package.
type Event interface {
	// When is the moment it happened.
	When() time.Time
	// Name is the event's name in the JSON output, stable across versions.
	Name() string
}

// At is the moment of an event; every event embeds it.
type At struct {
	Time time.Time `json:"time"`
}

// When is the moment.
func (a At) When() time.Time { return a.Time }

// Sink takes events. Emit must not block for long and must not fail: a log that cannot be written stops no deployment.
type Sink interface {
	Emit(Event)
}

// SinkFunc is a Sink made of a function.
type SinkFunc func(Event)

// Emit calls f.
func (f SinkFunc) Emit(e Event) { f(e) }

// TickStarted opens a cron run.
type TickStarted struct {
	At
}

// TickEnded closes it.
type TickEnded struct {
	At
	Took time.Duration `json:"took_ns"`
}

// TaskStarted opens a task of the tick.
type TaskStarted struct {
	At
	Task     string        `json:"task"`
	Interval time.Duration `json:"interval_ns"`
	Last     time.Time     `json:"last"` // when it last finished; zero = never
}

// TaskEnded closes it.
type TaskEnded struct {
	At
	Task      string        `json:"task"`
	Took      time.Duration `json:"took_ns"`
	Processed int           `json:"processed"` // services taken up
	Errors    int           `json:"errors"`
}

// BlockStarted opens the block of one service.
type BlockStarted struct {
	At
	Pipeline string     `json:"pipeline"` // Deploy, ChangePackage, …
	Service  int64      `json:"service"`
	VMID     int        `json:"vmid"`
	Status   kvm.Status `json:"status"`
}

// StepEnded is a row of a table that was tried.
type StepEnded struct {
	At
	Service int64         `json:"service"`
	N       int           `json:"n"` // within this block, from 1
	Title   string        `json:"title"`
	Note    string        `json:"note,omitempty"` // "skip — no change"
	From    kvm.Status    `json:"from"`
	To      kvm.Status    `json:"to"`
	Took    time.Duration `json:"took_ns"`
	Message string        `json:"message,omitempty"` // "" = success
}

// BlockEnded closes the block.
type BlockEnded struct {
	At
	Pipeline string     `json:"pipeline"`
	Service  int64      `json:"service"`
	Status   kvm.Status `json:"status"` // where it stands now
	Complete bool       `json:"complete"`
}

// ActionStarted opens the lines of a service's action that has no block: terminate.
type ActionStarted struct {
	At
	Service int64  `json:"service"`
	Action  string `json:"action"`
}

// ActionEnded closes them.
type ActionEnded struct {
	At
	Service int64         `json:"service"`
	Action  string        `json:"action"`
	Took    time.Duration `json:"took_ns"`
	Message string        `json:"message,omitempty"` // "" = success
	Failed  bool          `json:"failed,omitempty"`  // the message is an error; else it waits
}

// Said is what a row tells while it is at work.
type Said struct {
	At
	Service int64  `json:"service"`
	Text    string `json:"text"`
	Action  bool   `json:"action"` // it stands among the lines of an action, not in a block
}

// DNSChanged is an operation at a DNS provider, done or failed.
type DNSChanged struct {
	At
	Service  int64    `json:"service"`
	Op       string   `json:"op"`       // fwd, rev, fwd-del, rev-del
	Provider string   `json:"provider"` // cloudflare, hestiacp, powerdns
	Zone     string   `json:"zone"`
	Host     string   `json:"host"`      // the host name
	Addrs    []string `json:"addresses"` // its addresses; of a reverse operation the one
	Changed  bool     `json:"changed"`
	Error    string   `json:"error,omitempty"` // "" = it is as it should be
	Action   bool     `json:"action"`          // it stands among the lines of an action, not in a block
}

// ServiceResult is the line of a service under its task's TaskEnded.
type ServiceResult struct {
	At
	Service int64         `json:"service"`
	Action  string        `json:"action"` // deploy, change_package, …
	Message string        `json:"message,omitempty"`
	From    kvm.Status    `json:"from,omitempty"` // where it waits now; only with a Message
	To      kvm.Status    `json:"to,omitempty"`   // where the row wanted it
	Took    time.Duration `json:"took_ns,omitempty"`
	Skipped string        `json:"skipped,omitempty"` // why nothing was to be done; then there is no message
}

// TaskSaid is what a task tells of itself, not of a service: a server that could not be reached.
type TaskSaid struct {
	At
	Task string `json:"task"`
	Text string `json:"text"`
}

// Name is tick_started.
func (TickStarted) Name() string { return "tick_started" }

// Name is tick_ended.
func (TickEnded) Name() string { return "tick_ended" }

// Name is task_started.
func (TaskStarted) Name() string { return "task_started" }

// Name is task_ended.
func (TaskEnded) Name() string { return "task_ended" }

// Name is block_started.
func (BlockStarted) Name() string { return "block_started" }

// Name is step_ended.
func (StepEnded) Name() string { return "step_ended" }

// Name is block_ended.
func (BlockEnded) Name() string { return "block_ended" }

// Name is action_started.
func (ActionStarted) Name() string { return "action_started" }

// Name is action_ended.
func (ActionEnded) Name() string { return "action_ended" }

// Name is said.
func (Said) Name() string { return "said" }

// Name is dns_changed.
func (DNSChanged) Name() string { return "dns_changed" }

// Name is service_result.
func (ServiceResult) Name() string { return "service_result" }

// Name is task_said.
func (TaskSaid) Name() string { return "task_said" }

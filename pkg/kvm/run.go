package kvm

import "time"

// The results of a stored run.
const (
	RunSuccess = "success" // the pipeline's end was reached
	RunWaiting = "waiting" // it waits on something that Message names
	RunError   = "error"   // a row failed
	RunOpen    = "running" // not ended; or its process died, and nobody has taken the service up again yet
	RunCut     = "cut off" // its process died
)

// Run is one stored run of a service: what `vm log` shows.
type Run struct {
	ID        int64     `json:"id"` // 0 = not stored yet
	ServiceID int64     `json:"service"`
	Action    string    `json:"action"` // deploy, change_package, …
	Result    string    `json:"result"`
	From      Status    `json:"from"`
	To        Status    `json:"to"` // where it stands
	Message   string    `json:"message,omitempty"`
	Repeats   int       `json:"repeats"` // how often it ended just so, 1 = once
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended"` // zero while it runs; of the last repeat
	Steps     []RunStep `json:"steps"`
}

// RunStep is a row of a table that was tried in a run.
type RunStep struct {
	N       int           `json:"n"`
	Title   string        `json:"title"`
	Note    string        `json:"note,omitempty"`
	From    Status        `json:"from"`
	To      Status        `json:"to"`
	Message string        `json:"message,omitempty"` // "" = success
	Took    time.Duration `json:"took_ns"`
}

// TaskRun is what is stored of a cron task.
type TaskRun struct {
	Name     string    `json:"task"`
	Started  time.Time `json:"started"`  // zero = never
	Finished time.Time `json:"finished"` // zero = never
	Result   string    `json:"result"`
}

package pvesim

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// faultForm is a Fault as the control address writes it. Durations are texts like 500ms or 1m.
type faultForm struct {
	ID              int     `json:"id,omitempty"`   // in answers
	Hits            int     `json:"hits,omitempty"` // in answers
	Method          string  `json:"method,omitempty"`
	Path            string  `json:"path,omitempty"`
	VMID            int     `json:"vmid,omitempty"`
	Guest           int     `json:"guest,omitempty"`
	Skip            int     `json:"skip,omitempty"`
	Count           int     `json:"count,omitempty"`
	Rate            float64 `json:"rate,omitempty"`
	Status          int     `json:"status,omitempty"`
	Reason          string  `json:"reason,omitempty"`
	After           bool    `json:"after,omitempty"`
	Body            string  `json:"body,omitempty"`
	Delay           string  `json:"delay,omitempty"`
	Hang            bool    `json:"hang,omitempty"`
	ResetBefore     bool    `json:"reset_before,omitempty"`
	ResetAfter      bool    `json:"reset_after,omitempty"`
	TaskError       string  `json:"task_error,omitempty"`
	TaskVanishes    bool    `json:"task_vanishes,omitempty"`
	TaskKilledAfter string  `json:"task_killed_after,omitempty"`
	UpLate          string  `json:"up_late,omitempty"`
	NodeDown        string  `json:"node_down,omitempty"`
}

// fault checks f whole and makes the fault of it.
func (f faultForm) fault(c *Cluster) (Fault, error) {
	out := Fault{Method: f.Method, Path: f.Path, VMID: f.VMID, Guest: f.Guest, Skip: f.Skip, Count: f.Count, Rate: f.Rate,
		Status: f.Status, Reason: f.Reason, After: f.After, Body: f.Body, Hang: f.Hang, ResetBefore: f.ResetBefore, ResetAfter: f.ResetAfter,
		TaskError: f.TaskError, TaskVanishes: f.TaskVanishes}
	if f.ID != 0 || f.Hits != 0 {
		return out, errors.New(`"id" and "hits" are told, not set: leave them out`)
	}
	if f.Method != "" && !slices.Contains([]string{"GET", "POST", "PUT", "DELETE"}, f.Method) {
		return out, fmt.Errorf("method %q: it is GET, POST, PUT or DELETE; leave it out for any", f.Method)
	}
	if err := c.knownPath(f.Method, f.Path); err != nil {
		return out, err
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"vmid", f.VMID}, {"guest", f.Guest}, {"skip", f.Skip}, {"count", f.Count}} {
		if n.value < 0 {
			return out, fmt.Errorf("%s %d: it is 0 or more", n.name, n.value)
		}
	}
	if f.Rate < 0 || f.Rate > 1 || math.IsNaN(f.Rate) {
		return out, fmt.Errorf("rate %g: it is a probability, 0 to 1", f.Rate)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return out, fmt.Errorf("status %d: it is 200 to 599", f.Status)
	}
	if strings.ContainsAny(f.Reason, "\r\n") {
		return out, fmt.Errorf("reason %q: it is one line", f.Reason)
	}
	for _, d := range []struct {
		name, text string
		into       *time.Duration
	}{{"delay", f.Delay, &out.Delay}, {"task_killed_after", f.TaskKilledAfter, &out.TaskKilledAfter}, {"up_late", f.UpLate, &out.UpLate}, {"node_down", f.NodeDown, &out.NodeDown}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.into, err = time.ParseDuration(d.text); err != nil || *d.into <= 0 {
			return out, fmt.Errorf("%s %q: it is a time like 500ms, 2s, 1m", d.name, d.text)
		}
	}
	return out, f.one()
}

// one sees to it that what happens is one thing.
func (f faultForm) one() error {
	var what []string
	for _, w := range []struct {
		name string
		is   bool
	}{{"status or body", f.Status != 0 || f.Body != ""}, {"hang", f.Hang}, {"reset_before", f.ResetBefore}, {"reset_after", f.ResetAfter},
		{"task_error", f.TaskError != ""}, {"task_vanishes", f.TaskVanishes}, {"task_killed_after", f.TaskKilledAfter != ""}, {"up_late", f.UpLate != ""},
		{"node_down", f.NodeDown != ""}} {
		if w.is {
			what = append(what, w.name)
		}
	}
	switch {
	case len(what) > 1:
		return fmt.Errorf("%s: a fault does one of them; put two in place", strings.Join(what, ", "))
	case len(what) == 0 && f.Delay == "":
		return errors.New("it does nothing: give status, body, hang, reset_before, reset_after, task_error, task_vanishes, task_killed_after, up_late, node_down or delay")
	case f.Status == 0 && (f.Reason != "" || f.After):
		return errors.New("reason and after go with a status")
	}
	return nil
}

// knownPath says whether a request can have this path.
func (c *Cluster) knownPath(method, want string) error {
	if want == "" || slices.ContainsFunc(c.endpoints, func(e *endpoint) bool { return e.path == want && (method == "" || method == e.method) }) {
		return nil
	}
	if strings.Contains(want, "{") {
		with := ""
		if method != "" {
			with = " by " + method
		}
		return fmt.Errorf("path %q: the simulator has no such call%s", want, with)
	}
	if _, err := path.Match(want, ""); err != nil || want[0] != '/' {
		return fmt.Errorf("path %q: it is a path below /api2/json, with * for one segment", want)
	}
	return nil
}

func formOf(id int, f Fault, hits int) faultForm {
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	return faultForm{ID: id, Hits: hits, Method: f.Method, Path: f.Path, VMID: f.VMID, Guest: f.Guest, Skip: f.Skip, Count: f.Count, Rate: f.Rate,
		Status: f.Status, Reason: f.Reason, After: f.After, Body: f.Body, Delay: text(f.Delay), Hang: f.Hang, ResetBefore: f.ResetBefore, ResetAfter: f.ResetAfter,
		TaskError: f.TaskError, TaskVanishes: f.TaskVanishes, TaskKilledAfter: text(f.TaskKilledAfter), UpLate: text(f.UpLate), NodeDown: text(f.NodeDown)}
}

func (s *Control) listFaults(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []faultForm{}
	for _, p := range s.faults {
		out = append(out, formOf(p.id, p.fault, p.armed.Hits()))
	}
	return out, nil
}

func (s *Control) addFault(r *http.Request) (any, error) {
	var form faultForm
	if err := readBody(r, &form); err != nil {
		return nil, err
	}
	f, err := form.fault(s.c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.faults = append(s.faults, placed{s.last, f, s.c.AddFault(f)})
	return object{"id": s.last}, nil
}

func (s *Control) removeFaults(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.faults)
	for _, p := range s.faults {
		p.armed.Remove()
	}
	s.faults = nil
	return object{"removed": n}, nil
}

func (s *Control) removeFault(r *http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := strconv.Atoi(r.PathValue("id"))
	i := slices.IndexFunc(s.faults, func(p placed) bool { return err == nil && p.id == id })
	if i < 0 {
		return nil, notThere{fmt.Errorf("there is no fault %q; GET /faults lists them", r.PathValue("id"))}
	}
	s.faults[i].armed.Remove()
	s.faults = slices.Delete(s.faults, i, i+1)
	return object{"removed": 1}, nil
}

// secretKeys are parameters whose values nobody is shown.
var secretKeys = []string{"password", "cipassword", "ticket", "otp"}

func (s *Control) requests(r *http.Request) (any, error) {
	list := s.c.Requests()
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("limit %q: it is a number from 1 on", text)
		}
		list = list[max(0, len(list)-n):]
	}
	out := []object{}
	for _, e := range list {
		form := map[string]string{}
		for k, v := range e.Form {
			if form[k] = v; slices.Contains(secretKeys, k) {
				form[k] = "***"
			}
		}
		out = append(out, object{"time": e.Time.UTC().Format(time.RFC3339Nano), "method": e.Method, "path": e.Path, "form": form,
			"user": e.User, "status": e.Status, "reason": e.Reason})
	}
	return out, nil
}

func (s *Control) resetRequests(*http.Request) (any, error) {
	s.c.ResetRequests()
	return object{}, nil
}

func (s *Control) state(*http.Request) (any, error) {
	nodes, storages, vms, tasks := []object{}, []object{}, []object{}, []object{}
	for _, n := range s.c.Nodes() {
		nodes = append(nodes, object{"node": n.Name, "online": n.Online})
	}
	for _, st := range s.c.Storages() {
		storages = append(storages, object{"storage": st.ID, "type": st.Type, "full": st.full})
	}
	for id, vm := range s.c.VMs() {
		disks := map[string]string{}
		for slot, v := range vm.Disks {
			disks[slot] = fmt.Sprintf("%s, %d bytes", v.ID, v.Size)
		}
		vms = append(vms, object{"vmid": id, "node": vm.Node, "name": vm.Config["name"], "power": vm.Power, "lock": vm.Lock, "template": vm.Template, "disks": disks})
	}
	slices.SortFunc(vms, func(a, b object) int { return cmp.Compare(a["vmid"].(int), b["vmid"].(int)) })
	for _, t := range s.c.Tasks() {
		status := t.Exit
		if t.End.IsZero() {
			status = string(kvm.Running)
		}
		tasks = append(tasks, object{"upid": t.UPID, "node": t.Node, "type": t.Type, "vmid": t.Guest, "status": status})
	}
	return object{"nodes": nodes, "storages": storages, "vms": vms, "tasks": tasks}, nil
}

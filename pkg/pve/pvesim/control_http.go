package pvesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ControlHelp is the control address's own manual: what GET / answers.
const ControlHelp = `The control address of a simulated Proxmox VE cluster. Bodies are JSON; what is wrong is answered 400 and changes nothing.

GET    /faults            the faults in place, with their ids and how often each struck
POST   /faults            put one in place: {"id":1}
DELETE /faults            remove all; DELETE /faults/1 removes one
POST   /nodes/NAME        {"online":false} pulls the plug: what ran there is over; {"online":true} boots it
POST   /storages/ID       {"full":true}
POST   /vms/VMID          {"lock":"backup"} ("" unlocks), {"power":"running"} or "stopped", {"traffic":{"in":1000,"out":50}} bytes a second
POST   /cluster           {"quorate":false}
GET    /state             nodes, storages, VMs, tasks
GET    /requests          the last requests of the API, secrets hidden; ?limit=N for fewer
DELETE /requests          empty that list

A fault. With which requests:
  method, path            "POST", "/nodes/{node}/qemu/{vmid}/clone" (as in the API viewer) or a path with * for one segment
  vmid, guest             of the path; of the VM that it is about, which for a clone and its task is the new one
  skip, count, rate       let so many pass first; strike so often (0: always); with this probability (0: each time)
What happens, one of:
  status, reason, body    answer this and do nothing; with "after":true, do it and answer this
  body                    alone: do it, and answer 200 with this body
  hang, reset_before, reset_after                       true
  task_error              how the task ends: "unexpected status"
  task_vanishes           true: no call finds the task
  task_killed_after       "2s": a signal ends the task's worker then
  up_late                 "30s": a VM that the task starts is seen stopped for that long after the task has ended well
  node_down               "1m": the node of the request is down for that long
and delay                 "500ms" passes first

Example: clones of VM 101 meet a locked template, twice.
  curl -d '{"method":"POST","path":"/nodes/{node}/qemu/{vmid}/clone","guest":101,"count":2,"status":500,"reason":"VM is locked (backup)"}' http://ADDRESS/faults
`

// Control serves a cluster's control address.
type Control struct {
	Addr string

	c      *Cluster
	mu     sync.Mutex
	last   int
	faults []placed
	http   *http.Server
	served chan error
}

// placed is a fault that came by the control address.
type placed struct {
	id    int
	fault Fault
	armed *Armed
}

// ServeControl serves the control API, plain HTTP without any login: so addr must be a loopback address
// ("127.0.0.1:8007"; port 0 for any).
func (c *Cluster) ServeControl(addr string) (*Control, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("control address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("control address %q: it asks for no password, so it must be a loopback address, like 127.0.0.1:8007", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("control address %q: %w", addr, err)
	}
	s := &Control{Addr: listener.Addr().String(), c: c, served: make(chan error, 1)}
	// A page in the administrator's browser reaches loopback too; it is not let in.
	s.http = &http.Server{Handler: http.NewCrossOriginProtection().Handler(s.handler()), ReadHeaderTimeout: 30 * time.Second}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Close ends it.
func (s *Control) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

func (s *Control) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(*http.Request) (any, error){
		"GET /faults":           s.listFaults,
		"POST /faults":          s.addFault,
		"DELETE /faults":        s.removeFaults,
		"DELETE /faults/{id}":   s.removeFault,
		"POST /nodes/{name}":    s.setNode,
		"POST /storages/{name}": s.setStorage,
		"POST /vms/{vmid}":      s.setVM,
		"POST /cluster":         s.setCluster,
		"GET /state":            s.state,
		"GET /requests":         s.requests,
		"DELETE /requests":      s.resetRequests,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { respond(w, r, do) })
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, ControlHelp) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		respond(w, r, func(r *http.Request) (any, error) {
			return nil, notThere{fmt.Errorf("%s %s is no call; GET / tells which there are", r.Method, r.URL.Path)}
		})
	})
	return mux
}

// notThere is an error that is answered 404; every other is 400.
type notThere struct{ error }

func respond(w http.ResponseWriter, r *http.Request, do func(*http.Request) (any, error)) {
	data, err := do(r)
	code := http.StatusOK
	if err != nil {
		data, code = object{"error": err.Error()}, http.StatusBadRequest
		if errors.As(err, &notThere{}) {
			code = http.StatusNotFound
		}
	}
	text, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		text, code = []byte(`{"error": "the answer is no JSON"}`), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // a client that has gone is no error of ours
}

// readBody reads one JSON object whose every key is known.
func readBody(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(into); errors.Is(err, io.EOF) {
		return errors.New("the body is empty; a JSON object is wanted, see GET /")
	} else if err != nil {
		return fmt.Errorf("the body: %w; see GET /", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body: something follows the JSON object; one request sets one thing")
	}
	return nil
}

func (s *Control) setNode(r *http.Request) (any, error) {
	var want struct {
		Online *bool `json:"online"`
	}
	name := r.PathValue("name")
	if err := readBody(r, &want); err != nil {
		return nil, err
	}
	if want.Online == nil {
		return nil, errors.New(`the body: "online" is missing; {"online":false} or {"online":true}`)
	}
	var names []string
	for _, n := range s.c.Nodes() {
		names = append(names, n.Name)
	}
	if !slices.Contains(names, name) {
		return nil, notThere{fmt.Errorf("there is no node %q; there is %q", name, names)}
	}
	if *want.Online {
		s.c.BootNode(name)
	} else {
		s.c.CrashNode(name)
	}
	return object{"node": name, "online": *want.Online}, nil
}

func (s *Control) setStorage(r *http.Request) (any, error) {
	var want struct {
		Full *bool `json:"full"`
	}
	name := r.PathValue("name")
	if err := readBody(r, &want); err != nil {
		return nil, err
	}
	if want.Full == nil {
		return nil, errors.New(`the body: "full" is missing; {"full":true} or {"full":false}`)
	}
	var names []string
	for _, st := range s.c.Storages() {
		names = append(names, st.ID)
	}
	if !slices.Contains(names, name) {
		return nil, notThere{fmt.Errorf("there is no storage %q; there is %q", name, names)}
	}
	s.c.SetStorageFull(name, *want.Full)
	return object{"storage": name, "full": *want.Full}, nil
}

var lockNames = []string{"", "backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended"}

func (s *Control) setVM(r *http.Request) (any, error) {
	var want struct {
		Lock  *string    `json:"lock"`
		Power *kvm.Power `json:"power"`
		Carry *struct {
			In  float64 `json:"in"`
			Out float64 `json:"out"`
		} `json:"traffic"`
	}
	vmid, err := strconv.Atoi(r.PathValue("vmid"))
	if err != nil {
		return nil, fmt.Errorf("%q is no VMID", r.PathValue("vmid"))
	}
	if err := readBody(r, &want); err != nil {
		return nil, err
	}
	switch {
	case want.Lock == nil && want.Power == nil && want.Carry == nil:
		return nil, errors.New(`the body: "lock", "power" or "traffic" is missing; {"lock":"backup"}, {"power":"stopped"}, {"traffic":{"in":1000,"out":50}}`)
	case want.Carry != nil && (want.Carry.In < 0 || want.Carry.Out < 0 || want.Carry.In > 1e12 || want.Carry.Out > 1e12):
		return nil, errors.New(`traffic: "in" and "out" are bytes a second, 0 to 1e12`)
	case want.Lock != nil && !slices.Contains(lockNames, *want.Lock):
		return nil, fmt.Errorf("lock %q: Proxmox VE has %q", *want.Lock, lockNames[1:])
	case want.Power != nil && *want.Power != kvm.Running && *want.Power != kvm.Stopped:
		return nil, fmt.Errorf("power %q: it is %q or %q", *want.Power, kvm.Running, kvm.Stopped)
	}
	if vm, found := s.c.VM(vmid); !found {
		return nil, notThere{fmt.Errorf("VM %d: %w", vmid, errNoVM)}
	} else if vm.Template && want.Power != nil {
		return nil, fmt.Errorf("VM %d is a template: it has no power", vmid)
	}
	if want.Lock != nil {
		err = s.c.SetLock(vmid, *want.Lock)
	}
	if want.Power != nil && err == nil {
		err = s.c.SetPower(vmid, *want.Power)
	}
	if want.Carry != nil && err == nil {
		err = s.c.SetTraffic(vmid, want.Carry.In, want.Carry.Out)
	}
	return object{"vmid": vmid}, err
}

func (s *Control) setCluster(r *http.Request) (any, error) {
	var want struct {
		Quorate *bool `json:"quorate"`
	}
	if err := readBody(r, &want); err != nil {
		return nil, err
	}
	if want.Quorate == nil {
		return nil, errors.New(`the body: "quorate" is missing; {"quorate":false} or {"quorate":true}`)
	}
	s.c.SetQuorum(*want.Quorate)
	return object{"quorate": *want.Quorate}, nil
}

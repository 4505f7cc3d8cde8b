package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// unknown is a state of the cluster in which nobody can say whether a VM is gone.
type unknown struct {
	name   string
	faults []pvesim.Fault
	quorum bool // is lost
	down   bool // the VM's node is
	moved  bool // the VM stands on the other node, where it is not looked for first
	denied bool // a privilege is missing, which waiting cannot mend
}

const (
	emptyList = `{"data":[]}`
	notThere  = "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist"
)

func get(path string, f pvesim.Fault) pvesim.Fault {
	f.Method, f.Path = "GET", path
	return f
}

// silences are the ways in which a question gets no answer.
func silences(path string) map[string]pvesim.Fault {
	return map[string]pvesim.Fault{
		"500":    get(path, pvesim.Fault{Status: 500, Reason: "got timeout"}),
		"595":    get(path, pvesim.Fault{Status: 595, Reason: "No route to host"}),
		"596":    get(path, pvesim.Fault{Status: 596, Reason: "Connection timed out"}),
		"599":    get(path, pvesim.Fault{Status: 599, Reason: "Too many redirections"}),
		"hang":   get(path, pvesim.Fault{Hang: true}),
		"reset":  get(path, pvesim.Fault{ResetBefore: true}),
		"a page": get(path, pvesim.Fault{Status: 200, Body: "<html>welcome</html>"}),
	}
}

// unknowns are those of a VM that is there, or with gone of one that was destroyed by hand.
func unknowns(gone bool) []unknown {
	list := []unknown{{name: "quorum lost", quorum: true}}
	add := func(of, path string, others ...pvesim.Fault) {
		for how, f := range silences(path) {
			list = append(list, unknown{name: of + ": " + how, faults: append([]pvesim.Fault{f}, others...), moved: path != configPath})
		}
	}
	empty := get(listPath, pvesim.Fault{Status: 200, Body: emptyList})
	add("list", listPath)
	add("nextid", nextIDPath, empty)
	add("cluster", clusterPath, empty)
	list = append(list,
		unknown{name: "nextid of another VM", faults: []pvesim.Fault{empty, get(nextIDPath, pvesim.Fault{Status: 200, Body: `{"data":"999"}`})}, moved: true},
		unknown{name: "cluster says nothing", faults: []pvesim.Fault{empty, get(clusterPath, pvesim.Fault{Status: 200, Body: emptyList})}, moved: true},
		unknown{name: "cluster denied", faults: []pvesim.Fault{empty, get(clusterPath, pvesim.Fault{Status: 403, Reason: "Permission check failed (/, Sys.Audit)"})}, moved: true, denied: true})
	if gone {
		return list
	}
	add("config", configPath)
	return append(list,
		unknown{name: "node offline", down: true},
		unknown{name: "empty list", faults: []pvesim.Fault{empty}, moved: true},
		unknown{name: "no VM.Audit", faults: []pvesim.Fault{empty, get(configPath, pvesim.Fault{Status: 403, Reason: "Permission check failed (/vms/100, VM.Audit)"})}, denied: true},
		// The node that we ask is cut off, and sees the cluster as it was before the VM was made.
		unknown{name: "an old view without quorum", quorum: true, faults: []pvesim.Fault{empty,
			get(configPath, pvesim.Fault{Status: 500, Reason: notThere}), get(nextIDPath, pvesim.Fault{Status: 200, Body: `{"data":"VMID"}`})}})
}

// TestUnknownIsNotGone: in each row of what destroys, up to the one that does, nobody can say whether the VM is there, for
// each reason that there may be. Nothing is given back, and the VM is not called gone; what is missing is named; and when
// it is over the service goes on to its right end.
func TestUnknownIsNotGone(t *testing.T) {
	t.Parallel()
	for _, d := range destroyers {
		t.Run(string(d.verb), func(t *testing.T) {
			t.Parallel()
			w := newDestroyWorld(t, pvesim.Instant())
			w.timeout = 300 * time.Millisecond
			for rows := range d.deletes {
				for _, gone := range []bool{false, true} {
					id := w.ready()
					w.ask(id, d.verb)
					if rows > 0 {
						w.walk(id, rows)
					}
					if gone {
						w.sim.RemoveVM(w.service(id).Row.VMID)
					}
					at := w.at(id)
					for _, u := range unknowns(gone) {
						w.cannotSee(fmt.Sprintf("%s at %s, %s, gone %t", d.verb, at, u.name, gone), id, u, !gone)
						w.set(id, "vm_status = ?, vm_node = 'pve1'", string(at))
					}
					w.finish(id, d.end)
					if _, there := w.sim.VM(w.service(id).Row.VMID); there == (d.end == kvm.Remove) {
						t.Errorf("%s at %s: in the end the VM is there: %t", d.verb, at, there)
					}
				}
			}
		})
	}
}

// cannotSee walks the service while u holds.
func (w *world) cannotSee(what string, id int64, u unknown, there bool) {
	w.t.Helper()
	row := w.service(id).Row
	if u.moved && there {
		if err := w.sim.MoveVM(row.VMID, "pve2"); err != nil {
			w.t.Fatal(err)
		}
		defer func() {
			if err := w.sim.MoveVM(row.VMID, "pve1"); err != nil {
				w.t.Error(err)
			}
		}()
	}
	for _, f := range u.faults {
		f.Body = strings.ReplaceAll(f.Body, "VMID", fmt.Sprint(row.VMID))
		defer w.sim.AddFault(f).Remove()
	}
	w.sim.SetQuorum(!u.quorum)
	w.sim.SetNodeDown("pve1", u.down)
	defer func() { w.sim.SetQuorum(true); w.sim.SetNodeDown("pve1", false) }()
	out := w.walk(id, 0)
	w.kept(what, id)
	now := w.at(id)
	switch {
	case u.denied && row.Status.Phase() == kvm.PhaseTerminate:
		if now != kvm.ErrorTerminate {
			w.t.Errorf("%s: at %s, and waiting cannot mend it", what, now)
		}
	case u.denied && now == kvm.Ready: // a reinstall that is refused
	case out.Complete, now.Phase() != row.Status.Phase(), slices.Contains([]kvm.Status{kvm.TERemoved, kvm.RIRemoved, kvm.RDRemoved}, now):
		w.t.Errorf("%s: it went on to %s: %s", what, now, out.Message)
	case w.service(id).Row.Message == "":
		w.t.Errorf("%s: the row does not say on what it waits", what)
	}
	if vm, found := w.sim.VM(row.VMID); found != there || there && !strings.Contains(vm.Config["smbios1"], row.UUID) {
		w.t.Errorf("%s: the VM is there: %t", what, found)
	}
}

// TestHomeOfADeadNode: the node that the row names is silent, or no more, and its VM was brought to another one, or was
// destroyed with it. Neither keeps the service waiting.
func TestHomeOfADeadNode(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	for name, lost := range map[string]func(id int64){
		"silent":  func(int64) { w.sim.SetNodeDown("pve1", true) },
		"no more": func(id int64) { w.set(id, "vm_node = 'pve0'") },
	} {
		for _, gone := range []bool{false, true} {
			id := w.ready()
			vmid := w.service(id).Row.VMID
			w.ask(id, kvm.VerbTerminate)
			if err := w.sim.MoveVM(vmid, "pve2"); err != nil {
				t.Fatal(err)
			}
			if gone {
				w.sim.RemoveVM(vmid)
			}
			lost(id)
			out := w.walk(id, 0)
			if _, there := w.sim.VM(vmid); out.Err != nil || w.at(id) != kvm.Remove || there {
				t.Errorf("%s, gone %t: at %s: %s", name, gone, w.at(id), out.Message)
			}
			w.freed(name, id)
			w.sim.SetNodeDown("pve1", false)
		}
	}
}

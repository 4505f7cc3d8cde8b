package cmd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// few is the time in which a process must have ended after a signal, when Proxmox answers.
const few = 5 * time.Second

// signalled sends a signal and waits for the end, which must come soon.
func (c *child) signalled(s os.Signal) {
	c.t.Helper()
	if err := c.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
	sent := time.Now()
	code := c.wait()
	if d := time.Since(sent); d > few {
		c.t.Errorf("it ended %v after the signal", d)
	}
	if code != exitFailed || c.errout.String() != "Error: interrupted\n" {
		c.t.Errorf("exit %d, stderr:\n%s", code, &c.errout)
	}
}

// closed checks that the log of an interrupted tick is whole: the block of the service is closed where it stands, and the
// lines of the task and the tick follow.
func (w *world) closed(log string, id int64, at kvm.Status) {
	w.t.Helper()
	w.want(id, at)
	rest := log
	for _, want := range []string{
		fmt.Sprintf("--- Deploy: service=%d ", id), "interrupted", fmt.Sprintf("--- Deploy paused: waiting at (%s) ---\n", at),
		"[processVirtualMachines] Done (", "processed: 1, errors: 0", fmt.Sprintf("sid:%d action:deploy interrupted (%s -> ", id, at), "Cron End (",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			w.t.Fatalf("no %q, or not in its place:\n%s", want, log)
		}
		rest = after
	}
	w.unclaimed()
}

func TestSignalWhileCloning(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			w, fake := slow(t, pvesim.Model{FullClone: time.Minute})
			w.everyRow()
			w.order(7000)
			asked := w.holdAt("the question about the clone", at(pvesim.Done, "GET", "/tasks/{upid}/status"))
			c := w.start(nil, "cron", "--force")
			asked.await(c)
			asked.release()
			c.signalled(s)
			w.closed(c.out.String(), 7000, kvm.SetDNS)
			fake.Advance(2 * time.Minute)
			w.goOn(7000, "the clone")
			w.settle(7000)
			w.cloned(7000)
		})
	}
}

// TestSignalInAConfigRow: the change that is under way is seen through, so that its outcome is known; what would only be a
// look is not waited for.
func TestSignalInAConfigRow(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scene{})
			w.order(7000)
			var mu sync.Mutex
			sent := false
			put := newStop(t, "the change of CPU and RAM")
			w.sim.SetHook(func(ctx context.Context, r pvesim.Request) {
				mu.Lock()
				first := !sent && r.Stage == pvesim.Arrived && r.Form["cores"] != ""
				later := sent
				sent = sent || first
				mu.Unlock()
				switch {
				case first:
					put.hold(ctx, r)
				case later && r.Method == "GET": // what follows must not outrun the signal
					<-ctx.Done()
				}
			})
			c := w.start(nil, "cron", "--force")
			put.await(c)
			time.AfterFunc(300*time.Millisecond, put.release) // the signal comes while it is under way
			c.signalled(s)
			w.closed(c.out.String(), 7000, kvm.Migrated)
			vm, _ := w.sim.VM(w.vmid(7000))
			if vm.Config["cores"] != "2" {
				t.Errorf("the change that was under way was given up: %v", vm.Config)
			}
			w.sim.SetHook(nil)
			log := w.next()
			if !strings.Contains(log, "1. Set CPU & RAM (skip — no change)") {
				t.Errorf("the next tick does not find the change:\n%s", log)
			}
			w.settle(7000)
		})
	}
}

// TestSignalWhileChoosingANode: a look that the signal has ended says nothing of the node. The VM goes where it should in
// the next tick.
func TestSignalWhileChoosingANode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.everyRow()
	w.order(7000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if r.Stage == pvesim.Arrived && r.Path == "/nodes/pve2/storage" {
			cancel()
		}
	})
	if out, errs, code := w.runIn(ctx, "", "cron", "--force"); code != exitFailed || ctx.Err() == nil {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	w.want(7000, kvm.Cloned)
	w.tick()
	w.settle(7000)
	if vm, _ := w.sim.VM(w.vmid(7000)); vm.Node != "pve2" {
		t.Errorf("the VM is on %s, and its product is for pve2", vm.Node)
	}
}

// TestSecondSignal: who does not want to wait for the change that is under way signals again.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000, 7001)
	vmid := w.vmid(7001)
	// One service is at a change, which a signal does not end; the other at a look, which it does: so it is known when the
	// first signal has been heard.
	stops := []*stop{newStop(t, "the change"), newStop(t, "the look")}
	w.holdEach(stops, func(i int, r pvesim.Request) bool {
		if i == 0 {
			return r.VMID != vmid && r.Stage == pvesim.Arrived && r.Form["cores"] != ""
		}
		return r.VMID == vmid && r.Stage == pvesim.Arrived && r.Method == "GET" && r.VMID != 0
	})
	c := w.start(nil, "cron", "--force")
	for _, s := range stops {
		s.await(c)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-stops[1].gone
	stops[1].release()
	select {
	case <-c.done:
		t.Fatalf("the first signal has ended it in the middle of a change: %v", c.ProcessState)
	default:
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	sent := time.Now()
	c.wait()
	if ws := c.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM || time.Since(sent) > few {
		t.Fatalf("%v, %v after the second signal", c.ProcessState, time.Since(sent))
	}
	stops[0].left()
	w.next()
	w.settle(7000, 7001)
}

// TestSignalBeforeTheTick: also a process that waits for the database ends soon, and says one line.
func TestSignalBeforeTheTick(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	tap, env := w.tap()
	s := tap.holdAt(t, "the list of services", func(r pvesim.Request) bool {
		return r.Stage == pvesim.Arrived && strings.Contains(r.Path, "FROM puqProxmoxKVM_vm_info WHERE vm_status IN")
	})
	c := w.start(env, "cron", "--force")
	s.await(c)
	c.signalled(syscall.SIGTERM)
	w.want(7000, kvm.Creation)
	w.unclaimed()
	s.release()
	w.goOn(7000, s.what)
	w.settle(7000)
}

// TestReaderGoesAway is puqkvm cron | head -1: the tick goes on to its end.
func TestReaderGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000, 7001)
	s := w.holdAt("the clone", at(pvesim.Arrived, "POST", "/clone"))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := w.startTo(write, nil, "cron", "--force")
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil || !strings.HasSuffix(line, " PUQ Proxmox KVM Cron Start\n") {
		t.Fatalf("%q, %v", line, err)
	}
	s.await(c)
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	s.release()
	if code := c.wait(); code != exitDone || c.errout.Len() > 0 {
		t.Fatalf("exit %d\n%s", code, &c.errout)
	}
	w.settle(7000, 7001)
}

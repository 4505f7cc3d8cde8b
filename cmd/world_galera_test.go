//go:build galera

package cmd

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownPIDs lets each process have a PID namespace of its own, so that none can tell that another one is dead, as if they ran
// on several hosts. Where the kernel allows that to nobody but root, it needs root.
func ownPIDs(t *testing.T) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if uid := os.Getuid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	}
	p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Sys: attr})
	if err != nil {
		t.Logf("no PID namespaces here (%v): the processes can tell that one of them is dead, as on one host", err)
		return nil
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return attr
}

// long waits for the end of a process that walks many services, and gives the exit code.
func long(c *child) int {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(2 * time.Minute):
	}
	return c.wait()
}

// crontab starts a tick on each host when a dead one's claim has run out, or when every tick so far has ended and left a
// service that nobody claims, until all are ready; running are the ticks under way. The next minute's tick would do it too,
// only later.
func (w *world) crontab(hosts []*host, running ...*child) {
	w.t.Helper()
	const most = 20
	runOut := func() bool {
		return w.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status <> 'ready' AND claim_until < UTC_TIMESTAMP(6)") > 0
	}
	left := func() bool {
		return w.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status <> 'ready' AND claim_owner IS NULL") > 0
	}
	over := func() bool {
		return !slices.ContainsFunc(running, func(c *child) bool {
			select {
			case <-c.done:
				return false
			default:
				return true
			}
		})
	}
	for minute := 1; w.pending() > 0; minute++ {
		if minute > most {
			w.t.Fatalf("after %d ticks of each host %d services are not ready", most, w.pending())
		}
		w.eventuallyWithin(3*time.Minute, "there is something to take up", func() bool { return runOut() || over() && (left() || w.pending() == 0) })
		if w.pending() == 0 {
			break
		}
		for _, h := range hosts {
			running = append(running, h.cron())
		}
		w.eventually("what had run out is taken over", func() bool { return !runOut() || over() })
	}
	for _, c := range running {
		if code := long(c); code != exitDone {
			w.t.Errorf("exit %d\n%s", code, &c.errout)
		}
	}
}

func lastLine(out *bytes.Buffer) string {
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1]
}

// clonesSent is how many clone requests Proxmox has got.
func (w *world) clonesSent() int {
	w.t.Helper()
	return len(w.posts("POST", "/clone", "newid"))
}

// orphans are the services that a process had in hand when it, or its database, died.
type orphans struct {
	what string
	died time.Time
	n    int
	done chan struct{}
	took time.Duration
	err  error
}

// orphan lets the running process, or what it needs, die, and watches until nothing is in its hand any more.
func (h *host) orphan(c *child, what string, die func()) *orphans {
	w := h.w
	w.t.Helper()
	const held = "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE claim_owner = ?"
	owner := w.db.Text("SELECT MAX(claim_owner) FROM puqProxmoxKVM_vm_info WHERE claim_owner LIKE ?", h.owner(c))
	die()
	h.dead = owner
	o := &orphans{what: what, died: time.Now(), n: w.number(held, owner), done: make(chan struct{})}
	if o.n == 0 {
		w.t.Errorf("%s: it had nothing in hand", what)
	}
	ctx := w.t.Context()
	go func() {
		defer close(o.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := o.n; n > 0 && o.err == nil; {
			<-tick.C
			o.err = w.db.QueryRowContext(ctx, held, owner).Scan(&n)
		}
		o.took = time.Since(o.died)
	}()
	w.t.Cleanup(func() { <-o.done })
	return o
}

func (o *orphans) since() time.Duration { return time.Since(o.died).Round(time.Millisecond) }

// taken is how long after the death the last of the services was taken over.
func (o *orphans) taken(t *testing.T) time.Duration {
	t.Helper()
	if <-o.done; o.err != nil {
		t.Fatal(o.err)
	}
	return o.took
}

package lifecycle_test

import (
	"fmt"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestCrashAfterEveryCall ends the process after each call to the database and to Proxmox, one service a call. The next
// processes bring it to the undisturbed end, and nothing is there twice.
func TestCrashAfterEveryCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	w.staleFirewall()
	count := &fuse{}
	first := w.order()
	if out := w.start(count).run(first, allRows); !out.Complete {
		t.Fatalf("%+v", out)
	}
	want := w.end(first)
	if len(count.calls) < 60 {
		t.Fatalf("%d calls: %v", len(count.calls), count.calls)
	}
	ids := []int64{first}
	for k := 1; k <= len(count.calls); k++ {
		id := w.order()
		ids = append(ids, id)
		at := fmt.Sprintf("after call %d, %s", k, count.calls[k-1])
		f := &fuse{at: k}
		if p := w.start(f); p.run(id, allRows).Complete && k < len(count.calls)-1 {
			t.Errorf("%s: the process was to die", at)
		}
		if w.service(id).Row.Status != kvm.Ready {
			if out := w.run(id, allRows); !out.Complete {
				t.Errorf("%s: the next run stopped at %s: %s", at, out.At, out.Message)
				w.run(id, allRows)
			}
		}
		if got := w.end(id); got != want {
			t.Errorf("%s: the end is\n%s\nwant\n%s", at, got, want)
		}
	}
	w.settled(1, ids...)
}

// TestCrashTwice ends two processes one after the other, at calls that a printed seed chooses.
func TestCrashTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "9.2.11", rich...)
	w.staleFirewall()
	first := w.order()
	count := &fuse{}
	if out := w.start(count).run(first, allRows); !out.Complete {
		t.Fatalf("%+v", out)
	}
	want := w.end(first)
	rng := seeded(t)
	ids := []int64{first}
	for range 12 {
		id := w.order()
		ids = append(ids, id)
		a, b := 1+rng.IntN(len(count.calls)), 1+rng.IntN(20)
		w.start(&fuse{at: a}).run(id, allRows)
		if w.service(id).Row.Status != kvm.Ready {
			w.start(&fuse{at: b}).run(id, allRows)
		}
		for range 2 {
			if w.service(id).Row.Status != kvm.Ready {
				w.run(id, allRows)
			}
		}
		if got := w.end(id); got != want {
			t.Errorf("after calls %d (%s) and %d of the next run: the end is\n%s\nwant\n%s", a, count.calls[a-1], b, got, want)
		}
	}
	w.settled(1, ids...)
}

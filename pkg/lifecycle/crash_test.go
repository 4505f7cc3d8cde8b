package lifecycle_test

import (
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

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

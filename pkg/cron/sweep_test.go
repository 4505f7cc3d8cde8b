package cron

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestSweep: every service that can be had is done once, what one meets is its own matter, and those that somebody has in hand or
// that are no longer at ready are left without a word.
func TestSweep(t *testing.T) {
	st := &store{fail: map[string]error{"Claim 6": errGone}, rows: []*row{
		{Pending: kvm.Pending{ID: 1, Status: kvm.Ready}, message: "waits"}, {Pending: kvm.Pending{ID: 2, Status: kvm.Ready}},
		{Pending: kvm.Pending{ID: 3, Status: kvm.Ready, Owner: "other"}}, {Pending: kvm.Pending{ID: 4, Status: kvm.Suspend}},
		{Pending: kvm.Pending{ID: 5, Status: kvm.Ready}}, {Pending: kvm.Pending{ID: 6, Status: kvm.Ready}},
	}}
	broken := errors.New("broken")
	var mu sync.Mutex
	var done []int64
	w := &Sweep{Store: st, Owner: "me", Workers: 3, Action: "tidy",
		List: func(context.Context) ([]int64, error) { return []int64{1, 2, 3, 4, 5, 6}, nil },
		Do: func(_ context.Context, s *kvm.Service, _ event.Sink) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			done = append(done, s.ID)
			switch s.ID {
			case 2:
				return false, broken
			case 5:
				return false, nil
			}
			return true, nil
		}}
	report, err := w.Run(t.Context(), &log{})
	if err != nil || report.Processed != 3 || report.Errors != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	slices.Sort(done)
	if diff := cmp.Diff([]int64{1, 2, 5}, done); diff != "" {
		t.Error(diff)
	}
	var lines []string
	for _, r := range report.Results {
		lines = append(lines, fmt.Sprint(r.Service, r.Action, r.Message))
	}
	slices.Sort(lines)
	if diff := cmp.Diff([]string{"1tidy", "2tidybroken", "6tidy" + errGone.Error()}, lines); diff != "" {
		t.Error(diff)
	}
	for _, r := range st.rows {
		if r.Owner != "" && r.ID != 3 {
			t.Errorf("service %d is still held by %s", r.ID, r.Owner)
		}
	}
	w.List = func(context.Context) ([]int64, error) { return nil, errGone }
	if _, err := w.Run(t.Context(), &log{}); !errors.Is(err, errGone) {
		t.Errorf("the list fails: %v", err)
	}
}

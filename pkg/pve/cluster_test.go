package pve

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const testResources = `[{"type":"node","node":"pve1","status":"online"},{"type":"node","node":"pve2","status":"offline"},
	{"type":"qemu","id":"qemu/100","vmid":100,"node":"pve1","status":"running","name":"a","lock":"backup","template":0},
	{"type":"qemu","vmid":"101","node":"pve2","status":"unknown"},
	{"type":"qemu","vmid":9000,"node":"pve1","status":"stopped","name":"tpl","template":1},
	{"type":"lxc","vmid":102,"node":"pve1","status":"running"},
	{"type":"storage","storage":"local","node":"pve1","status":"available"},{"type":"network","network":"vmbr0","node":"pve1"}]`

func TestPlace(t *testing.T) {
	s, c := script{"GET /cluster/resources": {testResources}}.serve(t)
	for vmid, want := range map[int]kvm.Place{
		100:  {VMID: 100, Node: "pve1", Name: "a", Power: kvm.Running, Lock: "backup", NodeUp: true},
		101:  {VMID: 101, Node: "pve2"},
		102:  {VMID: 102, Node: "pve1", Power: kvm.Running, NodeUp: true, Container: true},
		9000: {VMID: 9000, Node: "pve1", Name: "tpl", Power: kvm.Stopped, Template: true, NodeUp: true},
	} {
		got, found, err := c.Place(t.Context(), vmid)
		if err != nil || !found || got != want {
			t.Errorf("%d: %+v, %v, %v", vmid, got, found, err)
		}
	}
	if _, found, err := c.Place(t.Context(), 103); found || err != nil {
		t.Errorf("103: %v, %v", found, err)
	}
	if got := s.requests(); len(got) != 5 || got[0] != "GET /cluster/resources" {
		t.Errorf("%q", got)
	}
	_, c = script{"GET /cluster/resources": {"500 cluster not ready - no quorum?"}}.serve(t)
	if _, found, err := c.Place(t.Context(), 100); found || !errors.Is(err, kvm.ErrUnreachable) {
		t.Error(err)
	}
}

func TestSnapshotIsShared(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_700_000_000, 0))
	var calls atomic.Int32
	var fail atomic.Bool
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if fail.Load() {
			raw(w, "595 No route to host", "", "")
			return
		}
		data(w, testResources)
	})
	c := s.client(t, func(o *Options) { o.Clock, o.SnapshotAge = clk, time.Minute })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if m, err := c.Snapshot(context.Background()); err != nil || m[100].Node != "pve1" {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
	wg.Wait()
	clk.Advance(59 * time.Second)
	_, _ = c.Snapshot(t.Context())
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls within a minute, want 1", n)
	}
	if _, err := c.Refresh(t.Context()); err != nil || calls.Load() != 2 {
		t.Errorf("Refresh: %v, %d calls", err, calls.Load())
	}
	clk.Advance(time.Minute)
	fail.Store(true)
	if m, err := c.Snapshot(t.Context()); !errors.Is(err, kvm.ErrUnreachable) || m != nil {
		t.Errorf("an old snapshot was given for a fresh one: %v, %v", m, err)
	}
	fail.Store(false)
	if m, err := c.Snapshot(t.Context()); err != nil || len(m) != 4 {
		t.Errorf("after the failure: %v, %v", m, err)
	}
}

func TestFree(t *testing.T) {
	for _, c := range []struct {
		answer string
		free   bool
		err    error
	}{
		{`"100"`, true, nil},
		{`100`, true, nil},
		{"400 vmid=VM 100 already exists", false, nil},
		{"400 vmid=invalid format - value does not look like a valid VM ID", false, kvm.ErrInvalid},
		{"500 cluster not ready - no quorum?", false, kvm.ErrUnreachable},
		{"596 Connection timed out", false, kvm.ErrUnreachable},
		{`"101"`, false, kvm.ErrUnreachable},
		{`null`, false, kvm.ErrUnreachable},
	} {
		s, client := script{"GET /cluster/nextid": {c.answer}}.serve(t)
		free, err := client.Free(t.Context(), 100)
		if free != c.free || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, %v", c.answer, free, err)
		}
		if got := s.requests(); got[0] != "GET /cluster/nextid?vmid=100" {
			t.Errorf("%q", got)
		}
	}
}

func TestNodesStoragesVersion(t *testing.T) {
	s, c := script{
		"GET /nodes": {`[{"node":"pve2","status":"offline"},{"node":"pve1","status":"online","mem":1000,"maxmem":"4000"}]`},
		"GET /nodes/pve1/storage": {`[{"storage":"nfs","type":"nfs","content":"images,iso","shared":1,"active":1,"avail":5},
			{"storage":"local","type":"dir","content":"images","shared":0,"active":0,"avail":"7"}]`},
		"GET /version": {`{"version":"7.4-17","release":"7.4"}`},
	}.serve(t)
	nodes, err := c.Nodes(t.Context())
	if d := cmp.Diff([]kvm.Node{{Name: "pve1", Online: true, FreeRAM: 3000}, {Name: "pve2"}}, nodes); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	storages, err := c.Storages(t.Context(), "pve1")
	if d := cmp.Diff([]kvm.Storage{{Name: "local", Type: "dir", Images: true, Avail: 7}, {Name: "nfs", Type: "nfs", Shared: true, Active: true, Images: true, Avail: 5}}, storages); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	for range 3 {
		v, err := c.Version(t.Context())
		if err != nil || v.String() != "7.4.17" || v.AtLeast(8, 0) || !v.AtLeast(7, 4) {
			t.Errorf("%v, %v", v, err)
		}
	}
	if got := s.requests(); len(got) != 3 || got[1] != "GET /nodes/pve1/storage?content=images&enabled=1" {
		t.Errorf("%q", got)
	}
	for version, want := range map[string]string{"8.4.21": "8.4.21", "9.2": "9.2.0", "9.0~beta": "9.0.0"} {
		_, c := script{"GET /version": {`{"version":"` + version + `"}`}}.serve(t)
		if v, err := c.Version(t.Context()); err != nil || v.String() != want {
			t.Errorf("%s: %v, %v", version, v, err)
		}
	}
	_, c = script{"GET /version": {`{"version":"nginx"}`}}.serve(t)
	if _, err := c.Version(t.Context()); err == nil {
		t.Error("nginx is no version of Proxmox VE")
	}
}

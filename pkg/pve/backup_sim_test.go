package pve

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

func TestBackupsOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		stores, err := c.BackupStorages(ctx, "pve1")
		if err != nil || len(stores) != 1 || stores[0].Name != "local" || !stores[0].Active {
			t.Fatalf("%+v, %v", stores, err)
		}
		list := func() []kvm.Backup {
			t.Helper()
			list, err := c.Backups(ctx, "pve1", "local", 100)
			must(t, err)
			return list
		}
		if got := list(); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		day := time.Date(2026, 4, 1, 2, 3, 4, 0, time.UTC)
		var volumes []string
		for i := range 3 {
			v, err := sim.AddBackup("local", 100, day.AddDate(0, 0, -i))
			must(t, err)
			volumes = append(volumes, v)
		}
		row := &kvm.Row{VMID: 100, UUID: o.VM().UUID}
		must(t, ended(c.Delete(ctx, o)))
		stranger := deploy(t, c, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 100, Name: "stranger", Description: "smbios1: uuid=" + row.UUID})
		foreign, err := sim.AddBackup("local", 100, day.AddDate(0, 0, 1))
		must(t, err)

		got := list()
		if len(got) != 4 || got[0].Volume != volumes[2] || got[2].Volume != volumes[0] || got[3].Volume != foreign || !got[2].Time.Equal(day) || got[0].Size == 0 ||
			got[0].Storage != "local" || got[0].Node != "pve1" || got[0].VMID != 100 || !strings.HasPrefix(got[0].Format, "vma") || got[0].UUID != "" {
			t.Fatalf("%+v", got)
		}
		if _, err := kvm.ProveBackup(&got[0], row); !errors.Is(err, kvm.ErrForeign) {
			t.Errorf("one that was not read: %v", err)
		}
		for i := range got {
			must(t, c.Inside(ctx, &got[i]))
		}
		if _, err := kvm.ProveBackup(&got[3], row); got[3].UUID != stranger.VM().UUID || !errors.Is(err, kvm.ErrForeign) {
			t.Errorf("the stranger's: %+v, %v", got[3], err)
		}
		own, err := kvm.ProveBackup(&got[0], row)
		must(t, err)

		p := poor(t, c, sim)
		if got, err := p.Backups(ctx, "pve1", "local", 100); len(got) != 0 || err != nil {
			t.Errorf("without the privilege: %+v, %v", got, err)
		}
		again := got[0]
		is(t, "inside without the privilege", p.Inside(ctx, &again), kvm.ErrDenied)
		is(t, "deleting without the privilege", end(t, p)(p.DeleteBackup(ctx, own)), kvm.ErrDenied)
		protect := func(on string) {
			t.Helper()
			must(t, c.do(ctx, http.MethodPut, path("nodes", "pve1", "storage", "local", "content", volumes[2]), params{"protected": on}))
		}
		protect("1")
		if got := list(); !got[0].Protected || got[1].Protected {
			t.Errorf("%+v", got)
		}
		is(t, "protected", ended(c.DeleteBackup(ctx, own)), kvm.ErrPermanent)
		protect("0")
		is(t, "good", ended(c.DeleteBackup(ctx, own)), nil)
		is(t, "gone already", ended(c.DeleteBackup(ctx, own)), nil)
		is(t, "inside one that is gone", c.Inside(ctx, &again), kvm.ErrNotFound)
		if again.UUID != "" {
			t.Errorf("the UUID of an earlier reading stayed: %s", again.UUID)
		}
		var left []string
		for _, b := range sim.Backups(100) {
			left = append(left, b.ID)
		}
		want := []string{volumes[0], volumes[1], foreign}
		slices.Sort(left)
		slices.Sort(want)
		if !slices.Equal(left, want) {
			t.Errorf("left: %q, want %q", left, want)
		}
		_, err = c.Backups(ctx, "pve1", "nosuch", 100)
		is(t, "no such storage", err, kvm.ErrPermanent)
	})
}

// Of a storage without files the task says that the volume is gone.
func TestDeletingABackupThatIsGoneFromABackupServer(t *testing.T) {
	for _, version := range flavours {
		c, sim := simulated(t, version)
		sim.AddStorage(pvesim.Storage{ID: "pbs", Type: "pbs", Content: "backup", Shared: true})
		o := deploy(t, c, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 100, Name: "a"})
		_, err := sim.AddBackup("pbs", 100, c.clock.Now())
		must(t, err)
		list, err := c.Backups(t.Context(), "pve2", "pbs", 100)
		if err != nil || len(list) != 1 || list[0].Format != "pbs-vm" {
			t.Fatalf("%+v, %v", list, err)
		}
		must(t, c.Inside(t.Context(), &list[0]))
		own, err := kvm.ProveBackup(&list[0], &kvm.Row{UUID: o.VM().UUID})
		must(t, err)
		for range 2 {
			is(t, version, end(t, c)(c.DeleteBackup(t.Context(), own)), nil)
		}
		if left := sim.Backups(100); len(left) != 0 {
			t.Errorf("%+v", left)
		}
	}
}

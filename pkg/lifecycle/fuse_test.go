package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
)

var errDead = errors.New("the process is dead")

// fuse ends a process after its at-th call to the database or to Proxmox took effect and before anybody saw the answer:
// no later call has any effect. at 0 = never. It counts the calls.
type fuse struct {
	mu    sync.Mutex
	at    int
	calls []string
}

func (f *fuse) blown() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at > 0 && len(f.calls) >= f.at
}

func (f *fuse) do(name string, call func() error) error {
	if f.blown() {
		return errDead
	}
	err := call()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	if f.at > 0 && len(f.calls) >= f.at {
		return fmt.Errorf("%s: %w", name, errDead)
	}
	return err
}

type fusedStore struct {
	lifecycle.Store
	f *fuse
}

func (s fusedStore) Move(ctx context.Context, sv *kvm.Service, to kvm.Status, run *kvm.Run) error {
	return s.f.do("Move "+string(to), func() error { return s.Store.Move(ctx, sv, to, run) })
}

func (s fusedStore) RecordRun(ctx context.Context, r *kvm.Run) error {
	return s.f.do("RecordRun", func() error { return s.Store.RecordRun(ctx, r) })
}

func (s fusedStore) Save(ctx context.Context, sv *kvm.Service) error {
	return s.f.do("Save at "+string(sv.Row.Status), func() error { return s.Store.Save(ctx, sv) })
}

func (s fusedStore) NextVMID(ctx context.Context, sv *kvm.Service) error {
	return s.f.do("NextVMID", func() error { return s.Store.NextVMID(ctx, sv) })
}

func (s fusedStore) Allocate(ctx context.Context, sv *kvm.Service, to kvm.Status, pick func([]kvm.Pool, map[netip.Addr]struct{}) (kvm.Allotment, error)) error {
	return s.f.do("Allocate", func() error { return s.Store.Allocate(ctx, sv, to, pick) })
}

func (s fusedStore) SetPassword(ctx context.Context, sv *kvm.Service, user string, password kvm.Secret) error {
	return s.f.do("SetPassword", func() error { return s.Store.SetPassword(ctx, sv, user, password) })
}

func (s fusedStore) Password(ctx context.Context, sv *kvm.Service) (p kvm.Secret, err error) {
	err = s.f.do("Password", func() error { p, err = s.Store.Password(ctx, sv); return err })
	return p, err
}

func (s fusedStore) MoveWithMail(ctx context.Context, sv *kvm.Service, to kvm.Status, m kvm.Mail) error {
	return s.f.do("MoveWithMail", func() error { return s.Store.MoveWithMail(ctx, sv, to, m) })
}

func (s fusedStore) TakeSlot(ctx context.Context, sv *kvm.Service, kind, place string, n, first int) (ok bool, err error) {
	err = s.f.do("TakeSlot", func() error { ok, err = s.Store.TakeSlot(ctx, sv, kind, place, n, first); return err })
	return ok, err
}

func (s fusedStore) FreeSlots(ctx context.Context, sv *kvm.Service) error {
	return s.f.do("FreeSlots", func() error { return s.Store.FreeSlots(ctx, sv) })
}

func (s fusedStore) DNSRecords(ctx context.Context, service int64) (r []kvm.DNSRecord, err error) {
	err = s.f.do("DNSRecords", func() error { r, err = s.Store.DNSRecords(ctx, service); return err })
	return r, err
}

func (s fusedStore) NoteDNS(ctx context.Context, service int64, records []kvm.DNSRecord) error {
	return s.f.do("NoteDNS", func() error { return s.Store.NoteDNS(ctx, service, records) })
}

func (s fusedStore) DNSDone(ctx context.Context, service int64, failed []kvm.DNSRecord) error {
	return s.f.do("DNSDone", func() error { return s.Store.DNSDone(ctx, service, failed) })
}

type fusedCluster struct {
	lifecycle.Cluster
	f *fuse
}

func (c fusedCluster) Place(ctx context.Context, vmid int) (p kvm.Place, found bool, err error) {
	err = c.f.do("Place", func() error { p, found, err = c.Cluster.Place(ctx, vmid); return err })
	return p, found, err
}

func (c fusedCluster) Free(ctx context.Context, vmid int) (free bool, err error) {
	err = c.f.do("Free", func() error { free, err = c.Cluster.Free(ctx, vmid); return err })
	return free, err
}

func (c fusedCluster) VM(ctx context.Context, node string, vmid int) (vm *kvm.VM, err error) {
	err = c.f.do("VM", func() error { vm, err = c.Cluster.VM(ctx, node, vmid); return err })
	return vm, err
}

func (c fusedCluster) Nodes(ctx context.Context) (n []kvm.Node, err error) {
	err = c.f.do("Nodes", func() error { n, err = c.Cluster.Nodes(ctx); return err })
	return n, err
}

func (c fusedCluster) Storages(ctx context.Context, node string) (s []kvm.Storage, err error) {
	err = c.f.do("Storages", func() error { s, err = c.Cluster.Storages(ctx, node); return err })
	return s, err
}

func (c fusedCluster) Wait(ctx context.Context, id kvm.UPID, limit time.Duration) error {
	return c.f.do("Wait", func() error { return c.Cluster.Wait(ctx, id, limit) })
}

func (c fusedCluster) Clone(ctx context.Context, r kvm.CloneRequest) (id kvm.UPID, err error) {
	err = c.f.do("Clone", func() error { id, err = c.Cluster.Clone(ctx, r); return err })
	return id, err
}

func (c fusedCluster) MigrateCheck(ctx context.Context, vm kvm.Owned, target string) (why string, err error) {
	err = c.f.do("MigrateCheck", func() error { why, err = c.Cluster.MigrateCheck(ctx, vm, target); return err })
	return why, err
}

func (c fusedCluster) Migrate(ctx context.Context, vm kvm.Owned, target, storage string) (id kvm.UPID, err error) {
	err = c.f.do("Migrate", func() error { id, err = c.Cluster.Migrate(ctx, vm, target, storage); return err })
	return id, err
}

func (c fusedCluster) SetCPU(ctx context.Context, vm kvm.Owned, cores int, memory int64, onboot bool) error {
	return c.f.do("SetCPU", func() error { return c.Cluster.SetCPU(ctx, vm, cores, memory, onboot) })
}

func (c fusedCluster) Resize(ctx context.Context, vm kvm.Owned, slot string, size int) (id kvm.UPID, err error) {
	err = c.f.do("Resize "+slot, func() error { id, err = c.Cluster.Resize(ctx, vm, slot, size); return err })
	return id, err
}

func (c fusedCluster) SetLimits(ctx context.Context, vm kvm.Owned, slot string, l kvm.Limits) error {
	return c.f.do("SetLimits "+slot, func() error { return c.Cluster.SetLimits(ctx, vm, slot, l) })
}

func (c fusedCluster) AddDisk(ctx context.Context, vm kvm.Owned, slot, storage string, size int) (id kvm.UPID, err error) {
	err = c.f.do("AddDisk", func() error { id, err = c.Cluster.AddDisk(ctx, vm, slot, storage, size); return err })
	return id, err
}

func (c fusedCluster) SetNIC(ctx context.Context, vm kvm.Owned, nic kvm.NIC) error {
	return c.f.do("SetNIC", func() error { return c.Cluster.SetNIC(ctx, vm, nic) })
}

func (c fusedCluster) SetCloudInit(ctx context.Context, vm kvm.Owned, ci kvm.CloudInit) error {
	return c.f.do("SetCloudInit", func() error { return c.Cluster.SetCloudInit(ctx, vm, ci) })
}

func (c fusedCluster) Start(ctx context.Context, vm kvm.Owned) (id kvm.UPID, err error) {
	err = c.f.do("Start", func() error { id, err = c.Cluster.Start(ctx, vm); return err })
	return id, err
}

func (c fusedCluster) Power(ctx context.Context, vm kvm.Owned) (power kvm.Power, lock string, err error) {
	err = c.f.do("Power", func() error { power, lock, err = c.Cluster.Power(ctx, vm); return err })
	return power, lock, err
}

func (c fusedCluster) Firewall(ctx context.Context, vm kvm.Owned, options bool) (st kvm.FirewallState, err error) {
	err = c.f.do("Firewall", func() error { st, err = c.Cluster.Firewall(ctx, vm, options); return err })
	return st, err
}

func (c fusedCluster) FirewallAgain(ctx context.Context, vm kvm.Owned, have kvm.FirewallState, set string) (st kvm.FirewallState, err error) {
	err = c.f.do("FirewallAgain", func() error { st, err = c.Cluster.FirewallAgain(ctx, vm, have, set); return err })
	return st, err
}

func (c fusedCluster) SetFirewall(ctx context.Context, vm kvm.Owned, f kvm.Firewall) error {
	return c.f.do("SetFirewall", func() error { return c.Cluster.SetFirewall(ctx, vm, f) })
}

func (c fusedCluster) SetIPSet(ctx context.Context, vm kvm.Owned, name string, exists bool, have []string, addrs []netip.Addr) error {
	return c.f.do("SetIPSet", func() error { return c.Cluster.SetIPSet(ctx, vm, name, exists, have, addrs) })
}

func (c fusedCluster) DeleteIPSet(ctx context.Context, vm kvm.Owned, name string) error {
	return c.f.do("DeleteIPSet", func() error { return c.Cluster.DeleteIPSet(ctx, vm, name) })
}

func (s fusedStore) SetClientFirewall(ctx context.Context, sv *kvm.Service, f kvm.ClientFirewall) error {
	return s.f.do("SetClientFirewall", func() error { return s.Store.SetClientFirewall(ctx, sv, f) })
}

func (c fusedCluster) Rules(ctx context.Context, vm kvm.Owned) (list kvm.RuleList, err error) {
	err = c.f.do("Rules", func() error { list, err = c.Cluster.Rules(ctx, vm); return err })
	return list, err
}

func (c fusedCluster) AddRule(ctx context.Context, vm kvm.Owned, r kvm.Rule, digest string) error {
	return c.f.do("AddRule", func() error { return c.Cluster.AddRule(ctx, vm, r, digest) })
}

func (c fusedCluster) MoveRule(ctx context.Context, vm kvm.Owned, from, to int, digest string) error {
	return c.f.do("MoveRule", func() error { return c.Cluster.MoveRule(ctx, vm, from, to, digest) })
}

func (c fusedCluster) RemoveRule(ctx context.Context, vm kvm.Owned, pos int, digest string) error {
	return c.f.do("RemoveRule", func() error { return c.Cluster.RemoveRule(ctx, vm, pos, digest) })
}

func (c fusedCluster) SetPolicies(ctx context.Context, vm kvm.Owned, in, out, digest string) error {
	return c.f.do("SetPolicies", func() error { return c.Cluster.SetPolicies(ctx, vm, in, out, digest) })
}

func (c fusedCluster) ISOs(ctx context.Context, node, storage string) (list []kvm.ISO, err error) {
	err = c.f.do("ISOs", func() error { list, err = c.Cluster.ISOs(ctx, node, storage); return err })
	return list, err
}

func (c fusedCluster) SetCD(ctx context.Context, vm kvm.Owned, slot, volume string) error {
	return c.f.do("SetCD", func() error { return c.Cluster.SetCD(ctx, vm, slot, volume) })
}

func (c fusedCluster) SetBoot(ctx context.Context, vm kvm.Owned, boot kvm.BootOrder) error {
	return c.f.do("SetBoot", func() error { return c.Cluster.SetBoot(ctx, vm, boot) })
}

func (c fusedCluster) Pending(ctx context.Context, vm kvm.Owned) (keys []string, err error) {
	err = c.f.do("Pending", func() error { keys, err = c.Cluster.Pending(ctx, vm); return err })
	return keys, err
}

func (s fusedStore) Backups(ctx context.Context, service int64) (list []kvm.Backup, err error) {
	err = s.f.do("journal", func() error { list, err = s.Store.Backups(ctx, service); return err })
	return list, err
}

func (s fusedStore) NoteBackup(ctx context.Context, sv *kvm.Service, b kvm.Backup) error {
	return s.f.do("NoteBackup", func() error { return s.Store.NoteBackup(ctx, sv, b) })
}

func (s fusedStore) ForgetBackup(ctx context.Context, service int64, b kvm.Backup) error {
	return s.f.do("ForgetBackup", func() error { return s.Store.ForgetBackup(ctx, service, b) })
}

func (s fusedStore) GiveUp(ctx context.Context, sv *kvm.Service, to kvm.Status, what, message string, local time.Time) error {
	return s.f.do("GiveUp", func() error { return s.Store.GiveUp(ctx, sv, to, what, message, local) })
}

func (s fusedStore) Terminated(ctx context.Context, sv *kvm.Service, rest time.Duration, local time.Time) error {
	return s.f.do("Terminated", func() error { return s.Store.Terminated(ctx, sv, rest, local) })
}

func (c fusedCluster) Standing(ctx context.Context) (st kvm.Standing, err error) {
	err = c.f.do("Standing", func() error { st, err = c.Cluster.Standing(ctx); return err })
	return st, err
}

func (c fusedCluster) Running(ctx context.Context, node string, vmid int) (list []kvm.Task, err error) {
	err = c.f.do("Running", func() error { list, err = c.Cluster.Running(ctx, node, vmid); return err })
	return list, err
}

func (c fusedCluster) OwnTasks(ctx context.Context, node string, vmid int, kind string) (list []kvm.Task, err error) {
	err = c.f.do("OwnTasks", func() error { list, err = c.Cluster.OwnTasks(ctx, node, vmid, kind); return err })
	return list, err
}

func (c fusedCluster) Shutdown(ctx context.Context, vm kvm.Owned, timeout time.Duration) (id kvm.UPID, err error) {
	err = c.f.do("Shutdown", func() error { id, err = c.Cluster.Shutdown(ctx, vm, timeout); return err })
	return id, err
}

func (c fusedCluster) Stop(ctx context.Context, vm kvm.Owned) (id kvm.UPID, err error) {
	err = c.f.do("Stop", func() error { id, err = c.Cluster.Stop(ctx, vm); return err })
	return id, err
}

func (c fusedCluster) Delete(ctx context.Context, vm kvm.Owned) (id kvm.UPID, err error) {
	err = c.f.do("Delete", func() error { id, err = c.Cluster.Delete(ctx, vm); return err })
	return id, err
}

func (c fusedCluster) BackupStorages(ctx context.Context, node string) (list []kvm.Storage, err error) {
	err = c.f.do("BackupStorages", func() error { list, err = c.Cluster.BackupStorages(ctx, node); return err })
	return list, err
}

func (c fusedCluster) Backups(ctx context.Context, node, storage string, vmid int) (list []kvm.Backup, err error) {
	err = c.f.do("Backups", func() error { list, err = c.Cluster.Backups(ctx, node, storage, vmid); return err })
	return list, err
}

func (c fusedCluster) Inside(ctx context.Context, b *kvm.Backup) error {
	return c.f.do("Inside", func() error { return c.Cluster.Inside(ctx, b) })
}

func (c fusedCluster) DeleteBackup(ctx context.Context, b kvm.OwnedBackup) (id kvm.UPID, err error) {
	err = c.f.do("DeleteBackup", func() error { id, err = c.Cluster.DeleteBackup(ctx, b); return err })
	return id, err
}

func (c fusedCluster) Backup(ctx context.Context, vm kvm.Owned, storage, note string) (id kvm.UPID, err error) {
	err = c.f.do("Backup", func() error { id, err = c.Cluster.Backup(ctx, vm, storage, note); return err })
	return id, err
}

func (c fusedCluster) BackupMade(ctx context.Context, id kvm.UPID) (name string, err error) {
	err = c.f.do("BackupMade", func() error { name, err = c.Cluster.BackupMade(ctx, id); return err })
	return name, err
}

func (c fusedCluster) Restore(ctx context.Context, vm kvm.Owned, b kvm.OwnedBackup) (id kvm.UPID, err error) {
	err = c.f.do("Restore", func() error { id, err = c.Cluster.Restore(ctx, vm, b); return err })
	return id, err
}

func (c fusedCluster) Snapshots(ctx context.Context, vm kvm.Owned) (list []kvm.Snapshot, err error) {
	err = c.f.do("Snapshots", func() error { list, err = c.Cluster.Snapshots(ctx, vm); return err })
	return list, err
}

func (c fusedCluster) CreateSnapshot(ctx context.Context, vm kvm.Owned, name, description string) (id kvm.UPID, err error) {
	err = c.f.do("CreateSnapshot", func() error { id, err = c.Cluster.CreateSnapshot(ctx, vm, name, description); return err })
	return id, err
}

func (c fusedCluster) DeleteSnapshot(ctx context.Context, vm kvm.Owned, name string) (id kvm.UPID, err error) {
	err = c.f.do("DeleteSnapshot", func() error { id, err = c.Cluster.DeleteSnapshot(ctx, vm, name); return err })
	return id, err
}

func (c fusedCluster) SnapshotDisks(ctx context.Context, vm kvm.Owned, name string) (list []kvm.Disk, err error) {
	err = c.f.do("SnapshotDisks", func() error { list, err = c.Cluster.SnapshotDisks(ctx, vm, name); return err })
	return list, err
}

func (c fusedCluster) Rollback(ctx context.Context, vm kvm.Owned, name string) (id kvm.UPID, err error) {
	err = c.f.do("Rollback", func() error { id, err = c.Cluster.Rollback(ctx, vm, name); return err })
	return id, err
}

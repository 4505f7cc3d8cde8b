package lifecycle

import (
	"context"
	"net/netip"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// Store is what the rows need of the database. Every write names the claim and the status that s says, is kvm.ErrMoved
// when either is no longer so, and updates s.
type Store interface {
	pipeline.Store
	// Save stores the intents of s.Row (all of it but Status, Since, Message, Suspended).
	Save(ctx context.Context, s *kvm.Service) error
	// NextVMID reserves the lowest free VMID above the present one, gives the present one up, and forgets that a clone
	// was sent.
	NextVMID(ctx context.Context, s *kvm.Service) error
	// Allocate makes the addresses what pick decides by the server's pools and the addresses that are taken, writes those
	// that s keeps to tblhosting, and moves s to to, all in one transaction. It picks again when another was faster.
	Allocate(ctx context.Context, s *kvm.Service, to kvm.Status, pick func(pools []kvm.Pool, taken map[netip.Addr]struct{}) (kvm.Allotment, error)) error
	// MoveLeaving is Move that gives back the addresses which are leaving: they are free at once, or after rest.
	MoveLeaving(ctx context.Context, s *kvm.Service, to kvm.Status, rest time.Duration) error
	// SetPassword stores the guest's user and password in tblhosting and notes that this deploy has made them.
	SetPassword(ctx context.Context, s *kvm.Service, user string, password kvm.Secret) error
	// Password is the stored password.
	Password(ctx context.Context, s *kvm.Service) (kvm.Secret, error)
	// MoveWithMail is Move with an outbox entry in the same transaction.
	MoveWithMail(ctx context.Context, s *kvm.Service, to kvm.Status, m kvm.Mail) error
	// TakeSlot takes one of n slots of kind at place, or finds that s holds one; false = all are held by others. Slots
	// count across processes and hosts and outlive the process: a service keeps its slot until FreeSlots or until its
	// status is another. The slot first, below n, is tried first.
	TakeSlot(ctx context.Context, s *kvm.Service, kind, place string, n, first int) (bool, error)
	// FreeSlots gives back what slots s holds.
	FreeSlots(ctx context.Context, s *kvm.Service) error
	// Terminated moves s, whose VM is gone, to remove: addresses and VMID are free (the VMID after rest), the domain is wiped,
	// and tblhosting.notes and the activity log say so. local is WHMCS's time.
	Terminated(ctx context.Context, s *kvm.Service, rest time.Duration, local time.Time) error
	// GiveUp moves s to to, for what (termination, …) needs an administrator, with one entry in the activity log.
	GiveUp(ctx context.Context, s *kvm.Service, to kvm.Status, what, message string, local time.Time) error
	// Requeue makes a new order of s, whose VM is gone: creation, with a new VMID; its addresses are free. now is WHMCS's time.
	Requeue(ctx context.Context, s *kvm.Service, rest time.Duration, now time.Time) error
	// Backups are the volumes that are known to be backups which our own tasks made of the service's VM, or that adopt took over.
	Backups(ctx context.Context, service int64) ([]kvm.Backup, error)
	// NoteBackup puts b, which our own task made of the service's VM, into the journal.
	NoteBackup(ctx context.Context, s *kvm.Service, b kvm.Backup) error
	// ForgetBackup takes a volume that is gone out of the journal.
	ForgetBackup(ctx context.Context, service int64, b kvm.Backup) error
	// DNSRecords are those that were, or may have been, written for the service.
	DNSRecords(ctx context.Context, service int64) ([]kvm.DNSRecord, error)
	// NoteDNS notes what is about to be written (kvm.DNSDue) or removed (kvm.DNSGone).
	NoteDNS(ctx context.Context, service int64, records []kvm.DNSRecord) error
	// DNSDone notes that what was due is set, and that what was to go is gone, but for failed.
	DNSDone(ctx context.Context, service int64, failed []kvm.DNSRecord) error
	// SetClientFirewall stores what the client has made of its VM's firewall.
	SetClientFirewall(ctx context.Context, s *kvm.Service, f kvm.ClientFirewall) error
}

// What the rows need of Proxmox. One value stands for one cluster; it is safe for concurrent use. Every method sends its
// request once. Errors carry a sentinel of package kvm: ErrBusy, ErrUnreachable, ErrUnknown, ErrNotHere, ErrTaken,
// ErrChanged, ErrAuth, ErrDenied, ErrPermanent, ErrState, ErrInvalid.
type (
	// Cluster is all of it.
	Cluster interface {
		Finder
		Tasks
		Cloner
		Configurer
		Powerer
		Remover
		Archiver
		Firewaller
		Screener
		Charter
	}

	// Finder reads what is where.
	Finder interface {
		// Place is where vmid is by a fresh cluster/resources. found is false when it is not listed, which proves
		// nothing: the token may not see it.
		Place(ctx context.Context, vmid int) (p kvm.Place, found bool, err error)
		// Snapshot is where everything is, by one cluster/resources that all services of a tick share.
		Snapshot(ctx context.Context) (map[int]kvm.Place, error)
		// Free asks nextid whether the cluster has no guest vmid, whatever the token may see.
		Free(ctx context.Context, vmid int) (bool, error)
		// Standing says which cluster it is and whether it is quorate, as it is now.
		Standing(ctx context.Context) (kvm.Standing, error)
		// ClusterName is Standing's Cluster, asked for once in the life of the process.
		ClusterName(ctx context.Context) (string, error)
		// VM reads a configuration with its pending changes.
		VM(ctx context.Context, node string, vmid int) (*kvm.VM, error)
		// Nodes are the cluster's nodes.
		Nodes(ctx context.Context) ([]kvm.Node, error)
		// Storages are those that node sees and that may hold VM disks.
		Storages(ctx context.Context, node string) ([]kvm.Storage, error)
	}

	// Tasks follows tasks.
	Tasks interface {
		// Wait polls until the task has ended and returns nil for OK and WARNINGS, else an error with the end of the
		// task's log. It gives up after limit with kvm.ErrStillRunning.
		Wait(ctx context.Context, id kvm.UPID, limit time.Duration) error
		// Running are the tasks of VM vmid that run on node, the oldest first.
		Running(ctx context.Context, node string, vmid int) ([]kvm.Task, error)
	}

	// Cloner makes and moves VMs. Each answers with the task that does it.
	Cloner interface {
		Clone(ctx context.Context, r kvm.CloneRequest) (kvm.UPID, error)
		// MigrateCheck says why the stopped VM cannot go to target, or "".
		MigrateCheck(ctx context.Context, vm kvm.Owned, target string) (why string, err error)
		// Migrate moves the stopped VM; storage "" keeps the storage's name.
		Migrate(ctx context.Context, vm kvm.Owned, target, storage string) (kvm.UPID, error)
	}

	// Configurer changes a VM. Where a change needs no task the UPID is "". Changes carry the digest of the
	// configuration that the proof was made from, so that ErrChanged means: read again.
	Configurer interface {
		// SetCPU sets cores, one socket, memory (MiB) and onboot, and removes vcpus.
		SetCPU(ctx context.Context, vm kvm.Owned, cores int, memory int64, onboot bool) error
		// Resize grows slot to size GiB.
		Resize(ctx context.Context, vm kvm.Owned, slot string, size int) (kvm.UPID, error)
		// SetLimits sets slot's throttles and keeps the drive's other options.
		SetLimits(ctx context.Context, vm kvm.Owned, slot string, l kvm.Limits) error
		// AddDisk makes a new volume of size GiB on storage at the empty slot.
		AddDisk(ctx context.Context, vm kvm.Owned, slot, storage string, size int) (kvm.UPID, error)
		// SetNIC writes net0 and keeps the options that kvm.NIC does not know.
		SetNIC(ctx context.Context, vm kvm.Owned, nic kvm.NIC) error
		// SetCloudInit writes the cloud-init keys; an empty password is not sent, absent addresses and keys are removed.
		SetCloudInit(ctx context.Context, vm kvm.Owned, ci kvm.CloudInit) error
		// SetOnBoot says whether the VM starts with its node.
		SetOnBoot(ctx context.Context, vm kvm.Owned, on bool) error
		// SetGuestPassword sets a password through the guest agent: kvm.ErrState when that does not answer.
		SetGuestPassword(ctx context.Context, vm kvm.Owned, user string, password kvm.Secret) error
	}

	// Powerer starts and stops VMs.
	Powerer interface {
		// Start starts the VM.
		Start(ctx context.Context, vm kvm.Owned) (kvm.UPID, error)
		// Shutdown asks the guest to shut down, for at most timeout. It never forces.
		Shutdown(ctx context.Context, vm kvm.Owned, timeout time.Duration) (kvm.UPID, error)
		// Stop switches the VM off, whatever else is at work on its power.
		Stop(ctx context.Context, vm kvm.Owned) (kvm.UPID, error)
		// Power asks the VM's own node for its power state and lock.
		Power(ctx context.Context, vm kvm.Owned) (power kvm.Power, lock string, err error)
	}

	// Remover destroys.
	Remover interface {
		// Delete destroys the stopped VM with its disks and snapshots. Backups stay.
		Delete(ctx context.Context, vm kvm.Owned) (kvm.UPID, error)
		// Snapshots are the VM's, the oldest first.
		Snapshots(ctx context.Context, vm kvm.Owned) ([]kvm.Snapshot, error)
		// DeleteSnapshot removes one; kvm.ErrNotFound when it is not there.
		DeleteSnapshot(ctx context.Context, vm kvm.Owned, name string) (kvm.UPID, error)
		// BackupStorages are those of node that may hold backups.
		BackupStorages(ctx context.Context, node string) ([]kvm.Storage, error)
		// Backups are those on a storage that were made of a VM with this VMID, whosever it was.
		Backups(ctx context.Context, node, storage string, vmid int) ([]kvm.Backup, error)
		// Inside reads which VM b is of, and sets its UUID; kvm.ErrNotFound when b.Node sees no such volume.
		Inside(ctx context.Context, b *kvm.Backup) error
		// DeleteBackup removes the volume; one that is gone is fine.
		DeleteBackup(ctx context.Context, b kvm.OwnedBackup) (kvm.UPID, error)
	}

	// Archiver makes backups and brings a VM back from one, or from a snapshot.
	Archiver interface {
		// Backup starts a backup of the VM to storage, with a note; Proxmox removes nothing for it.
		Backup(ctx context.Context, vm kvm.Owned, storage, note string) (kvm.UPID, error)
		// BackupMade is the name that the backup task's volume has on its storage, by its log: kvm.ErrNotFound when that names none.
		BackupMade(ctx context.Context, id kvm.UPID) (name string, err error)
		// OwnTasks are the last tasks of a type and VM on node that we have begun, ended ones too, the oldest first.
		OwnTasks(ctx context.Context, node string, vmid int, kind string) ([]kvm.Task, error)
		// Restore puts what is in the backup in the place of the stopped VM's configuration and disks.
		Restore(ctx context.Context, vm kvm.Owned, b kvm.OwnedBackup) (kvm.UPID, error)
		// CreateSnapshot takes one of disks and configuration.
		CreateSnapshot(ctx context.Context, vm kvm.Owned, name, description string) (kvm.UPID, error)
		// SnapshotDisks are the disks in a snapshot: kvm.ErrNotFound when it is not there.
		SnapshotDisks(ctx context.Context, vm kvm.Owned, name string) ([]kvm.Disk, error)
		// Rollback brings the stopped VM back to the snapshot. It stays stopped.
		Rollback(ctx context.Context, vm kvm.Owned, name string) (kvm.UPID, error)
	}

	// Firewaller reads and writes a VM's firewall.
	Firewaller interface {
		// Firewall reads the sets and rules, and the options unless they are to be written whatever they are.
		Firewall(ctx context.Context, vm kvm.Owned, options bool) (kvm.FirewallState, error)
		// FirewallAgain is have with its options, and the entries of set where that is not "", read anew.
		FirewallAgain(ctx context.Context, vm kvm.Owned, have kvm.FirewallState, set string) (kvm.FirewallState, error)
		// SetFirewall writes the options. Firewall.AntiSpoof is no option of PVE's and is ignored.
		SetFirewall(ctx context.Context, vm kvm.Owned, f kvm.Firewall) error
		// SetIPSet makes the set if it is missing and makes its entries exactly addrs; have are its present entries.
		SetIPSet(ctx context.Context, vm kvm.Owned, name string, exists bool, have []string, addrs []netip.Addr) error
		DeleteIPSet(ctx context.Context, vm kvm.Owned, name string) error
		// Rules are the rules with their digest, which the changes of them carry: ErrChanged when they have changed since.
		Rules(ctx context.Context, vm kvm.Owned) (kvm.RuleList, error)
		// AddRule makes a rule with our mark, the first of the list.
		AddRule(ctx context.Context, vm kvm.Owned, r kvm.Rule, digest string) error
		// MoveRule moves the rule at from to where its position is to.
		MoveRule(ctx context.Context, vm kvm.Owned, from, to int, digest string) error
		// RemoveRule deletes the rule at pos.
		RemoveRule(ctx context.Context, vm kvm.Owned, pos int, digest string) error
		// SetPolicies sets the policies that are not "", and no other option; the digest is the options'.
		SetPolicies(ctx context.Context, vm kvm.Owned, in, out, digest string) error
	}

	// Screener is the VM's CD drives and console: what somebody needs who installs a system by hand.
	Screener interface {
		// ISOs are the images on a storage as node sees it, sorted.
		ISOs(ctx context.Context, node, storage string) ([]kvm.ISO, error)
		// SetCD puts volume into the CD drive at slot, which it makes where there is none; "" takes out what is in it. The boot
		// order may have the drive at its end afterwards.
		SetCD(ctx context.Context, vm kvm.Owned, slot, volume string) error
		// SetBoot writes the boot order; "" removes it.
		SetBoot(ctx context.Context, vm kvm.Owned, boot kvm.BootOrder) error
		// Pending are the keys that change when the VM is stopped and started.
		Pending(ctx context.Context, vm kvm.Owned) ([]string, error)
		// Console opens the running VM's console for one connection.
		Console(ctx context.Context, vm kvm.Owned) (kvm.Console, error)
	}

	// Charter reads what a VM has used.
	Charter interface {
		// Usage are the points of the VM's charts over hour, day, week, month or year, the oldest first.
		Usage(ctx context.Context, vm kvm.Owned, frame string) ([]kvm.Usage, error)
	}
)

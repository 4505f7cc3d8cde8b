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
	// Allocate claims what pick chooses from the server's pools and the addresses that are taken, writes the addresses
	// to tblhosting, and moves s to to, all in one transaction. It picks again when another was faster.
	Allocate(ctx context.Context, s *kvm.Service, to kvm.Status, pick func(pools []kvm.Pool, taken map[netip.Addr]struct{}) ([]kvm.Claim, error)) error
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
	// Zones are the names of the configured DNS zones.
	Zones(ctx context.Context) ([]string, error)
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
		Firewaller
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
		// Start starts the VM.
		Start(ctx context.Context, vm kvm.Owned) (kvm.UPID, error)
		// Power asks the VM's own node for its power state and lock.
		Power(ctx context.Context, vm kvm.Owned) (power kvm.Power, lock string, err error)
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
		// ClearRules deletes all n rules.
		ClearRules(ctx context.Context, vm kvm.Owned, n int) error
	}
)

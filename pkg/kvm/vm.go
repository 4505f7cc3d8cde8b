package kvm

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Power is a VM's power state.
type Power string

// The power states of status/current.
const (
	Running Power = "running"
	Stopped Power = "stopped"
)

// Place is where the cluster says a guest is (a row of cluster/resources). Node is fresh; the rest lags some ten seconds
// and may be missing on a new VM.
type Place struct {
	VMID     int
	Node     string
	Name     string
	Power    Power // "" = not known yet
	Lock     string
	Template bool
	NodeUp   bool // the node's own row says online
	// Container: the guest is an LXC container, never a VM of ours.
	Container bool
}

// Node is a node of the cluster.
type Node struct {
	Name    string
	Online  bool
	FreeRAM int64 // bytes; 0 where the token may not see it
}

// Storage is a storage as one node sees it.
type Storage struct {
	Name   string
	Type   string // dir, nfs, lvm, lvmthin, zfspool, rbd, …
	Shared bool
	Active bool
	Images bool  // may hold VM disks
	Avail  int64 // bytes
}

// VM is a VM's configuration as it was read, pending changes merged in.
type VM struct {
	VMID        int
	Node        string
	Name        string
	Description string // trailing blanks removed
	UUID        string // from smbios1, "" = none
	Digest      string
	Lock        string // backup, clone, create, migrate, rollback, snapshot, …; "" = none
	Template    bool
	Protection  bool
	Cores       int // 1 where the configuration has none
	Sockets     int
	VCPUs       int   // 0 = not set
	Memory      int64 // MiB
	OnBoot      bool
	Disks       []Disk // without CD drives, in slot order
	Boot        []string
	SystemSlot  string // slot of the first disk in the boot order, "" = none
	CloudDrive  string // slot of the cloud-init drive, "" = none
	CDs         []CD   // the other CD drives, in Proxmox's order of buses: ide, scsi, virtio, sata
	NIC         *NIC   // net0
	CIUser      string
	IPConfig    IPConfig // ipconfig0; zero = none, or odd
	// IPConfigOdd: ipconfig0 is there and says something that IPConfig cannot hold.
	IPConfigOdd  bool
	Nameservers  []netip.Addr // nil also where one of them is no address
	SearchDomain string
	Keys         map[string]string // every key as PVE gave it, cipassword hidden by PVE itself
}

// Disk is a drive that is no CD.
type Disk struct {
	Slot    string // scsi0, virtio1, …
	Volume  string // storage:volume
	Storage string
	Size    int64 // bytes, 0 = the configuration does not say
	Limits  Limits
}

// Disk is the drive at slot, or nil.
func (v *VM) Disk(slot string) *Disk {
	for i := range v.Disks {
		if v.Disks[i].Slot == slot {
			return &v.Disks[i]
		}
	}
	return nil
}

// NIC is net0.
type NIC struct {
	Model    string
	MAC      string
	Bridge   string
	VLAN     int     // 0 = no tag
	Rate     float64 // MB/s, 0 = unlimited
	Firewall bool
}

// UPID names a Proxmox task.
type UPID string

// Node is the node that the task runs on, "" when u is no UPID.
func (u UPID) Node() string {
	rest, ok := strings.CutPrefix(string(u), "UPID:")
	node, _, more := strings.Cut(rest, ":")
	if !ok || !more {
		return ""
	}
	return node
}

// Started is when the task began, by the clock of its node, to the second; zero when u is no UPID.
func (u UPID) Started() time.Time {
	parts := strings.Split(string(u), ":")
	if len(parts) < 6 || parts[0] != "UPID" {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(parts[4], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// Owned is a VM whose ownership was proved. Every call that changes a VM wants one; Prove alone makes it.
type Owned struct {
	vm *VM
}

// VM is the configuration that the proof was made from.
func (o Owned) VM() *VM { return o.vm }

// Prove says that vm, just read, is row's: its SMBIOS UUID is one that the service has or had.
//
// It refuses with ErrUnproved when the row has no UUID (a VM that the PHP module made) and with ErrForeign when the UUID
// is another's or the VM has none. The message says which.
func Prove(vm *VM, row *Row) (Owned, error) {
	switch {
	case vm == nil:
		return Owned{}, Errorf(ErrUnproved, "VM %d: no configuration was read", row.VMID)
	case vm.VMID != row.VMID:
		return Owned{}, Errorf(ErrForeign, "VM %d is not VM %d of this service", vm.VMID, row.VMID)
	case row.UUID == "" && len(row.UUIDs) == 0:
		return Owned{}, Errorf(ErrUnproved, "VM %d: no UUID is stored for this service, so nothing proves that the VM is its own", row.VMID)
	case !row.HasUUID(vm.UUID):
		return Owned{}, Errorf(ErrForeign, "VM %d on %s has the UUID %s, which was never this service's: it is not touched", vm.VMID, vm.Node, orNone(vm.UUID))
	}
	return Owned{vm}, nil
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// CloneRequest asks for a clone of a template on the template's own node.
type CloneRequest struct {
	Node        string // the template's node
	Template    int
	VMID        int
	Name        string
	Description string // the ownership mark
	Full        bool
	Storage     string // full clones only; "" = as in the template
}

// CloudInit is what the guest is told.
type CloudInit struct {
	Name     string // of the VM, which is its host name; "" = leave what is there
	User     string
	Password Secret // empty = leave what is there
	SSHKeys  string // newline separated, "" = none
	IPConfig IPConfig
	DNS      []netip.Addr
	Search   string // search domain
	OnBoot   bool   // from now on the VM starts with its node; false = leave what is there
}

// IPConfig is ipconfig0.
type IPConfig struct {
	Addr4    netip.Prefix // invalid = none
	Gateway4 netip.Addr
	DHCP4    bool
	Addr6    netip.Prefix
	Gateway6 netip.Addr
	DHCP6    bool // or auto (SLAAC), which is written as DHCP
}

// FirewallState is a VM's firewall as it was read.
type FirewallState struct {
	Options Firewall
	Digest  string              // of the options
	IPSets  map[string][]string // name -> entries
	Rules   RuleList
}

// Mark is the ownership mark that the clone request carries as description: the installation and the service.
func Mark(installation string, service int64) string {
	return fmt.Sprintf("puqkvm:%s:%d", installation, service)
}

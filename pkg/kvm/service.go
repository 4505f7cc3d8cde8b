package kvm

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Service is one WHMCS service (a row of tblhosting), with our row and everything that a pipeline needs to know of it.
type Service struct {
	ID        int64  // tblhosting.id, the SID
	ClientID  int64  // tblhosting.userid
	ProductID int64  // tblhosting.packageid
	ServerID  int64  // tblhosting.server; the cluster of an existing VM is Row.ServerID
	State     string // tblhosting.domainstatus: Pending, Active, Suspended, Terminated, Cancelled, Fraud, Completed
	Domain    string // tblhosting.domain: the VM's FQDN
	Username  string // tblhosting.username: the user in the guest
	SSHKeys   string // custom field "SSH Key", newline separated, or ""

	Package Package // the wanted state
	Row     Row     // puqProxmoxKVM_vm_info
	Addrs   []Claim // the addresses that are claimed for it, first of each family first
	Leaving []Claim // those that the package no longer has, which the VM may still use until its change is through

	// Reverse are the names that addresses shall have in place of the VM's (vm_rev_dns); it may name addresses that the service
	// has no more.
	Reverse map[netip.Addr]string
	// Firewall is what the client has made of its VM's firewall: the wish that Proxmox is made equal to.
	Firewall ClientFirewall

	// Problem is what is wrong with the rows of WHMCS that the service needs (a missing product, a nonsense setting). No
	// row of a pipeline runs while it is set; nil = nothing.
	Problem error
	// Seen is the VM as this run last read it, nil = not yet, and SeenAt when that was. Sees are the storages that may hold backups,
	// as Seen's node has listed them since, nil = it was not asked.
	Seen   *VM
	SeenAt time.Time
	Sees   []Storage
	// Order is the service's place among those of its tick: of two that want the same thing the lower one comes first.
	Order int
	// Fresh says that this run has made the VM, which nobody has started yet.
	Fresh bool
}

// Row is a service's row of puqProxmoxKVM_vm_info. Only the holder of the row's claim writes it. An intent (VMID, slot,
// target, UPID) is stored before the call that it is for, so that a killed run is found and taken up again.
type Row struct {
	VMID     int
	Name     string // the VM's name, a DNS label
	Status   Status
	Since    time.Time // when the status was reached, UTC
	ServerID int64     // the tblservers.id whose cluster the VM is in; 0 = none yet
	Node     string    // where the VM was last seen
	UUID     string    // its SMBIOS UUID, the proof of ownership; "" = none yet
	UUIDs    []string  // every UUID the service's VM had, UUID among them
	Cluster  string    // the cluster that the VM was made in, by its own name; "" = not known
	MAC      string    // of net0

	Legacy        bool   // the row is the PHP module's, which has noted nothing of what it did
	CloneSent     bool   // a clone to VMID was, or may have been, requested
	MigrateTarget string // the node that the migration was decided for
	DiskSlot      string // the slot of the additional disk, "" = none chosen
	Template      int    // the VMID of the template that was chosen for it, 0 = the package's
	ISOBoot       string // an ISO image was, or is about to be, mounted: what its unmount puts back (ISONote); "" = none was
	PasswordSet   bool   // this run of the pipeline has generated and stored the guest's password
	Suspended     bool   // see spec: while set, the VM must not run
	Noted         Status // what was asked for meanwhile and comes first, as it was read; "" = nothing. Nobody writes it from here
	OwnSnapshots  int    // how many snapshots of ours the VM has, or is about to have
	From          string // restore: the backup's volume; rollback: the snapshot's name; as it was asked for, nobody writes it from here
	// RestoreFailed: a restore was sent to Proxmox, has not ended well as far as is known, and nothing has mended the VM since: its
	// disks may not be whole.
	RestoreFailed bool
	BackupNote    string // what a backup that was asked for is for, as it was asked for
	// BackupSent says that the present backup was, or may have been, requested from Proxmox: of which node, a blank, and the last
	// backup task of ours there before that, NoTask where there was none; "" = it was not. See Doubtful.
	BackupSent string
	// BackupMoment is the last moment of the schedule that was taken up, BackupDate the local date (2026-04-10) of the last one
	// whose backup was made, BackupAfter when one that failed is tried again; zero = at its next moment.
	// BackupDay is the local date of BackupMoment, as the zone was when it was taken up.
	BackupMoment time.Time
	BackupDay    string
	BackupDate   string
	BackupAfter  time.Time
	TaskKind     string // what the open task is for: clone, migrate, resize, disk, start
	TaskUPID     string // the open Proxmox task, "" = none

	Message string // why the last run stopped, "" = it did not
	Owner   string // the claim under which this was read; every write names it
}

// NoTask stands in Row.BackupSent for no task.
const NoTask = "none"

// SentTo is BackupSent of a request to node, where last was the last task of ours.
func SentTo(node, last string) string { return node + " " + last }

// Sent is the node that BackupSent names and the task before the request.
func (r *Row) Sent() (node, last string) {
	node, last, _ = strings.Cut(strings.TrimPrefix(r.BackupSent, doubt), " ")
	return node, last
}

// doubt begins BackupSent when the run that has requested the backup has ended without having learned what became of it.
const doubt = "+"

// Doubtful says whether BackupSent is about the request of an earlier run: what that has made is noted, and is not the answer to a
// later one.
func (r *Row) Doubtful() bool { return strings.HasPrefix(r.BackupSent, doubt) }

// SetDoubtful makes BackupSent, when it says anything, be about an earlier run's request, or about the present one's.
func (r *Row) SetDoubtful(yes bool) {
	sent := strings.TrimPrefix(r.BackupSent, doubt)
	if yes && sent != "" {
		sent = doubt + sent
	}
	r.BackupSent = sent
}

// HasUUID says whether uuid is one that this service's VM has or had.
func (r *Row) HasUUID(uuid string) bool {
	if uuid == "" {
		return false
	}
	for _, u := range r.UUIDs {
		if strings.EqualFold(u, uuid) {
			return true
		}
	}
	return strings.EqualFold(r.UUID, uuid)
}

// Gone forgets the VM, which is proved to be gone. What tells whose it was, and what a new one of the service takes over,
// stays: its UUIDs, MAC, VMID and name.
func (r *Row) Gone() {
	r.UUID, r.Node, r.CloneSent, r.MigrateTarget, r.DiskSlot, r.PasswordSet, r.OwnSnapshots, r.RestoreFailed, r.ISOBoot = "", "", false, "", "", false, 0, false, ""
}

// Family is an address family.
type Family string

// The two families, spelled as in puq_proxmox_kvm_ip_pools.type.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// FamilyOf is the family of a.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Pool is a range of addresses on one bridge and VLAN (a row of puq_proxmox_kvm_ip_pools, or a run of the legacy list).
type Pool struct {
	ID       int64 // 0 = from the server's "Assigned IP Addresses"
	ServerID int64
	Family   Family
	Bridge   string
	VLAN     int // 0 = untagged
	Gateway  netip.Addr
	Bits     int // prefix length
	DNS1     netip.Addr
	DNS2     netip.Addr // zero = none
	First    netip.Addr
	Last     netip.Addr
}

// Claim is one address held by a service, with the network it was given for, so that an edited pool does not change a
// VM that stands.
type Claim struct {
	Addr     netip.Addr
	PoolID   int64
	Bridge   string
	VLAN     int
	Gateway  netip.Addr
	Bits     int
	DNS1     netip.Addr
	DNS2     netip.Addr
	Position int // 0 = the family's first, the one that the guest is configured with
}

// Allotment is how a service's addresses change.
type Allotment struct {
	Add    []Claim // new to it
	Leave  []Claim // held, and no longer wanted: they stay its own until its VM cannot use them any more
	Return []Claim // leaving, and wanted again
}

// Apply gives what a service that has held and leaving has after a, first of each family first.
func (a Allotment) Apply(held, leaving []Claim) (nowHeld, nowLeaving []Claim) {
	without := func(from, these []Claim) (rest []Claim) {
		for _, c := range from {
			if !slices.ContainsFunc(these, func(t Claim) bool { return t.Addr == c.Addr }) {
				rest = append(rest, c)
			}
		}
		return rest
	}
	nowHeld = slices.Concat(without(held, a.Leave), a.Return, a.Add)
	slices.SortStableFunc(nowHeld, func(x, y Claim) int { return x.Position - y.Position })
	return nowHeld, slices.Concat(without(leaving, a.Return), a.Leave)
}

// First is the first claim of family f.
func First(claims []Claim, f Family) (Claim, bool) {
	for _, c := range claims {
		if FamilyOf(c.Addr) == f {
			return c, true
		}
	}
	return Claim{}, false
}

// Pending is a service that has something to do.
type Pending struct {
	ID     int64
	Status Status
	Owner  string // holds a claim on it, "" = nobody
	Stuck  bool   // at its status for longer than alert.after, and nobody has been told
}

// Mail is an entry of the outbox.
type Mail struct {
	ServiceID int64
	Action    string            // the WHMCS API action: SendEmail, SendAdminEmail, OpenTicket
	Template  string            // messagename, "" for a custom message
	Params    map[string]string // further parameters of the action
	Key       string            // two entries with one key are one mail
}

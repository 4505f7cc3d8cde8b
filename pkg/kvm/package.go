package kvm

// Package is the wanted state of a VM: the product's settings with the service's configurable options applied.
type Package struct {
	Node             string // target node; "" = automatically
	Template         int    // VMID of the template
	FullClone        bool
	CPU              int
	RAM              int // MiB
	Backups          int // quota
	Snapshots        int // quota
	NamePrefix       string
	NameRule         string
	FirstVMID        int
	OSUser           string // "" = random
	SnapshotLifetime int    // days, 0 = keep

	Network    Network
	Firewall   Firewall
	System     DiskPlan
	Additional DiskPlan

	BackupStorage, ISOStorage string
	ConsoleProxy              string
	ConsoleKey                Secret
	MainDomain                string // without leading dot
	RevDNSDepartment          int
	MailReady                 string // template names
	MailResetPassword         string
	MailBackupRestored        string

	Permissions map[string]bool // start, stop, novnc, charts, reinstall, reset_password, revdns, iso, firewall, snapshots, backups
}

// Network is what the product wants of net0.
type Network struct {
	Model     string  // "" = as in the template
	Bandwidth float64 // MB/s, 0 = unlimited
	Bridge    string
	VLAN      int // 0 = untagged
	IPv4      int // how many addresses
	IPv6      int
	Auto      bool // bridge and VLAN come from the pools
	DHCP4     bool
	DHCP6     bool
}

// DHCP says whether the guest gets any address by DHCP: then neither addresses nor the firewall are managed.
func (n Network) DHCP() bool { return n.DHCP4 || n.DHCP6 }

// Firewall is what the product wants of the VM's firewall.
type Firewall struct {
	Enable    bool
	PolicyIn  string // ACCEPT, REJECT, DROP
	PolicyOut string
	LogIn     string // nolog, emerg … debug
	LogOut    string
	DHCP      bool
	NDP       bool
	RADV      bool
	MACFilter bool
	IPFilter  bool
	AntiSpoof bool // IPSet ipfilter-net0 with exactly the VM's addresses
}

// DiskPlan is what the product wants of a disk.
type DiskPlan struct {
	Storage string // "" = as in the template / as the system disk
	Size    int    // GiB, 0 = leave as it is / no additional disk
	Limits  Limits
}

// Limits are a drive's throttles, 0 = unlimited.
type Limits struct {
	ReadMBps  float64
	WriteMBps float64
	ReadIOPS  int
	WriteIOPS int
}

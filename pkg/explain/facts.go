package explain

import (
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Facts is what is known of a service. Its JSON keys are stable. Times are UTC, durations whole seconds.
type Facts struct {
	Service   int64     `json:"service"`
	WHMCS     *WHMCS    `json:"whmcs"` // nil = WHMCS has no such service (any more)
	Row       *Row      `json:"row"`   // nil = it has no VM here
	Cluster   Cluster   `json:"cluster"`
	VM        VM        `json:"vm"`
	Addresses []Address `json:"addresses"`
	NoAddress string    `json:"no_address,omitempty"` // why the pools do not have the addresses that its next row wants, "" = they have
	Zones     []string  `json:"dns_zones"`            // the configured ones
	DNS       DNS       `json:"dns"`
	Mails     []Mail    `json:"mails"` // those that are not sent
	LastRun   *kvm.Run  `json:"last_run"`
	Cron      Cron      `json:"cron"`
}

// WHMCS is the service in WHMCS.
type WHMCS struct {
	State   string `json:"status"` // tblhosting.domainstatus
	Client  int64  `json:"client"`
	Product int64  `json:"product"`
	Name    string `json:"product_name"`
	Module  string `json:"module"`
	Ours    bool   `json:"ours"` // the product is of our module
	Server  int64  `json:"server"`
	Domain  string `json:"domain"`
}

// Row is our row of the service.
type Row struct {
	Status    kvm.Status `json:"status"`
	Phase     kvm.Phase  `json:"phase"`
	Next      string     `json:"next_row,omitempty"` // the title of the row that the status waits for, "" = none
	Since     time.Time  `json:"since"`
	Seconds   int64      `json:"for_seconds"`
	Suspended bool       `json:"suspended"`
	Noted     kvm.Status `json:"noted,omitempty"`
	VMID      int        `json:"vmid"`
	Name      string     `json:"name"`
	Server    int64      `json:"server"`
	Cluster   string     `json:"cluster"`
	Node      string     `json:"node"` // where the VM was last seen
	UUID      string     `json:"uuid"`
	Earlier   []string   `json:"earlier_uuids"`
	Legacy    bool       `json:"made_by_php_module"`
	MAC       string     `json:"mac"`
	Template  int        `json:"template"`
	TaskKind  string     `json:"task_kind,omitempty"`
	Task      kvm.UPID   `json:"task,omitempty"`
	Message   string     `json:"message,omitempty"`
	Problem   string     `json:"problem,omitempty"` // what is wrong with the rows of WHMCS that it needs
	Mend      string     `json:"mend,omitempty"`    // the problem
	Holder    *Holder    `json:"holder"`
}

// Holder is who has claimed the service.
type Holder struct {
	Host  string `json:"host"`
	PID   string `json:"pid"`
	Alive bool   `json:"alive"`         // as far as can be known: it renews its claim, and is not known to be dead
	Left  int64  `json:"claim_seconds"` // until the claim ends unless it is renewed
}

// Cluster is the cluster of the VM.
type Cluster struct {
	Name    string   `json:"name"`
	Quorate *bool    `json:"quorate"` // nil = not known
	Offline []string `json:"offline_nodes"`
}

// VM is the guest at the row's VMID, as Proxmox has it. Of one that is not proved to be the service's only Node, Name and
// UUID are filled in.
type VM struct {
	Whose      kvm.Whose `json:"whose"`
	Node       string    `json:"node"`
	NodeOnline *bool     `json:"node_online"` // nil = not known
	Name       string    `json:"name"`
	UUID       string    `json:"uuid"`
	Others     []int64   `json:"services_of_uuid,omitempty"` // of a foreign one: the services of ours whose VM it is or was
	Power      kvm.Power `json:"power"`
	Lock       string    `json:"lock"`
	Protection bool      `json:"protection"`
	Tasks      []Task    `json:"tasks"`           // those of the VM that run
	Open       *Task     `json:"open_task"`       // the row's, nil = none
	Error      string    `json:"error,omitempty"` // why it could not be seen
	Mend       string    `json:"mend,omitempty"`  // the error

	Err error `json:"-"` // Error, with its sentinels
}

// Task is a task of Proxmox.
type Task struct {
	UPID    kvm.UPID  `json:"upid"`
	Type    string    `json:"type"`
	User    string    `json:"user,omitempty"`
	Started time.Time `json:"started,omitzero"`
	State   string    `json:"state"` // running, ended, unknown
	Log     []string  `json:"log"`   // its last lines
}

// The states of a task.
const (
	TaskRunning = "running"
	TaskEnded   = "ended"
	TaskUnknown = "unknown"
)

// Address is an address of the service.
type Address struct {
	Address string `json:"address"`
	State   string `json:"state"` // claimed, leaving, quarantined; unclaimed = it stands in tblhosting alone
	Bridge  string `json:"bridge,omitempty"`
	VLAN    int    `json:"vlan,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	Bits    int    `json:"bits,omitempty"`
	Pool    int64  `json:"pool,omitempty"`
	Other   int64  `json:"claimed_by,omitempty"` // of an unclaimed one: the service whose claim it is
}

// Unclaimed is the state of an address that tblhosting has, and no claim of the service holds.
const Unclaimed = "unclaimed"

// Mail is a mail of the service that is not sent.
type Mail struct {
	Name     string          `json:"name"`
	State    kvm.OutboxState `json:"state"`
	Attempts int             `json:"attempts"`
	Created  time.Time       `json:"created"`
	Error    string          `json:"error,omitempty"`
}

// Cron is the task that walks services.
type Cron struct {
	Task     string    `json:"task"`             // that works on a service at this status
	Interval int64     `json:"interval_seconds"` // 0 = switched off
	Started  time.Time `json:"started"`          // zero = never
	Ago      int64     `json:"started_seconds_ago"`
	Result   string    `json:"result"`
	Addon    string    `json:"addon,omitempty"` // why cron refuses: the PHP addon is active
	Mend     string    `json:"mend,omitempty"`  // of that
}

// held says whether a living process has the service in hand.
func (f *Facts) held() bool { return f.Row != nil && f.Row.Holder != nil && f.Row.Holder.Alive }

// phase is what the service goes through.
func (f *Facts) phase() kvm.Phase {
	if f.Row == nil {
		return kvm.PhaseNone
	}
	return f.Row.Status.Phase()
}

// in says whether the service goes through one of phases.
func (f *Facts) in(phases ...kvm.Phase) bool {
	for _, p := range phases {
		if f.phase() == p {
			return true
		}
	}
	return false
}

// pending says whether cron has something to do for it.
func (f *Facts) pending() bool {
	return f.Row != nil && !f.in(kvm.PhaseReady, kvm.PhaseRemove, kvm.PhaseErrorTerminate, kvm.PhaseErrorRestore, kvm.PhaseUnknown)
}

// destroying says whether what goes on ends with the present VM.
func (f *Facts) destroying() bool {
	return f.in(kvm.PhaseTerminate, kvm.PhaseRedeploy) ||
		f.Row != nil && (f.Row.Status == kvm.Reinstall || f.Row.Status == kvm.RIChecked || f.Row.Status == kvm.RISnapshotsRemoved || f.Row.Status == kvm.RIStopped)
}

// ended says whether WHMCS has ended the service: nothing but terminate is done for it.
func (f *Facts) ended() bool {
	return f.WHMCS == nil || f.WHMCS.State != "Active" && f.WHMCS.State != "Pending" && f.WHMCS.State != "Suspended"
}

// state is what WHMCS says of the service.
func (f *Facts) state() string {
	if f.WHMCS == nil {
		return "deleted"
	}
	return f.WHMCS.State
}

// running is a task of the VM that runs, the row's own first; nil = none is known.
func (f *Facts) running() *Task {
	if f.VM.Open != nil && f.VM.Open.State == TaskRunning {
		return f.VM.Open
	}
	if len(f.VM.Tasks) > 0 {
		return &f.VM.Tasks[0]
	}
	return nil
}

// DNS counts the records that were written for the service.
type DNS struct {
	Set  int `json:"set"`
	Due  int `json:"due"`  // a zone has not said that it is there
	Gone int `json:"gone"` // a zone has not said that it is gone
}

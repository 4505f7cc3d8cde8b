package cmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// modelQuota is how many backups the products have room for, all the time.
const modelQuota = 2

// modelArchive is a backup as the model knows it.
type modelArchive struct {
	uuid     string // of the VM that is inside
	ours     bool   // a task of ours has made it
	contents string // of its system disk
}

// modelBack is what a service's VM was asked to be brought back to.
type modelBack struct {
	action   string // restore, rollback
	contents string // of its system disk then
	runs     int    // how many runs of the action had ended when it was asked for
}

// customerOps are what customers do with a VM that stands, and what comes between.
func customerOps() []*modelOp {
	return []*modelOp{
		{name: "backup", weight: 6, middle: true, do: (*model).backupOp},
		{name: "backup schedule", weight: 4, middle: true, do: (*model).scheduleOp},
		{name: "backup list", weight: 3, do: (*model).listOp},
		{name: "backup restore", weight: 6, middle: true, do: (*model).restoreOp},
		{name: "backup remove", weight: 2, middle: true, do: (*model).removeBackupOp},
		{name: "backup by hand", weight: 3, middle: true, do: (*model).handBackupOp},
		{name: "snapshot", weight: 4, middle: true, do: (*model).takeSnapshotOp},
		{name: "snapshot rollback", weight: 4, middle: true, do: (*model).rollbackOp},
		{name: "snapshot remove", weight: 2, middle: true, do: (*model).removeSnapshotOp},
		{name: "disk written", weight: 4, do: (*model).writeOp},
		{name: "hours pass", weight: 6, do: (*model).hoursOp},
		{name: "zone", weight: 1, do: (*model).zoneOp},
	}
}

// able is a service chosen by chance, mostly one that is at rest.
func (m *model) able(rng *rand.Rand) *modelService {
	s := m.any(rng)
	for range 4 {
		if st := m.statuses()[s.id]; st == kvm.Ready && !s.deleted {
			break
		}
		s = m.any(rng)
	}
	return s
}

func (m *model) backupOp(rng *rand.Rand) string {
	return m.verb(modelVerb{name: "backup create", live: true}, m.able(rng))
}

// scheduleOp sets a schedule with a few days, or clears it.
func (m *model) scheduleOp(rng *rand.Rand) string {
	s := m.able(rng)
	if rng.IntN(5) == 0 {
		return m.verb(modelVerb{name: "backup schedule clear", live: true}, s)
	}
	var days []string
	for _, day := range kvm.Days() {
		if rng.IntN(3) > 0 {
			days = append(days, fmt.Sprintf("%s=%02d:%02d", day, rng.IntN(24), rng.IntN(60)))
		}
	}
	if len(days) == 0 {
		days = []string{"all"}
	}
	s.rotates = true
	return m.verb(modelVerb{name: "backup schedule set", args: []string{"--days", strings.Join(days, ",")}, live: true}, s)
}

// listOp: nothing of another's VM is shown.
func (m *model) listOp(rng *rand.Rand) string {
	s := m.able(rng)
	out, code := m.direct("backup", "list", strconv.FormatInt(s.id, 10), "--output", "json")
	if code != exitDone {
		return fmt.Sprintf("of %d: exit %d", s.id, code)
	}
	var shown listedBackups
	if err := json.Unmarshal([]byte(out), &shown); err != nil {
		m.wrong("list", "%s: %v", out, err)
		return out
	}
	for _, b := range shown.Backups {
		a := m.archives[b.Volume]
		switch {
		case a == nil:
			m.wrong("list", "service %d: %s is shown, and is not there", s.id, b.Volume)
		case m.holder(a.uuid) != s.id:
			m.wrong("list", "service %d: %s is shown, and is of %d", s.id, b.Volume, m.holder(a.uuid))
		case b.Counts && !a.ours:
			m.wrong("list", "service %d: %s counts, and somebody has made it", s.id, b.Volume)
		}
	}
	return fmt.Sprintf("of %d: %d", s.id, len(shown.Backups))
}

// volume is a backup chosen by chance, mostly one of the service's own; or nonsense.
func (m *model) volume(rng *rand.Rand, s *modelService) string {
	var own, all []string
	for _, volume := range slices.Sorted(maps.Keys(m.archives)) {
		if all = append(all, volume); m.holder(m.archives[volume].uuid) == s.id {
			own = append(own, volume)
		}
	}
	switch {
	case len(own) > 0 && rng.IntN(4) > 0:
		return own[rng.IntN(len(own))]
	case len(all) > 0 && rng.IntN(4) > 0:
		return all[rng.IntN(len(all))]
	}
	return []string{"shared:backup/vzdump-qemu-9000-2026_01_01-00_00_00.vma.zst", "nonsense", "shared:backup/../x", "local:iso/x.iso"}[rng.IntN(4)]
}

func (m *model) restoreOp(rng *rand.Rand) string {
	s := m.able(rng)
	volume := m.volume(rng, s)
	a := m.archives[volume]
	said := m.back(s, modelVerb{name: "backup restore", args: []string{volume, "--confirm", "RESTORE"}, dooms: true, live: true}, kvm.PhaseRestore, func() (string, bool) {
		if a == nil {
			return "", false
		}
		return a.contents, m.holder(a.uuid) == s.id
	})
	return volume + ": " + said
}

// back sends a verb that brings the VM back; mine says to which contents, and false where it must be refused.
func (m *model) back(s *modelService, v modelVerb, phase kvm.Phase, mine func() (contents string, ok bool)) string {
	was, began := m.statuses()[s.id].Phase(), m.runsOf(s.id, string(phase))
	contents, ok := mine()
	said := m.verb(v, s)
	if now := m.statuses()[s.id].Phase(); now == phase && was != phase {
		if !ok {
			m.wrong("back", "service %d: %s %v was taken", s.id, v.name, v.args)
		}
		s.back = &modelBack{string(phase), contents, began}
	}
	return said
}

// runsOf is how many runs of an action have brought the service back to rest.
func (m *model) runsOf(id int64, action string) int {
	return m.number("SELECT COUNT(*) FROM puq_proxmox_kvm_runs WHERE service_id = ? AND action = ? AND to_status = 'ready'", id, action)
}

func (m *model) removeBackupOp(rng *rand.Rand) string {
	s := m.able(rng)
	volume := m.volume(rng, s)
	if a := m.archives[volume]; a != nil && m.holder(a.uuid) == s.id && a.ours {
		s.rotates = true
	}
	return volume + ": " + m.verb(modelVerb{name: "backup remove", args: []string{volume}, live: true}, s)
}

// handBackupOp lets somebody make a backup of any VM, which nothing here may remove.
func (m *model) handBackupOp(rng *rand.Rand) string {
	if len(m.archives) > 60 {
		return ""
	}
	vms := m.sim.VMs()
	list := slices.Sorted(maps.Keys(vms))
	vm := vms[list[rng.IntN(len(list))]]
	if vm.Template || vm.Lock != "" {
		return ""
	}
	m.byHand++
	volume, err := m.sim.AddBackup("shared", vm.VMID, epoch.AddDate(-2, 0, 0).Add(time.Duration(m.byHand)*time.Hour))
	if err != nil {
		m.t.Fatal(err)
	}
	m.archives[volume] = &modelArchive{uuid: uuidOf(vm), contents: vm.Disks["scsi0"].Contents}
	return fmt.Sprintf("%s of VM %d", volume, vm.VMID)
}

// holder is the service that has or had a VM with this UUID, 0 = none; of a VM that was made since the last look nobody knows yet.
func (m *model) holder(uuid string) int64 {
	for _, s := range m.services {
		if s.uuids[uuid] {
			return s.id
		}
	}
	return 0
}

func (m *model) takeSnapshotOp(rng *rand.Rand) string {
	return m.verb(modelVerb{name: "snapshot create", live: true}, m.able(rng))
}

// snapshotOf is a snapshot of the service's VM chosen by chance, or nonsense.
func (m *model) snapshotOf(rng *rand.Rand, s *modelService) string {
	var names []string
	for _, vm := range m.own(m.sim.VMs())[s.id] {
		names = slices.Sorted(maps.Keys(vm.Snapshots))
	}
	if len(names) == 0 || rng.IntN(6) == 0 {
		return "nonsense"
	}
	return names[rng.IntN(len(names))]
}

func (m *model) rollbackOp(rng *rand.Rand) string {
	s := m.able(rng)
	name := m.snapshotOf(rng, s)
	return name + ": " + m.back(s, modelVerb{name: "snapshot rollback", args: []string{name, "--confirm", "ROLLBACK"}, live: true}, kvm.PhaseRollback, func() (string, bool) {
		return s.snapshots[name], name != "nonsense"
	})
}

func (m *model) removeSnapshotOp(rng *rand.Rand) string {
	s := m.able(rng)
	name := m.snapshotOf(rng, s)
	return name + ": " + m.verb(modelVerb{name: "snapshot remove", args: []string{name}, live: true}, s)
}

// writeOp lets a guest write to its disk.
func (m *model) writeOp(rng *rand.Rand) string {
	vm, id, found := m.anyVM(rng, func(vm pvesim.VMState) bool { return vm.Power == kvm.Running && vm.Disks["scsi0"].ID != "" })
	if !found || m.services[id].back != nil {
		return ""
	}
	m.written++
	text := fmt.Sprintf("written %d", m.written)
	if err := m.sim.WriteDisk(vm.VMID, "scsi0", text); err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("VM %d of %d: %s", vm.VMID, id, text)
}

// hoursOp lets the schedules' moments come.
func (m *model) hoursOp(rng *rand.Rand) string {
	d := time.Duration(1+rng.IntN(40)) * time.Hour / 2
	m.clk.Advance(d)
	return d.String()
}

// zoneOp moves WHMCS to another zone.
func (m *model) zoneOp(rng *rand.Rand) string {
	m.zone = []string{"Europe/Warsaw", "America/St_Johns", "Pacific/Apia", "UTC"}[rng.IntN(4)]
	if out, code := m.direct("settings", "set", "timezone", m.zone); code != exitDone {
		m.wrong("exit", "timezone: %s", out)
	}
	return m.zone
}

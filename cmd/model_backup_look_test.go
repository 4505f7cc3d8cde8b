package cmd

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// lookMoment learns by which zone a moment was taken up.
func (m *model) lookMoment(s *modelService, row modelRow) {
	if row.moment != "" && s.days[row.moment] == "" { // just taken up: by the zone of now
		at, err := time.Parse("2006-01-02 15:04:05.000000", row.moment)
		zone, zoneErr := time.LoadLocation(m.zone)
		if err != nil || zoneErr != nil {
			m.wrong("row", "service %d: moment %q, zone %q: %v, %v", s.id, row.moment, m.zone, err, zoneErr)
			return
		}
		s.days[row.moment] = m.zone + " " + at.In(zone).Format(time.DateOnly)
	}
}

// lookBackups: G10, nobody else's backup is removed, nor one of a service for which nobody has asked that, and nobody's but our own
// count; G11, a moment has one backup, a day of a zone too, and nobody has more than his package; G12, what was brought back is
// what it was.
func (m *model) lookBackups(rows map[int64]modelRow, own map[int64][]pvesim.VMState) {
	m.t.Helper()
	for _, s := range m.list() {
		m.lookMoment(s, rows[s.id])
	}
	there := map[string]bool{}
	for _, vmid := range m.archiveVMIDs() {
		for _, b := range m.sim.Backups(vmid) {
			there[b.ID] = true
			if m.archives[b.ID] == nil {
				m.newArchive(rows, own, b)
			}
		}
	}
	for volume, a := range m.archives {
		if there[volume] {
			continue
		}
		switch s := m.services[m.holder(a.uuid)]; {
		case !a.ours:
			m.wrong("G10", "%s, which somebody has made, is gone", volume)
		case s == nil || !s.rotates && !s.ending:
			m.wrong("G10", "%s of service %d is gone, and nobody asked for it", volume, m.holder(a.uuid))
		}
		m.tally.add("backup of ours: gone")
		delete(m.archives, volume)
	}
	noted := map[int64]int{}
	for _, r := range m.rows("SELECT service_id, volume FROM puq_proxmox_kvm_backups") {
		id, _ := strconv.ParseInt(r[0], 10, 64)
		a := m.archives[r[1]]
		if a == nil {
			continue // it is forgotten when it is looked for
		}
		if noted[id]++; !a.ours || m.holder(a.uuid) != id {
			m.wrong("G10", "%s is in the journal of service %d, and is of %d, made here %v", r[1], id, m.holder(a.uuid), a.ours)
		}
	}
	for id, n := range noted {
		if n > modelQuota {
			m.wrong("G11", "service %d has %d backups, and room for %d", id, n, modelQuota)
		}
	}
	for _, s := range m.list() {
		m.lookBack(s, rows[s.id], own[s.id])
		for _, vm := range own[s.id] {
			m.lookSnapshots(s, vm)
		}
	}
}

// archiveVMIDs are all VMIDs that a backup may bear.
func (m *model) archiveVMIDs() []int {
	out := append(m.vmids(), slices.Collect(maps.Keys(m.foreign))...)
	for volume := range m.archives {
		out = append(out, kvm.VolumeVMID(volume))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// newArchive is a backup that a task of ours has made since the last look.
func (m *model) newArchive(rows map[int64]modelRow, own map[int64][]pvesim.VMState, b pvesim.Backup) {
	_, uuid, _ := strings.Cut(b.Config["smbios1"], "uuid=")
	uuid, _, _ = strings.Cut(strings.ToLower(uuid), ",")
	id := m.holder(uuid)
	a := &modelArchive{uuid: uuid, ours: true}
	m.archives[b.ID] = a
	s := m.services[id]
	if s == nil || len(own[id]) == 0 {
		m.wrong("G10", "%s was made of a VM that is no service's: %s", b.ID, uuid)
		return
	}
	a.contents = own[id][0].Disks["scsi0"].Contents
	if _, planned := strings.CutPrefix(b.Notes, "Scheduled backup "); !planned {
		return
	}
	m.tally.add("scheduled backup: made")
	row := rows[id]
	if s.made[row.moment]++; s.made[row.moment] > 1 {
		m.wrong("G11", "service %d: the moment %s has its second backup, %s", id, row.moment, b.ID)
	}
	day := s.days[row.moment]
	if s.made[day]++; s.made[day] > 1 {
		m.wrong("G11", "service %d: the day %s has its second backup, %s", id, day, b.ID)
	}
}

// lookBack: when a service that was to be brought back is at rest again, its disk is the one of then, or nothing has happened to it.
func (m *model) lookBack(s *modelService, row modelRow, own []pvesim.VMState) {
	contents := ""
	if len(own) > 0 {
		contents = own[0].Disks["scsi0"].Contents
	}
	switch phase := row.status.Phase(); {
	case s.back == nil:
	case string(phase) == s.back.action:
		return
	case phase == kvm.PhaseReady && row.noted == "" && len(own) == 1 && own[0].VMID == row.vmid && m.runsOf(s.id, s.back.action) > s.back.runs:
		last := m.db.Text("SELECT CONCAT(result, ' ', COALESCE(message, '')) FROM puq_proxmox_kvm_runs WHERE service_id = ? AND action = ? AND to_status = 'ready' ORDER BY id DESC LIMIT 1", s.id, s.back.action)
		m.tally.add(s.back.action + ": " + strings.Fields(last)[0])
		// A rollback that Proxmox refuses starts the VM as it was.
		kept := contents == s.contents && (s.back.action == string(kvm.PhaseRollback) || !strings.HasPrefix(last, "success"))
		if !kept && contents != s.back.contents {
			m.wrong("G12", "service %d: after %s (%s) its disk has %q, and had %q then and %q before", s.id, s.back.action, last, contents, s.back.contents, s.contents)
		}
	}
	s.back, s.contents = nil, contents
}

// lookSnapshots learns what is in new snapshots.
func (m *model) lookSnapshots(s *modelService, vm pvesim.VMState) {
	for name := range vm.Snapshots {
		if _, known := s.snapshots[name]; !known {
			s.snapshots[name] = vm.Disks["scsi0"].Contents
		}
	}
	for name := range s.snapshots {
		if _, there := vm.Snapshots[name]; !there {
			delete(s.snapshots, name)
		}
	}
}

// noBackups: of a service that has ended no backup that was made here is left.
func (m *model) noBackups() {
	m.t.Helper()
	rows := m.modelRows()
	for _, volume := range slices.Sorted(maps.Keys(m.archives)) {
		if a := m.archives[volume]; a.ours && rows[m.holder(a.uuid)].status == kvm.Remove {
			m.wrong("end", "%s of service %d, which is removed, is left", volume, m.holder(a.uuid))
		}
	}
}

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/ipam"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Adoption looks whether the VM at the VMID of s, a row that the PHP module made, is the service's, and says what is to be
// stored then. Nothing is changed. stored are the addresses in tblhosting, as text; pools are the server's; earlier are UUIDs
// that the service's VM had before, whose backups are the service's. Of a service that is adopted already only the earlier
// UUIDs and their backups are new.
//
// kvm.ErrAdmin: the VM differs from what is known of the service's; the message says in what. kvm.ErrRefused: there is
// nothing to adopt.
func (l *Lifecycle) Adoption(ctx context.Context, s *kvm.Service, stored string, pools []kvm.Pool, earlier []string) (kvm.Adoption, error) {
	known := s.Row.UUID != "" || len(s.Row.UUIDs) > 0
	switch {
	case s.Row.Status == kvm.Remove:
		return kvm.Adoption{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has no VM any more", s.ID), "puqkvm create %d", s.ID)
	case !known && !s.Row.Legacy:
		return kvm.Adoption{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d was ordered here: cron makes its VM, and knows it", s.ID), "puqkvm vm show %d", s.ID)
	case s.Problem != nil:
		return kvm.Adoption{}, s.Problem
	}
	next := *s
	c, vm, err := l.readToAdopt(ctx, &next)
	if err != nil {
		return kvm.Adoption{}, err
	}
	var a kvm.Adoption
	if known {
		if _, err := kvm.Prove(vm, &s.Row); err != nil {
			return kvm.Adoption{}, err
		}
	} else if a.Addrs, err = l.compare(ctx, c, &next, vm, stored, pools); err != nil {
		return kvm.Adoption{}, err
	}
	next.Row.Node = vm.Node
	for _, uuid := range append([]string{vm.UUID}, earlier...) {
		if !slices.ContainsFunc(next.Row.UUIDs, func(u string) bool { return strings.EqualFold(u, uuid) }) {
			next.Row.UUIDs = append(slices.Clone(next.Row.UUIDs), uuid)
		}
	}
	if a.Backups, _, err = l.archives(ctx, c, &next); err != nil {
		return kvm.Adoption{}, err
	}
	if !known {
		if err := l.takeOver(ctx, c, &next, vm); err != nil {
			return kvm.Adoption{}, err
		}
		a.Note = packageNote(s, a.Addrs)
	}
	a.Row = next.Row
	return a, nil
}

// readToAdopt reads the VM, whosever it is, where it can be adopted as it is now.
func (l *Lifecycle) readToAdopt(ctx context.Context, s *kvm.Service) (Cluster, *kvm.VM, error) {
	c, err := l.cluster(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	vm, err := l.read(ctx, c, s)
	if errors.Is(err, kvm.ErrNotHere) {
		free, freeErr := c.Free(ctx, s.Row.VMID)
		switch {
		case freeErr != nil:
			return nil, nil, freeErr
		case free:
			return nil, nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "WHMCS server %d has no VM %d; it may have been made in another cluster", s.Row.ServerID, s.Row.VMID),
				"choose the VM's server on the service's page in WHMCS; or, when the VM is gone: puqkvm status set %d terminate, and when cron has given up: puqkvm vm forget %d --confirm FORGET", s.ID, s.ID)
		}
		return nil, nil, kvm.Errorf(kvm.ErrUnknown, "%w", err)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case vm.Lock != "":
		return nil, nil, kvm.Errorf(kvm.ErrBusy, "VM %d on %s is locked by Proxmox (%s); try again when that is over", vm.VMID, vm.Node, vm.Lock)
	case vm.Template:
		return nil, nil, kvm.Errorf(kvm.ErrAdmin, "VM %d on %s is a template, not the VM of service %d", vm.VMID, vm.Node, s.ID)
	case vm.UUID == "":
		return nil, nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "VM %d on %s has no SMBIOS UUID, which proves whose it is", vm.VMID, vm.Node),
			"give it one: any change of its SMBIOS options in Proxmox makes one")
	}
	return c, vm, nil
}

// deploying says that the rows which give the VM its addresses are still to come: what it has of them is its template's.
func deploying(s *kvm.Service) bool {
	return s.Row.Status.Phase() == kvm.PhaseDeploy && s.Row.Status != kvm.SetCloudinit && s.Row.Status != kvm.Starting
}

// compare holds the VM against what is known of the service's: name, MAC, addresses. It gives the claims for the latter.
func (l *Lifecycle) compare(ctx context.Context, c Cluster, s *kvm.Service, vm *kvm.VM, stored string, pools []kvm.Pool) ([]kvm.Claim, error) {
	var wrong []string
	differs := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	name := s.Row.Name
	if name == "" {
		name, _, _ = strings.Cut(s.Domain, ".")
	}
	switch {
	case name == "":
		differs("neither the row's vm_name nor the service's domain says how it is called (it is %q)", vm.Name)
	case !strings.EqualFold(vm.Name, name):
		differs("its name is %q, not %q", vm.Name, name)
	}
	switch {
	case vm.NIC == nil:
		differs("it has no network device net0")
	case s.Row.MAC != "" && !strings.EqualFold(vm.NIC.MAC, s.Row.MAC):
		differs("its MAC is %s, not %s", vm.NIC.MAC, s.Row.MAC)
	}
	addrs, garbage := ipam.ParseStored(stored)
	for _, g := range garbage {
		differs("WHMCS has %q among the service's addresses, which is none", g)
	}
	if !deploying(s) {
		row := kvm.Row{VMID: vm.VMID, UUID: vm.UUID} // to read with: nothing is changed
		owned, err := kvm.Prove(vm, &row)
		if err != nil {
			return nil, err
		}
		firewall, err := c.Firewall(ctx, owned, false)
		if err != nil {
			return nil, err
		}
		entries, filtered := firewall.IPSets[ipSet]
		var problems []string
		addrs, problems = usedAddresses(s, vm, addrs, entries, filtered)
		wrong = append(wrong, problems...)
	}
	if len(wrong) > 0 {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "VM %d on %s does not look like that of service %d: %s", vm.VMID, vm.Node, s.ID, strings.Join(wrong, "; ")),
			"look whose VM it is; when it is the service's, make name, MAC and addresses agree in Proxmox and WHMCS, and ask again")
	}
	return adoptedClaims(s, vm, addrs, pools)
}

// takeOver puts what was seen of the VM into the row of s.
func (l *Lifecycle) takeOver(ctx context.Context, c Cluster, s *kvm.Service, vm *kvm.VM) error {
	r := &s.Row
	r.UUID, r.Node, r.CloneSent, r.Legacy = vm.UUID, vm.Node, true, false
	if r.Name == "" {
		r.Name = vm.Name
	}
	r.MAC = vm.NIC.MAC // the same, as Proxmox spells it
	for _, d := range vm.Disks {
		if r.DiskSlot == "" && d.Slot != vm.SystemSlot {
			r.DiskSlot = d.Slot
		}
	}
	return l.nameCluster(ctx, c, s)
}

// packageNote says that the package asks for other addresses than the service has.
func packageNote(s *kvm.Service, claims []kvm.Claim) string {
	v4, v6 := wanted(s.Package.Network)
	has := *s
	if has.Addrs = claims; holds(&has, v4, v6) {
		return ""
	}
	return fmt.Sprintf("it has %d addresses, and its package asks for %d IPv4 and %d IPv6: the next change of package makes that so", len(claims), v4, v6)
}

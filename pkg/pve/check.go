package pve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Needs is what a server or a product wants of the cluster. Empty fields are not looked at.
type Needs struct {
	Node          string   // the product's target node, "" = automatically
	Storages      []string // for VM disks
	BackupStorage string
	ISOStorage    string
	Template      int
	FullClone     bool // linked otherwise
	AntiSpoof     bool // warn where the datacenter's firewall makes it ineffective
}

// Finding is one thing that Check looked at. Mend says what to do, for those that are not OK and for warnings.
type Finding struct {
	OK, Warning bool
	Privilege   bool // it is a privilege that is missing: RoleCommands gives it
	What, Mend  string
}

// checkup collects findings.
type checkup struct {
	c        *Client
	needs    Needs
	version  Version
	nodes    []kvm.Node
	findings []Finding
}

func (k *checkup) good(format string, args ...any) {
	k.findings = append(k.findings, Finding{OK: true, What: fmt.Sprintf(format, args...)})
}

func (k *checkup) warn(mend, format string, args ...any) {
	k.findings = append(k.findings, Finding{OK: true, Warning: true, What: fmt.Sprintf(format, args...), Mend: mend})
}

func (k *checkup) bad(mend, format string, args ...any) {
	k.findings = append(k.findings, Finding{What: fmt.Sprintf(format, args...), Mend: mend})
}

func (k *checkup) lacks(mend, format string, args ...any) {
	k.findings = append(k.findings, Finding{Privilege: true, What: fmt.Sprintf(format, args...), Mend: mend})
}

// failed reports a call that did not go through.
func (k *checkup) failed(what string, err error) {
	k.bad(kvm.Hint(err), "%s: %v", what, err)
}

// Check looks at everything that the needs name and that all products need: address, certificate, credentials,
// privileges, nodes, storages, template, and the datacenter's firewall. It changes nothing. When the API does not let us
// in, that is the only finding.
func (c *Client) Check(ctx context.Context, needs Needs) []Finding {
	k := &checkup{c: c, needs: needs}
	var err error
	if k.version, err = c.Version(ctx); err != nil {
		mend := kvm.Hint(err)
		if mend == "" && errors.Is(err, kvm.ErrUnreachable) {
			mend = "check the server's address and port (8006), and that no firewall stands between"
		}
		k.bad(mend, "the API cannot be used: %v", err)
		return k.findings
	}
	k.good("the API answers as %s: Proxmox VE %s", c.user, k.version)
	switch {
	case !k.version.AtLeast(7, 0):
		k.bad("upgrade Proxmox VE", "Proxmox VE %s is older than 7", k.version)
	case k.version.AtLeast(10, 0):
		k.warn("look for a newer release of this program", "Proxmox VE %s is newer than what this program was tested with (7 to 9)", k.version)
	}
	k.privileges(ctx)
	k.node(ctx)
	k.storages(ctx)
	k.template(ctx)
	if needs.AntiSpoof {
		k.firewall(ctx)
	}
	return k.findings
}

func (k *checkup) privileges(ctx context.Context) {
	complete := true
	for _, g := range grants(k.version) {
		var data dict[dict[flag]]
		if err := k.c.get(ctx, "/access/permissions", params{"path": g.path}, &data); err != nil {
			k.failed("the privileges on "+g.path, err)
			return
		}
		have := map[string]bool{}
		for privilege := range data[g.path] { // 1 = with everything below, 0 = here alone; both are listed only when held
			have[privilege] = true
		}
		missing := g.missing(have)
		if len(missing) == 0 {
			continue
		}
		complete = false
		k.lacks("give it the roles that puqkvm server test prints the pveum lines for", "%s lacks on %s: %s", k.c.user, g.path, strings.Join(missing, " "))
	}
	if complete {
		k.good("%s has all privileges that are needed", k.c.user)
	}
}

func (k *checkup) node(ctx context.Context) {
	nodes, err := k.c.Nodes(ctx)
	if err != nil {
		k.failed("the nodes", err)
		return
	}
	k.nodes = nodes
	var names, down []string
	for _, n := range nodes {
		names = append(names, n.Name)
		if !n.Online {
			down = append(down, n.Name)
		}
	}
	if len(down) > 0 {
		k.warn("bring them back; until then their VMs wait", "nodes that are not online: %s", strings.Join(down, ", "))
	}
	switch {
	case k.needs.Node == "":
		k.good("the cluster has the nodes %s", strings.Join(names, ", "))
	case !slices.Contains(names, k.needs.Node):
		k.bad("set the product's node to one of: "+strings.Join(names, ", "), "the cluster has no node %s", k.needs.Node)
	case !slices.Contains(down, k.needs.Node):
		k.good("the node %s is online", k.needs.Node)
	}
}

func (k *checkup) storages(ctx context.Context) {
	for _, name := range k.needs.Storages {
		k.storage(ctx, name, "images")
	}
	if k.needs.ISOStorage != "" {
		k.storage(ctx, k.needs.ISOStorage, "iso")
	}
	if k.needs.BackupStorage != "" {
		k.storage(ctx, k.needs.BackupStorage, "backup")
		k.pruning(ctx, k.needs.BackupStorage)
	}
}

// storage looks for one storage on all nodes that a VM can be on.
func (k *checkup) storage(ctx context.Context, name, content string) {
	var lacking, inactive []string
	asked := 0
	for _, n := range k.nodes {
		if !n.Online || k.needs.Node != "" && n.Name != k.needs.Node {
			continue
		}
		asked++
		list, err := k.c.storages(ctx, n.Name, content)
		if err != nil {
			k.failed("the storage "+name, err)
			return
		}
		i := slices.IndexFunc(list, func(s kvm.Storage) bool { return s.Name == name })
		switch {
		case i < 0:
			lacking = append(lacking, n.Name)
		case !list[i].Active:
			inactive = append(inactive, n.Name)
		}
	}
	switch {
	case asked == 0:
	case len(lacking) == asked:
		k.bad("add it, allow the content "+content+" on it, and give the token Datastore.Audit on /storage/"+name,
			"there is no storage %s for the content %s on %s", name, content, strings.Join(lacking, ", "))
	case len(inactive) > 0:
		k.bad("see why it is not mounted there", "the storage %s is not active on %s", name, strings.Join(inactive, ", "))
	case len(lacking) > 0:
		k.warn("add it there, or set the product's node", "the storage %s is missing for the content %s on %s", name, content, strings.Join(lacking, ", "))
	default:
		k.good("the storage %s holds the content %s and is active", name, content)
	}
}

// pruning warns of a backup storage that deletes backups by a rule of its own.
func (k *checkup) pruning(ctx context.Context, name string) {
	var data struct {
		Prune text `json:"prune-backups"`
	}
	if err := k.c.get(ctx, path("storage", name), nil, &data); err != nil {
		k.failed("the settings of the storage "+name, err)
		return
	}
	if data.Prune != "" && !strings.Contains(string(data.Prune), "keep-all=1") {
		k.warn("set the storage's retention to keep all: puqkvm counts and rotates by itself",
			"the storage %s prunes backups by itself (%s)", name, data.Prune)
	}
}

func (k *checkup) template(ctx context.Context) {
	vmid := k.needs.Template
	if vmid == 0 {
		return
	}
	const mend = "set the product's template to a VM that was made a template and has a cloud-init drive"
	place, found, err := k.c.Place(ctx, vmid)
	if err != nil {
		k.failed("the template", err)
		return
	}
	if !found {
		k.bad(mend+"; the token needs VM.Audit and VM.Clone on it", "there is no template %d that %s can see", vmid, k.c.user)
		return
	}
	vm, err := k.c.VM(ctx, place.Node, vmid)
	if err != nil {
		k.failed("the template", err)
		return
	}
	switch {
	case !vm.Template:
		k.bad(mend, "VM %d (%s) on %s is no template", vmid, vm.Name, vm.Node)
		return
	case vm.CloudDrive == "":
		k.bad("add a cloud-init drive to it: qm set "+fmt.Sprint(vmid)+" --ide2 STORAGE:cloudinit", "the template %d (%s) has no cloud-init drive", vmid, vm.Name)
		return
	case vm.SystemSlot == "":
		k.bad(mend, "the template %d (%s) has no disk", vmid, vm.Name)
		return
	case vm.NIC == nil:
		k.bad("add a network card net0 to it", "the template %d (%s) has no network card", vmid, vm.Name)
		return
	}
	k.good("the template %d (%s) is on %s and has a cloud-init drive", vmid, vm.Name, vm.Node)
	k.cloneType(ctx, vm)
}

func (k *checkup) cloneType(ctx context.Context, vm *kvm.VM) {
	feature, kind := "clone", "linked"
	if k.needs.FullClone {
		feature, kind = "copy", "full"
	}
	var data struct {
		Has flag `json:"hasFeature"`
	}
	if err := k.c.get(ctx, guest(vm, "feature"), params{"feature": feature}, &data); err != nil {
		k.failed("the clone type", err)
		return
	}
	if !data.Has {
		k.bad("use full clones, or move the template's disks to a storage with linked clones (directory with qcow2, lvmthin, ZFS, Ceph)",
			"%s clones of the template %d are not possible", kind, vm.VMID)
		return
	}
	k.good("%s clones of the template are possible", kind)
	if k.needs.FullClone || len(k.nodes) < 2 || k.needs.Node == vm.Node {
		return
	}
	list, err := k.c.Storages(ctx, vm.Node)
	if err != nil {
		k.failed("the template's storage", err)
		return
	}
	for _, d := range vm.Disks {
		i := slices.IndexFunc(list, func(s kvm.Storage) bool { return s.Name == d.Storage })
		if i >= 0 && !list[i].Shared && list[i].Type != "lvmthin" {
			k.warn("use full clones, a shared storage, or the template's node",
				"linked clones of the template cannot leave %s: its disk %s is on the local storage %s", vm.Node, d.Slot, d.Storage)
			return
		}
	}
}

// firewall warns where the datacenter's firewall lets a VM send from any address. Proxmox's own default of policy_in is
// DROP.
func (k *checkup) firewall(ctx context.Context) {
	raw := dict[text]{}
	if err := k.c.get(ctx, "/cluster/firewall/options", nil, &raw); err != nil {
		k.failed("the datacenter's firewall", err)
		return
	}
	policy := or(string(raw["policy_in"]), "DROP")
	switch {
	case raw["enable"] == "" || raw["enable"] == "0":
		k.warn("switch it on: Datacenter, Firewall, Options (allow your own access first)",
			"the datacenter's firewall is off: anti-spoofing and firewall rules have no effect")
	case policy != "DROP" && policy != "REJECT":
		k.warn("set the datacenter's input policy to DROP or REJECT", "the datacenter's firewall has the input policy %s: anti-spoofing has no effect", policy)
	default:
		k.good("the datacenter's firewall is on, with the input policy %s", policy)
	}
}

package pve

import (
	"fmt"
	"slices"
	"strings"
)

// grant is a set of privileges on one path of Proxmox's access tree, with everything below it.
type grant struct {
	role, path string
	privileges []string
}

// grants are just the privileges that the program's calls need. PVE 8 began to ask for SDN.Use on bridges; PVE 9
// replaced VM.Monitor, which is no longer known there, by VM.GuestAgent.
func grants(v Version) []grant {
	vm := []string{"VM.Allocate", "VM.Audit", "VM.Backup", "VM.Clone", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Cloudinit",
		"VM.Config.Disk", "VM.Config.HWType", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "VM.Console",
		"VM.Migrate", "VM.PowerMgmt", "VM.Snapshot", "VM.Snapshot.Rollback"}
	if v.AtLeast(9, 0) {
		vm = append(vm, "VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")
	} else {
		vm = append(vm, "VM.Monitor")
	}
	all := []grant{
		{"puqkvm-audit", "/", []string{"Sys.Audit"}},
		{"puqkvm-vm", "/vms", vm},
		{"puqkvm-storage", "/storage", []string{"Datastore.AllocateSpace", "Datastore.Audit"}},
	}
	if v.AtLeast(8, 0) {
		all = append(all, grant{"puqkvm-sdn", "/sdn/zones", []string{"SDN.Use"}})
	}
	return all
}

// RoleCommands are the pveum lines, to be typed on a node of version v, that make the roles, the user and the token
// user@realm!token with just the privileges needed. The token has the user's rights (privsep 0); its secret is shown
// once, by the last line.
func RoleCommands(v Version, tokenID string) []string {
	user, token, ok := strings.Cut(tokenID, "!")
	if !ok {
		user, token = "whmcs@pve", "puqkvm"
	}
	var lines []string
	for _, g := range grants(v) {
		lines = append(lines, fmt.Sprintf("pveum role add %s --privs %q", g.role, strings.Join(g.privileges, " ")))
	}
	lines = append(lines, "pveum user add "+user)
	for _, g := range grants(v) {
		lines = append(lines, fmt.Sprintf("pveum acl modify %s --users %s --roles %s", g.path, user, g.role))
	}
	return append(lines, fmt.Sprintf("pveum user token add %s %s --privsep 0", user, token))
}

// missing are the privileges of g that have does not hold.
func (g grant) missing(have map[string]bool) []string {
	return slices.DeleteFunc(slices.Clone(g.privileges), func(p string) bool { return have[p] })
}

package pve

import (
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// upid is a task's name, taken apart: UPID:node:pid:pstart:starttime:type:id:user[!token]:
type upid struct {
	Node string
	Type string // qmclone, qmconfig, resize, …
	ID   string // mostly a VMID; of a clone the template's
	User string
	rest [3]string // pid, pstart, starttime, in hex
}

var upidPattern = pattern.New(`^UPID:([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):` +
	`([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s/]+):([^:\s/]*):([^:\s/]+):$`)

func parseUPID(s string) (upid, error) {
	m := upidPattern.FindStringSubmatch(s)
	if m == nil {
		return upid{}, kvm.Errorf(kvm.ErrInvalid, "%.80q is no task id (UPID)", s)
	}
	return upid{Node: m[1], rest: [3]string{m[2], m[3], m[4]}, Type: m[5], ID: m[6], User: m[7]}, nil
}

// String is the UPID as Proxmox writes it.
func (u upid) String() string {
	return strings.Join([]string{"UPID", u.Node, u.rest[0], u.rest[1], u.rest[2], u.Type, u.ID, u.User, ""}, ":")
}

// what names the task for people.
func (u upid) what() string {
	if u.ID == "" {
		return fmt.Sprintf("the task %s on %s", u.Type, u.Node)
	}
	return fmt.Sprintf("the task %s of %s on %s", u.Type, u.ID, u.Node)
}

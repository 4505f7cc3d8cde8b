package pve

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Running are the tasks of VM vmid that run on node, the oldest first. A clone is its template's task, and a backup of
// several VMs nobody's: neither is among them. Without Sys.Audit on the node those of other users are missing.
func (c *Client) Running(ctx context.Context, node string, vmid int) ([]kvm.Task, error) {
	var rows []struct {
		UPID    text    `json:"upid"`
		Type    text    `json:"type"`
		User    text    `json:"user"`
		Started integer `json:"starttime"`
		Ended   integer `json:"endtime"`
		Status  text    `json:"status"`
	}
	p := params{"vmid": strconv.Itoa(vmid), "source": "active"}
	if err := c.get(ctx, path("nodes", node, "tasks"), p, &rows); err != nil {
		return nil, fmt.Errorf("the tasks of VM %d on %s: %w", vmid, node, err)
	}
	var out []kvm.Task
	for _, r := range rows {
		// One that has just ended stays among the active ones until Proxmox files it.
		if r.Ended != 0 || r.Status != "" && r.Status != "RUNNING" {
			continue
		}
		if _, err := parseUPID(string(r.UPID)); err != nil {
			return nil, kvm.Errorf(kvm.ErrUnreachable, "the tasks of VM %d on %s: %w", vmid, node, err)
		}
		out = append(out, kvm.Task{UPID: kvm.UPID(r.UPID), Type: string(r.Type), User: string(r.User), Started: unix(r.Started)})
	}
	slices.SortStableFunc(out, func(a, b kvm.Task) int { return a.Started.Compare(b.Started) })
	return out, nil
}

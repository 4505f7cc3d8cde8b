package pve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Running are the tasks of VM vmid that run on node, the oldest first. A clone is its template's task, and a backup of
// several VMs nobody's: neither is among them. Without Sys.Audit on the node those of other users are missing.
func (c *Client) Running(ctx context.Context, node string, vmid int) ([]kvm.Task, error) {
	list, err := c.tasks(ctx, node, vmid, params{"source": "active"})
	// One that has just ended stays among the active ones until Proxmox files it.
	return listedTasks(slices.DeleteFunc(list, func(t listedTask) bool { return t.ended })).tasks(), err
}

// OwnTasks are the last tasks of a type (vzdump, qmrestore, …) and VM on node that our user or token began, ended ones too, the oldest
// first.
func (c *Client) OwnTasks(ctx context.Context, node string, vmid int, kind string) ([]kvm.Task, error) {
	list, err := c.tasks(ctx, node, vmid, params{"source": "all", "typefilter": kind, "limit": "50"})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.tasks(), func(t kvm.Task) bool { return t.Type != kind || t.User != c.user }), nil
}

type listedTask struct {
	kvm.Task
	pstart uint64 // when its process began, in hundredths of a second since the node's boot: finer than Started
	ended  bool
}

type listedTasks []listedTask

func (l listedTasks) tasks() []kvm.Task {
	var out []kvm.Task
	for _, t := range l {
		out = append(out, t.Task)
	}
	return out
}

// tasks are those of VM vmid on node that p chooses, the oldest first.
func (c *Client) tasks(ctx context.Context, node string, vmid int, p params) (listedTasks, error) {
	var rows []struct {
		UPID    text    `json:"upid"`
		Type    text    `json:"type"`
		Started integer `json:"starttime"`
		Ended   integer `json:"endtime"`
		Status  text    `json:"status"`
	}
	p["vmid"] = strconv.Itoa(vmid)
	if err := c.get(ctx, path("nodes", node, "tasks"), p, &rows); err != nil {
		return nil, fmt.Errorf("the tasks of VM %d on %s: %w", vmid, node, err)
	}
	var out listedTasks
	for _, r := range rows {
		u, err := parseUPID(string(r.UPID)) // of ended tasks the row's user comes without the token
		if err != nil {
			return nil, kvm.Errorf(kvm.ErrUnreachable, "the tasks of VM %d on %s: %w", vmid, node, err)
		}
		pstart, _ := strconv.ParseUint(u.rest[1], 16, 64) // the pattern takes nothing else
		out = append(out, listedTask{kvm.Task{UPID: kvm.UPID(r.UPID), Type: string(r.Type), User: u.User, Started: unix(r.Started)}, pstart,
			r.Ended != 0 || r.Status != "" && r.Status != "RUNNING"})
	}
	slices.SortStableFunc(out, func(a, b listedTask) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.pstart, b.pstart))
	})
	return out, nil
}

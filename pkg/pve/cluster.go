package pve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

const resourcesPath = "/cluster/resources"

// Version is a cluster's Proxmox VE version.
type Version struct{ Major, Minor, Patch int }

// String is the version as Proxmox writes it.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// AtLeast says whether v is major.minor or later.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

var versionPattern = pattern.New(`^(\d{1,4})\.(\d{1,4})(?:[.-](\d{1,6}))?`)

// Version is the version of the node that answers, asked for once in the Client's life.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return c.version.get(ctx, c.clock.Now, 1<<62, func(ctx context.Context) (Version, error) {
		var data struct {
			Version text `json:"version"`
		}
		if err := c.get(ctx, "/version", nil, &data); err != nil {
			return Version{}, err
		}
		m := versionPattern.FindStringSubmatch(string(data.Version))
		if m == nil {
			return Version{}, kvm.Errorf(kvm.ErrUnreachable, "GET /version: %.40q is no version of Proxmox VE", data.Version)
		}
		var n [3]int
		for i := range n {
			n[i], _ = strconv.Atoi(m[i+1]) // digits, at most six
		}
		return Version{n[0], n[1], n[2]}, nil
	})
}

// places reads all guests of the cluster that the token may see, in one call.
func (c *Client) places(ctx context.Context) (map[int]kvm.Place, error) {
	var rows []struct {
		Type     text    `json:"type"`
		Node     text    `json:"node"`
		Status   text    `json:"status"`
		VMID     integer `json:"vmid"`
		Name     text    `json:"name"`
		Lock     text    `json:"lock"`
		Template flag    `json:"template"`
	}
	if err := c.get(ctx, resourcesPath, nil, &rows); err != nil {
		return nil, err
	}
	up := map[text]bool{}
	for _, r := range rows {
		if r.Type == "node" {
			up[r.Node] = r.Status == "online"
		}
	}
	out := make(map[int]kvm.Place, len(rows))
	for _, r := range rows {
		if r.Type != "qemu" && r.Type != "lxc" || r.VMID == 0 || r.Node == "" {
			continue
		}
		p := kvm.Place{VMID: int(r.VMID), Node: string(r.Node), Name: string(r.Name), Lock: string(r.Lock),
			Template: bool(r.Template), NodeUp: up[r.Node], Container: r.Type == "lxc"}
		switch r.Status {
		case "running":
			p.Power = kvm.Running
		case "stopped":
			p.Power = kvm.Stopped
		}
		out[p.VMID] = p
	}
	return out, nil
}

// Place is where vmid is by a fresh cluster/resources. found is false when no guest of that id is listed, which proves
// nothing: the token may not see it.
func (c *Client) Place(ctx context.Context, vmid int) (p kvm.Place, found bool, err error) {
	all, err := c.places(ctx)
	if err != nil {
		return kvm.Place{}, false, fmt.Errorf("locating VM %d: %w", vmid, err)
	}
	p, found = all[vmid]
	return p, found, nil
}

// Snapshot is every VM's Place by an answer that is at most Options.SnapshotAge old, so that all services of a tick cost
// one call. The map is shared: it must not be changed.
func (c *Client) Snapshot(ctx context.Context) (map[int]kvm.Place, error) {
	return c.snapshot.get(ctx, c.clock.Now, c.age, c.places)
}

// Refresh is Snapshot by a fresh call, which later callers of Snapshot share.
func (c *Client) Refresh(ctx context.Context) (map[int]kvm.Place, error) {
	return c.snapshot.get(ctx, c.clock.Now, 0, c.places)
}

// Free asks nextid whether the cluster has no guest vmid. It sees all guests, whatever the token may see. It reserves
// nothing.
func (c *Client) Free(ctx context.Context, vmid int) (bool, error) {
	var id text
	err := c.get(ctx, "/cluster/nextid", params{"vmid": strconv.Itoa(vmid)}, &id)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status == 400 && strings.Contains(e.Params["vmid"], "already exists"):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("asking whether VM %d is free: %w", vmid, err)
	case string(id) != strconv.Itoa(vmid):
		return false, kvm.Errorf(kvm.ErrUnreachable, "asking whether VM %d is free: the answer is about %.20q", vmid, id)
	}
	return true, nil
}

// Nodes are the cluster's nodes, by name, by an answer that is at most Options.SnapshotAge old. FreeRAM is 0 where the
// token may not see it (Sys.Audit on the node). The list is shared: it must not be changed.
func (c *Client) Nodes(ctx context.Context) ([]kvm.Node, error) {
	return c.nodes.get(ctx, c.clock.Now, c.age, c.readNodes)
}

func (c *Client) readNodes(ctx context.Context) ([]kvm.Node, error) {
	var rows []struct {
		Node   text    `json:"node"`
		Status text    `json:"status"`
		Mem    integer `json:"mem"`
		MaxMem integer `json:"maxmem"`
	}
	if err := c.get(ctx, "/nodes", nil, &rows); err != nil {
		return nil, err
	}
	out := make([]kvm.Node, 0, len(rows))
	for _, r := range rows {
		out = append(out, kvm.Node{Name: string(r.Node), Online: r.Status == "online", FreeRAM: max(0, int64(r.MaxMem-r.Mem))})
	}
	slices.SortFunc(out, func(a, b kvm.Node) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Storages are the enabled ones that node sees and that may hold VM disks, by an answer that is at most
// Options.SnapshotAge old. Those that the token may not see are missing without an error. The list is shared.
func (c *Client) Storages(ctx context.Context, node string) ([]kvm.Storage, error) {
	return c.stores.of(node).get(ctx, c.clock.Now, c.age, func(ctx context.Context) ([]kvm.Storage, error) { return c.storages(ctx, node, "images") })
}

func (c *Client) storages(ctx context.Context, node, content string) ([]kvm.Storage, error) {
	var rows []struct {
		Storage text    `json:"storage"`
		Type    text    `json:"type"`
		Content text    `json:"content"`
		Shared  flag    `json:"shared"`
		Active  flag    `json:"active"`
		Avail   integer `json:"avail"`
	}
	if err := c.get(ctx, path("nodes", node, "storage"), params{"content": content, "enabled": "1"}, &rows); err != nil {
		return nil, fmt.Errorf("the storages of node %s: %w", node, err)
	}
	byName := make(map[string]kvm.Storage, len(rows))
	for _, r := range rows {
		byName[string(r.Storage)] = kvm.Storage{Name: string(r.Storage), Type: string(r.Type), Shared: bool(r.Shared), Active: bool(r.Active),
			Images: slices.Contains(strings.Split(string(r.Content), ","), "images"), Avail: int64(r.Avail)}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b kvm.Storage) int { return strings.Compare(a.Name, b.Name) }), nil
}

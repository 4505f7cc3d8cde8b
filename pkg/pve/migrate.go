package pve

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// MigrateCheck says why the stopped VM cannot go to node, or "". A storage that the node lacks is no reason, for a
// migration may name another one; that one and everything that only copying shows is refused by the task.
func (c *Client) MigrateCheck(ctx context.Context, o kvm.Owned, node string) (string, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	var data struct {
		Running   flag   `json:"running"`
		Resources []text `json:"local_resources"`
		Disks     []struct {
			Volume text `json:"volid"`
			CD     flag `json:"cdrom"`
		} `json:"local_disks"`
		NotAllowed dict[dict[any]] `json:"not_allowed_nodes"`
	}
	if err := c.get(ctx, guest(vm, "migrate"), params{"target": node}, &data); err != nil {
		return "", onVM(vm, "checking the migration to "+node, err)
	}
	var why []string
	if data.Running {
		why = append(why, "it is running")
	}
	for _, r := range data.Resources {
		why = append(why, fmt.Sprintf("it uses the local resource %s", r))
	}
	for _, d := range data.Disks {
		if bool(d.CD) && !(drive{volume: string(d.Volume)}).cloudInit() {
			why = append(why, fmt.Sprintf("the image %s in its CD drive is on a local storage", d.Volume))
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(data.NotAllowed[node])) {
		if reason != "unavailable_storages" {
			why = append(why, strings.NewReplacer("_", " ", "-", " ").Replace(reason))
		}
	}
	return strings.Join(why, "; "), nil
}

// Migrate starts the move of the stopped VM; storage "" keeps the storage's name. Local disks are copied.
func (c *Client) Migrate(ctx context.Context, o kvm.Owned, node, storage string) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	p := params{"target": node}
	if storage != "" {
		p["targetstorage"] = storage
	}
	id, err := c.task(ctx, http.MethodPost, guest(vm, "migrate"), p)
	return id, onVM(vm, "migrating to "+node, err)
}

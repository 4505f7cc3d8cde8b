package pve

import (
	"context"
	"net/http"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Delete destroys the stopped VM with its disks, snapshots and firewall, and takes it out of backup jobs, replication and
// high availability. Backups stay. Volumes that its configuration does not name stay too: on a storage of several clusters
// they may be another's.
//
// kvm.ErrPermanent: it is protected, or linked clones need it. kvm.ErrState: it runs. kvm.ErrNotHere: this node has no such
// VM. Each of these, and a lock (kvm.ErrBusy), may be said at once or by the task.
func (c *Client) Delete(ctx context.Context, o kvm.Owned) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	id, err := c.task(ctx, http.MethodDelete, guest(vm), params{"purge": bit(true)})
	return id, onVM(vm, "deleting", err)
}

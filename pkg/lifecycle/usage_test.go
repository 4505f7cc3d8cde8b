package lifecycle_test

import (
	"errors"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestUsage: the charts are the VM's own, and shown of no other that has its VMID, nor of none.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version)
		l := w.start(nil).life
		id := w.order()
		if _, err := l.Usage(t.Context(), w.service(id), "hour"); !errors.Is(err, kvm.ErrRefused) || w.sim.Counts()["GET /nodes/{node}/qemu/{vmid}/rrddata"] != 0 {
			t.Errorf("%s: before there is one: %v", version, err)
		}
		w.reach(id, allRows)
		points, err := l.Usage(t.Context(), w.service(id), "hour")
		if err != nil || len(points) < 50 {
			t.Errorf("%s: %d points, %v", version, len(points), err)
		}
		asked := w.sim.Counts()["GET /nodes/{node}/qemu/{vmid}/rrddata"]
		w.configure(id, map[string]string{"smbios1": "uuid=5ad5ad5a-0000-4000-8000-00000000beef"})
		if _, err := l.Usage(t.Context(), w.service(id), "hour"); !errors.Is(err, kvm.ErrForeign) || w.sim.Counts()["GET /nodes/{node}/qemu/{vmid}/rrddata"] != asked {
			t.Errorf("%s: of another's VM: %v", version, err)
		}
		w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_uuid = '', vm_uuids = NULL, queued_at = NULL WHERE service_id = ?", id)
		if _, err := l.Usage(t.Context(), w.service(id), "hour"); !errors.Is(err, kvm.ErrUnproved) || kvm.Hint(err) == "" {
			t.Errorf("%s: of one that was never adopted: %v", version, err)
		}
	}
}

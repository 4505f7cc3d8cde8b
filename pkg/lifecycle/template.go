package lifecycle

import (
	"context"
	"fmt"
	"sync"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// templates remembers the templates that were found good, for the life of the process.
type templates struct {
	mu    sync.Mutex
	known map[templateKey]*lookup
}

type templateKey struct {
	server int64
	vmid   int
}

// lookup is one template: of those who want it one looks, the others wait.
type lookup struct {
	turn chan struct{}
	good *template // nil = not yet
}

// template is a template that VMs can be cloned from.
type template struct {
	vm     *kvm.VM
	shared map[string]bool // the storages of its node that other nodes share
}

func newTemplates() *templates { return &templates{known: map[templateKey]*lookup{}} }

// get is the product's template, checked: it exists, is a template, and can tell the guest its addresses.
func (t *templates) get(ctx context.Context, c Cluster, s *kvm.Service) (*template, error) {
	key := templateKey{s.Row.ServerID, templateOf(s)}
	t.mu.Lock()
	x := t.known[key]
	if x == nil {
		x = &lookup{turn: make(chan struct{}, 1)}
		t.known[key] = x
	}
	t.mu.Unlock()
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if x.good != nil {
		return x.good, nil
	}
	vm, err := findTemplate(ctx, c, s)
	if err != nil {
		return nil, err
	}
	stores, err := c.Storages(ctx, vm.Node)
	if err != nil {
		return nil, err
	}
	x.good = &template{vm: vm, shared: map[string]bool{}}
	for _, st := range stores {
		x.good.shared[st.Name] = st.Shared
	}
	return x.good, nil
}

// templateOf is the VMID of the template that s is made from: the one that was chosen, else the package's.
func templateOf(s *kvm.Service) int {
	if s.Row.Template != 0 {
		return s.Row.Template
	}
	return s.Package.Template
}

// findTemplate reads and checks the product's template.
func findTemplate(ctx context.Context, c Cluster, s *kvm.Service) (*kvm.VM, error) {
	vmid := templateOf(s)
	hint := func(err error) error {
		if s.Row.Template != 0 {
			return kvm.WithHint(err, "puqkvm reinstall %d --template VMID --confirm REINSTALL, or mend the template in Proxmox", s.ID)
		}
		return kvm.WithHint(err, "puqkvm product set %d template=VMID, or mend the template in Proxmox", s.ProductID)
	}
	if vmid == 0 {
		return nil, hint(kvm.Errorf(kvm.ErrInvalid, "product %d: no template is set", s.ProductID))
	}
	places, err := c.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("template %d: %w", vmid, err)
	}
	place, found := places[vmid]
	if !found {
		return nil, hint(kvm.Errorf(kvm.ErrNotFound, "template %d%s is not in the cluster, or the token may not see it", vmid, from(s)))
	}
	vm, err := c.VM(ctx, place.Node, vmid)
	switch {
	case err != nil:
		return nil, fmt.Errorf("template %d: %w", vmid, err)
	case !vm.Template:
		return nil, hint(kvm.Errorf(kvm.ErrInvalid, "VM %d%s is no template", vmid, from(s)))
	case vm.CloudDrive == "":
		return nil, hint(kvm.Errorf(kvm.ErrInvalid, "template %d%s has no cloud-init drive", vmid, from(s)))
	case vm.NIC == nil:
		return nil, hint(kvm.Errorf(kvm.ErrInvalid, "template %d%s has no network device net0", vmid, from(s)))
	case vm.SystemSlot == "":
		return nil, hint(kvm.Errorf(kvm.ErrInvalid, "template %d%s has no disk", vmid, from(s)))
	}
	return vm, nil
}

// from says, in brackets, who chose the template.
func from(s *kvm.Service) string {
	if s.Row.Template != 0 {
		return " (chosen for the reinstallation)"
	}
	return fmt.Sprintf(" (setting template of product %d)", s.ProductID)
}

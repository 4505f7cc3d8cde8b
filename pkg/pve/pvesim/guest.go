package pvesim

import (
	"fmt"
	"maps"
)

// VM is a VM to put into the cluster.
type VM struct {
	VMID    int
	Node    string
	Name    string
	Storage string // of the disk and the cloud-init drive
	DiskGiB int    // 0: no disk
	Slot    string // of the disk; empty means scsi0
	Format  string // on file systems; empty means qcow2
	// CloudInit adds a cloud-init drive at ide2.
	CloudInit bool
	Cores     int    // 0 means 1
	Memory    int    // MiB; 0 means 512
	Bridge    string // of net0; empty means vmbr0
	Running   bool
	// Container makes it an LXC container, which has its VMID and its row in the cluster's list; no call is about it.
	Container bool
	// Config adds options as they stand in the file, or replaces the above.
	Config map[string]string
}

// Template is a VM that is a template.
type Template VM

// AddTemplate puts a template into the cluster.
func (c *Cluster) AddTemplate(t Template) error {
	c.lock()
	defer c.mu.Unlock()
	m, err := c.place(VM(t))
	if err != nil {
		return err
	}
	c.convert(m, "")
	m.stat.template = true
	return nil
}

// AddVM puts a VM into the cluster, also beside a running client: a foreign VM at a VMID, say.
func (c *Cluster) AddVM(v VM) error {
	c.lock()
	defer c.mu.Unlock()
	m, err := c.place(v)
	if err != nil {
		return err
	}
	if v.Running {
		c.generate(m)
		c.powerOn(m)
	}
	return nil
}

func (c *Cluster) place(v VM) (*vm, error) {
	if c.vms[v.VMID] != nil {
		return nil, fmt.Errorf("VM %d exists already", v.VMID)
	}
	if c.node(v.Node) == nil {
		return nil, fmt.Errorf("VM %d: there is no node %q", v.VMID, v.Node)
	}
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	m := newVM(v.VMID, v.Node)
	m.container = v.Container
	m.born = c.now
	m.conf = map[string]string{
		"cores": fmt.Sprint(max(1, v.Cores)), "memory": fmt.Sprint(v.Memory), "ostype": "l26", "scsihw": "virtio-scsi-pci",
		"smbios1": "uuid=" + c.uuid(), "vmgenid": c.uuid(), "meta": fmt.Sprintf("creation-qemu=%s,ctime=%d", c.qemu(), c.now.Unix()),
		"net0": c.printNet("net0", "virtio,bridge="+or(v.Bridge, "vmbr0")),
	}
	if v.Memory == 0 {
		m.conf["memory"] = "512"
	}
	if v.Name != "" {
		m.conf["name"] = v.Name
	}
	s := c.storage(v.Storage)
	if (v.DiskGiB > 0 || v.CloudInit) && (s == nil || !s.on(v.Node)) {
		return nil, fmt.Errorf("VM %d: node %s has no storage %q", v.VMID, v.Node, v.Storage)
	}
	if v.DiskGiB > 0 {
		size := int64(v.DiskGiB) << 30
		made, err := c.create(s, v.Node, v.VMID, c.freeLeaf(s, v.Node, v.VMID), or(v.Format, "qcow2"), size, size, nil)
		if err != nil {
			return nil, err
		}
		slot := or(v.Slot, "scsi0")
		m.conf[slot] = printDrive(properties{"file": made.id(), "size": formatSize(size)})
		m.conf["boot"] = "order=" + slot
	}
	if v.CloudInit {
		value, err := c.allocate(m, "ide2", v.Storage+":cloudinit")
		if err != nil {
			return nil, err
		}
		m.conf["ide2"] = value
		m.conf["serial0"], m.conf["vga"] = "socket", "serial0"
	}
	maps.Copy(m.conf, v.Config)
	c.vms[v.VMID] = m
	stat := c.observe(m)
	m.stat = &stat
	return m, nil
}

// TwoNodes is a cluster that is ready to use: nodes pve1 and pve2, the storages local (dir, ISO images), local-lvm
// (lvmthin) and shared (nfs), the template 9000 (debian-12, 2 GiB, cloud-init) on pve1 at local-lvm, the user root@pam
// with the password "secret", and the token root@pam!whmcs with the secret TwoNodesSecret.
func TwoNodes(opts Options) (*Cluster, error) {
	c, err := New(opts)
	if err != nil {
		return nil, err
	}
	c.AddNode(Node{Name: "pve1", CPUs: 8, Memory: 64 << 30})
	c.AddNode(Node{Name: "pve2", CPUs: 8, Memory: 64 << 30})
	c.AddStorage(Storage{ID: "local", Type: "dir", Content: "iso,backup,vztmpl,snippets", Size: 100 << 30})
	c.AddStorage(Storage{ID: "local-lvm", Type: "lvmthin", Content: "images,rootdir", Size: 1 << 40})
	c.AddStorage(Storage{ID: "shared", Type: "nfs", Content: "images,backup,iso", Size: 4 << 40})
	c.AddUser("root@pam", "secret")
	c.AddToken("root@pam!whmcs", TwoNodesSecret, false)
	return c, c.AddTemplate(Template{VMID: 9000, Node: "pve1", Name: "debian-12", Storage: "local-lvm", DiskGiB: 2,
		CloudInit: true, Cores: 1, Memory: 1024, Config: map[string]string{"agent": "1"}})
}

// TwoNodesSecret is the secret of the token that TwoNodes makes.
const TwoNodesSecret = "5b1f7d36-0d5c-4f0a-9f5e-3f6a7c2d1e90"

package pvesim

import "fmt"

// FirstTemplate is the VMID of the template on the first node of a cluster that Nodes makes; the next node's is one higher.
const FirstTemplate = 9001

// Nodes is a cluster of n nodes that is ready to use, as a provider has it who sells one machine like the other: pve1 to
// pveN, each with the storage local (dir, of its own) and one template there (debian-12, 2 GiB, cloud-init, VMID
// FirstTemplate and up), the user and the token of TwoNodes.
func Nodes(opts Options, n int) (*Cluster, error) {
	c, err := New(opts)
	if err != nil {
		return nil, err
	}
	for i := range n {
		c.AddNode(Node{Name: fmt.Sprintf("pve%d", i+1), CPUs: 64, Memory: 1 << 40, Address: fmt.Sprintf("198.51.100.%d", i+1)})
	}
	c.AddStorage(Storage{ID: "local", Type: "dir", Content: "images,iso,backup,vztmpl,snippets", Size: 64 << 40})
	c.AddUser("root@pam", "secret")
	c.AddToken("root@pam!whmcs", TwoNodesSecret, false)
	for i := range n {
		err := c.AddTemplate(Template{VMID: FirstTemplate + i, Node: fmt.Sprintf("pve%d", i+1), Name: "debian-12", Storage: "local",
			DiskGiB: 2, CloudInit: true, Cores: 1, Memory: 1024, Config: map[string]string{"agent": "1"}})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

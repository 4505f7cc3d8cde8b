package pvesim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stat is what pvestatd knows of a VM.
type stat struct {
	name, power     string
	template        bool
	maxCPU          int
	maxMem, maxDisk int64
	mem, uptime     int64
	netIn, netOut   int64
}

// observe is m's stat of now.
func (c *Cluster) observe(m *vm) stat {
	s := stat{name: m.name(), power: "stopped", template: m.template(), maxCPU: m.cpus(), maxMem: m.memory()}
	if m.running {
		s.power, s.mem, s.uptime = "running", s.maxMem/4, int64(c.now.Sub(m.since).Seconds())
	}
	s.netIn, s.netOut = m.carried(c.now)
	for _, k := range driveSlots {
		if v, ok := m.conf[k]; ok {
			if d := c.drive(k, v); !isCD(d) {
				s.maxDisk = parseSize(d["size"])
				break
			}
		}
	}
	return s
}

// broadcast is pvestatd: at each full interval every node tells the cluster about its VMs. Only the last one up to now
// counts, since nothing has changed in between. The mutex is held.
func (c *Cluster) broadcast(now time.Time) {
	every := c.model.Broadcast
	if every > 0 && now.Sub(c.lastBroadcast) < every {
		return
	}
	if every > 0 {
		c.lastBroadcast = c.lastBroadcast.Add(now.Sub(c.lastBroadcast).Truncate(every))
		if c.lastBroadcast.After(c.now) {
			c.now = c.lastBroadcast
		}
		for _, m := range c.vms {
			if n := c.node(m.node); n != nil && !n.down {
				s := c.observe(m)
				m.stat = &s
			}
		}
	}
}

// known is what the cluster knows of a VM, or nil when it has not heard of it yet.
func (c *Cluster) known(m *vm) *stat {
	if n := c.node(m.node); n == nil || n.down {
		return nil
	}
	if c.model.Broadcast <= 0 {
		s := c.observe(m)
		return &s
	}
	return m.stat
}

func (r *request) resources() (any, error) {
	c, kind := r.c, r.str("type")
	rows := []object{}
	if kind == "" || kind == "vm" {
		for _, m := range c.sortedVMs() {
			if r.may(fmt.Sprintf("/vms/%d", m.vmid), "VM.Audit") {
				rows = append(rows, c.vmRow(m))
			}
		}
	}
	if kind == "" || kind == "node" {
		for _, n := range c.nodes {
			rows = append(rows, r.nodeRow(n, true))
		}
	}
	if kind == "" || kind == "storage" {
		rows = append(rows, r.storageResources()...)
	}
	if kind == "" || kind == "sdn" {
		for _, n := range c.nodes {
			if r.may("/sdn/zones/localnetwork", "SDN.Audit", "SDN.Use", "SDN.Allocate") {
				rows = append(rows, c.zoneRow(n))
			}
		}
	}
	return rows, nil
}

// vmRow is a VM in the cluster's list: its node and lock are those of the file system, the rest is what pvestatd said.
func (c *Cluster) vmRow(m *vm) object {
	row := object{"id": fmt.Sprintf("qemu/%d", m.vmid), "type": "qemu", "vmid": m.vmid, "node": m.node, "status": "unknown"}
	if m.container {
		row["id"], row["type"] = fmt.Sprintf("lxc/%d", m.vmid), "lxc"
	}
	if l := m.conf["lock"]; l != "" {
		row["lock"] = l
	}
	if t := m.conf["tags"]; t != "" {
		row["tags"] = t
	}
	if m.pool != "" {
		row["pool"] = m.pool
	}
	s := c.known(m)
	if s == nil {
		return row
	}
	row["status"], row["name"], row["template"] = s.power, s.name, flag(s.template)
	row["maxcpu"], row["cpu"], row["maxmem"], row["mem"] = s.maxCPU, 0, s.maxMem, s.mem
	row["maxdisk"], row["disk"], row["uptime"] = s.maxDisk, 0, s.uptime
	row["netin"], row["netout"], row["diskread"], row["diskwrite"] = s.netIn, s.netOut, 0, 0
	if c.major >= 9 {
		row["memhost"] = s.mem
	}
	return row
}

func (c *Cluster) sortedVMs() []*vm {
	list := make([]*vm, 0, len(c.vms))
	for _, m := range c.vms {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *vm) int { return a.vmid - b.vmid })
	return list
}

// nodeRow is a node; its usage is for those who may see it.
func (r *request) nodeRow(n *node, inResources bool) object {
	row := object{"id": "node/" + n.Name, "type": "node", "node": n.Name, "status": "online", "level": ""}
	if inResources && r.c.major >= 8 {
		row["cgroup-mode"] = 2
	}
	if n.down {
		row["status"] = "offline"
	}
	if !inResources && r.c.fingerprint != "" {
		row["ssl_fingerprint"] = r.c.fingerprint
	}
	if n.down || !r.may("/nodes/"+n.Name, "Sys.Audit") {
		return row
	}
	var mem int64 = 1 << 30
	for _, m := range r.c.vms {
		if m.node == n.Name && m.running {
			mem += m.memory()
		}
	}
	row["maxcpu"], row["cpu"], row["maxmem"], row["mem"] = n.CPUs, 0.02, n.Memory, mem
	row["maxdisk"], row["disk"] = int64(100<<30), int64(8<<30)
	row["uptime"] = int64(r.c.now.Sub(r.c.booted).Seconds()) + bootTicks/100
	return row
}

func (r *request) storageResources() []object {
	c, rows := r.c, []object{}
	for _, n := range c.nodes {
		for _, s := range c.storages {
			if !s.on(n.Name) || s.Off || !r.may("/storage/"+s.ID, "Datastore.Audit", "Datastore.AllocateSpace") {
				continue
			}
			row := object{"id": "storage/" + n.Name + "/" + s.ID, "type": "storage", "storage": s.ID, "node": n.Name,
				"status": "available", "content": s.Content, "shared": flag(s.Shared), "plugintype": s.Type,
				"disk": c.used(s, n.Name), "maxdisk": s.Size}
			if n.down {
				row["status"] = "unknown"
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// zoneRow is the zone of plain bridges: an sdn row up to 9.0, a network row from 9.1 on.
func (c *Cluster) zoneRow(n *node) object {
	row := object{"id": "sdn/" + n.Name + "/localnetwork", "type": "sdn", "sdn": "localnetwork", "node": n.Name, "status": "ok"}
	if c.atLeast(9, 1) {
		row = object{"id": "network/" + n.Name + "/zone/localnetwork", "type": "network", "network": "localnetwork",
			"network-type": "zone", "node": n.Name, "status": "ok"}
	}
	if n.down {
		row["status"] = "unknown"
	}
	return row
}

func (r *request) nextID() (any, error) {
	if want := r.vmid(); want != 0 {
		if r.c.vms[want] != nil {
			return nil, badParam("vmid", fmt.Sprintf("VM %d already exists", want))
		}
		return strconv.Itoa(want), nil
	}
	for id := 100; id < 1000000; id++ {
		if r.c.vms[id] == nil {
			return strconv.Itoa(id), nil
		}
	}
	return nil, failure("unable to get any free VMID in range [100,1000000]")
}

func (r *request) nodeList() (any, error) {
	rows := []object{}
	for _, n := range r.c.nodes {
		rows = append(rows, r.nodeRow(n, false))
	}
	return rows, nil
}

// clusterStatus has a row for the cluster only where there is one: a single node has none.
func (r *request) clusterStatus() (any, error) {
	c, rows := r.c, []object{}
	if len(c.nodes) > 1 {
		rows = append(rows, object{"id": "cluster", "type": "cluster", "name": c.opts.Name, "nodes": len(c.nodes),
			"quorate": flag(!c.quorumLost), "version": len(c.nodes)})
	}
	for i, n := range c.nodes {
		id := n.id
		if len(c.nodes) == 1 {
			id = 0
		}
		rows = append(rows, object{"id": "node/" + n.Name, "type": "node", "name": n.Name, "ip": n.Address, "nodeid": id,
			"online": flag(!n.down), "local": flag(i == 0), "level": ""})
	}
	return rows, nil
}

// haResource is what other clients ask of each VM. No VM here is under high availability.
func (r *request) haResource() (any, error) {
	sid := r.str("sid")
	if !strings.Contains(sid, ":") {
		sid = "vm:" + sid
	}
	return nil, failure("no such resource '%s'", sid)
}

func (r *request) version() (any, error) {
	return object{"version": r.c.opts.Version, "release": r.c.release(), "repoid": repoID}, nil
}

func (r *request) clusterFirewall() (any, error) {
	text := ""
	doc := object{}
	for _, k := range sortedKeys(r.c.dcFirewall) {
		v := r.c.dcFirewall[k]
		text += k + ": " + v + "\n"
		doc[k] = v
		if n, err := strconv.Atoi(v); err == nil {
			doc[k] = n
		}
	}
	doc["digest"] = digestOf(text)
	return doc, nil
}

// network are the node's bridges; it has no other interfaces.
func (r *request) network() (any, error) {
	rows := []object{}
	want := r.str("type")
	if want != "" && want != "bridge" && want != "any_bridge" && want != "any_local_bridge" && want != "include_sdn" {
		return rows, nil
	}
	n := r.c.node(r.str("node"))
	for i, b := range n.Bridges {
		at := fmt.Sprintf("/sdn/zones/localnetwork/%s", b)
		if r.c.major >= 8 && !r.may("/nodes/"+n.Name, "Sys.Audit") && !r.may(at, "SDN.Audit", "SDN.Use") {
			continue
		}
		row := object{"iface": b, "type": "bridge", "active": 1, "autostart": 1, "method": "manual", "method6": "manual",
			"bridge_ports": "", "bridge_stp": "off", "bridge_fd": "0", "families": []string{"inet"}, "priority": i + 3}
		if i == 0 {
			row["method"], row["address"], row["netmask"], row["cidr"] = "static", n.Address, "24", n.Address+"/24"
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// vmList are the VMs of one node as it sees them now.
func (r *request) vmList() (any, error) {
	rows := []object{}
	for _, m := range r.c.sortedVMs() {
		if m.node == r.str("node") && !m.container && r.may(fmt.Sprintf("/vms/%d", m.vmid), "VM.Audit") {
			rows = append(rows, r.c.status(m, false))
		}
	}
	return rows, nil
}

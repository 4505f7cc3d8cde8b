package pvesim

import (
	"fmt"
	"slices"
)

// pool is the check that a pool exists, which is a matter of permissions in PVE.
func (r *request) pool() error {
	if p := r.str("pool"); p != "" && !r.c.pools[p] {
		return deniedBare(fmt.Sprintf(" (pool '%s' does not exist)", p))
	}
	return nil
}

// poolList has every pool that the caller may see, or just the one that is asked for, with its members.
func (r *request) poolList() (any, error) {
	rows := []object{}
	only := r.str("poolid")
	if only != "" && !r.c.pools[only] {
		return nil, failure("pool '%s' does not exist", only)
	}
	for _, p := range sortedKeys(r.c.pools) {
		if only != "" && only != p || !r.may("/pool/"+p, "Pool.Audit", "Pool.Allocate") {
			continue
		}
		row := object{"poolid": p}
		if text := r.c.poolComments[p]; text != "" {
			row["comment"] = text
		}
		if only != "" {
			row["members"] = r.c.members(p)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (r *request) readPool() (any, error) {
	p := r.str("poolid")
	if !r.c.pools[p] {
		return nil, failure("pool '%s' does not exist", p)
	}
	doc := object{"members": r.c.members(p)}
	if text := r.c.poolComments[p]; text != "" {
		doc["comment"] = text
	}
	return doc, nil
}

// members are a pool's VMs as the cluster's list shows them.
func (c *Cluster) members(pool string) []object {
	rows := []object{}
	for _, m := range c.sortedVMs() {
		if m.pool == pool {
			rows = append(rows, c.vmRow(m))
		}
	}
	return rows
}

func (r *request) createPool() (any, error) {
	p := r.str("poolid")
	if r.c.pools[p] {
		return nil, failure("create pool failed: pool '%s' already exists", p)
	}
	r.c.pools[p], r.c.poolComments[p] = true, r.str("comment")
	return nil, nil
}

// deletePool refuses a pool that has members.
func (r *request) deletePool() (any, error) {
	c, p := r.c, r.str("poolid")
	if !c.pools[p] {
		return nil, failure("delete pool failed: pool '%s' does not exist", p)
	}
	list := c.sortedVMs()
	if i := slices.IndexFunc(list, func(m *vm) bool { return m.pool == p }); i >= 0 {
		return nil, failure("delete pool failed: pool '%s' is not empty (contains VM %d)", p, list[i].vmid)
	}
	delete(c.pools, p)
	delete(c.poolComments, p)
	return nil, nil
}

package pvesim

import "fmt"

// The datacenter's firewall is kept like a VM's, under VMID 0: its sets and aliases serve every VM's rules. Its options
// stand by themselves (SetDatacenterFirewall). Security groups are known by name only: rules that use one are accepted
// whether it is there or not, as PVE does it.

func (r *request) groupList() (any, error) {
	f, rows := r.firewallOf(), []object{}
	for _, name := range sortedKeys(f.groups) {
		row := object{"group": name, "digest": f.digest()}
		if text := f.groups[name]; text != "" {
			row["comment"] = text
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// createGroup makes a group, or with rename changes one's name and comment.
func (r *request) createGroup() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	name, old := r.str("group"), r.str("rename")
	_, exists := f.groups[name]
	if old == "" {
		if exists {
			return nil, badParam("group", fmt.Sprintf("Security group '%s' already exists", name))
		}
		f.groups[name] = r.str("comment")
		return nil, nil
	}
	comment, found := f.groups[old]
	switch {
	case !found:
		return nil, badParam("group", fmt.Sprintf("Security group '%s' does not exist", old))
	case exists && name != old:
		return nil, badParam("group", fmt.Sprintf("Security group '%s' already exists", name))
	case r.has("comment"):
		comment = r.str("comment")
	}
	delete(f.groups, old)
	f.groups[name] = comment
	return nil, nil
}

// deleteGroup is content with a group that is not there.
func (r *request) deleteGroup() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	delete(f.groups, r.str("group"))
	return nil, nil
}

package pvesim

import (
	"fmt"
	"strings"
)

// storageConfigs are the entries of storage.cfg.
func (r *request) storageConfigs() (any, error) {
	rows := []object{}
	for _, s := range r.c.storages {
		if (!r.has("type") || r.str("type") == s.Type) && r.may("/storage/"+s.ID, "Datastore.Audit", "Datastore.AllocateSpace", "Datastore.Allocate") {
			rows = append(rows, r.c.storageConfig(s))
		}
	}
	return rows, nil
}

func (r *request) readStorage() (any, error) {
	s := r.c.storage(r.str("storage"))
	if s == nil {
		return nil, failure("storage '%s' does not exist", r.str("storage"))
	}
	return r.c.storageConfig(s), nil
}

func (c *Cluster) storageConfig(s *Storage) object {
	var all strings.Builder
	for _, s := range c.storages {
		fmt.Fprintf(&all, "%+v\n", *s)
	}
	row := object{"storage": s.ID, "type": s.Type, "content": s.Content, "digest": digestOf(all.String())}
	if s.files() {
		row["path"] = s.Path
	}
	if s.Prune != "" {
		row["prune-backups"] = s.Prune
	}
	if s.Nodes != nil {
		row["nodes"] = strings.Join(s.Nodes, ",")
	}
	if s.Shared && s.Type == "dir" {
		row["shared"] = 1
	}
	if s.Off {
		row["disable"] = 1
	}
	return row
}

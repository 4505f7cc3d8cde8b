package pve

import (
	"context"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Standing asks the cluster for its name, its quorum and its nodes, each time anew. A node without a cluster is quorate. It
// needs Sys.Audit on /.
func (c *Client) Standing(ctx context.Context) (kvm.Standing, error) {
	var rows []struct {
		Type    text  `json:"type"`
		Name    text  `json:"name"`
		Quorate flag  `json:"quorate"`
		Online  *flag `json:"online"` // nil = the cluster does not say
	}
	if err := c.get(ctx, "/cluster/status", nil, &rows); err != nil {
		return kvm.Standing{}, err
	}
	var s kvm.Standing
	var nodes []string
	alone := true
	for _, r := range rows {
		switch r.Type {
		case "cluster":
			alone, s.Cluster, s.Quorate = false, string(r.Name), bool(r.Quorate)
		case "node":
			nodes = append(nodes, string(r.Name))
			if r.Online != nil && !bool(*r.Online) {
				s.Offline = append(s.Offline, string(r.Name))
			}
		}
	}
	if alone && len(nodes) == 1 && nodes[0] != "" {
		s.Cluster, s.Quorate = "node "+nodes[0], true
	}
	if s.Cluster == "" {
		return kvm.Standing{}, kvm.Errorf(kvm.ErrUnreachable, "GET /cluster/status: the answer names neither a cluster nor one node")
	}
	slices.Sort(s.Offline)
	return s, nil
}

// ClusterName is the Cluster of Standing, asked for once in the Client's life.
func (c *Client) ClusterName(ctx context.Context) (string, error) {
	return c.name.get(ctx, c.clock.Now, 1<<62, func(ctx context.Context) (string, error) {
		s, err := c.Standing(ctx)
		return s.Cluster, err
	})
}

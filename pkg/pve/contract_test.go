package pve_test

import (
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pve"
)

// The client is what the pipelines ask for.
var _ lifecycle.Cluster = (*pve.Client)(nil)

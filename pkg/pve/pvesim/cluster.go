package pvesim

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// Options are what a cluster is made of.
type Options struct {
	// Version is what GET /version says ("7.4-17", "8.4.21", "9.2.4"); it decides which parameters exist and how errors
	// look. Empty means 8.4.21.
	Version string
	// Clock is the cluster's time; nil means the wall clock.
	Clock clock.Clock
	// Model is how long things take; nil means SmallMachine. It is not copied and must not change.
	Model *Model
	// Seed makes MAC addresses, UUIDs and the faults' rates repeatable.
	Seed uint64
	// Name is the cluster's name in GET /cluster/status; empty means "sim".
	Name string
	// OldAuthTexts gives 401 the specific reasons of pve-manager before 8.4.17 and 9.1.5.
	OldAuthTexts bool
	// LogLimit is how many requests the log keeps; 0 means 10000.
	LogLimit int
}

// Cluster is a simulated cluster. Make one with New.
type Cluster struct {
	opts          Options
	clock         clock.Clock
	model         *Model
	major, minor  int
	schemaVersion string
	endpoints     []*endpoint
	config        map[string]*param // of PUT config
	fingerprint   string
	certificate   string // PEM
	booted        time.Time
	daemons       map[string]*daemon // by node; written before serving only
	faults        faults
	journal       journal
	mu            sync.Mutex
	now           time.Time // the moment that is being worked at
	lastBroadcast time.Time
	seq           uint64
	pid           int
	events        eventQueue
	locks         map[string]*flock
	rng           *rand.Rand
	nodes         []*node
	storages      []*Storage
	volumes       map[volumeKey]*volume
	vms           map[int]*vm
	pools         map[string]bool
	poolComments  map[string]string
	firewalls     map[int]*firewall
	dcFirewall    map[string]string
	quorumLost    bool
	tasks         []*task
	running       int // tasks that have not ended
	byUPID        map[string]*task
	users         map[string]*user
	all           []string // privileges of the version
	tickets       map[string]*ticket
}

// Node is a node of the cluster.
type Node struct {
	Name    string
	CPUs    int
	Memory  int64    // bytes
	Bridges []string // nil means vmbr0
	Address string   // empty: one is made up
	// Nameservers are those of the node's resolv.conf: cloud-init gives them to VMs that have none of their own.
	Nameservers []string
}

type node struct {
	Node
	id   int
	down bool
}

// New makes a cluster without nodes, storages, users.
func New(opts Options) (*Cluster, error) {
	if opts.Version == "" {
		opts.Version = "8.4.21"
	}
	m := pattern.New(`^([789])\.(\d+)(?:[.-]\d+)?$`).FindStringSubmatch(opts.Version)
	if m == nil {
		return nil, fmt.Errorf("PVE version %q: want 7.x, 8.x or 9.x, like 8.4.21", opts.Version)
	}
	if opts.Clock == nil {
		opts.Clock = clock.Wall{}
	}
	if opts.Model == nil {
		opts.Model = SmallMachine()
	}
	if opts.Name == "" {
		opts.Name = "sim"
	}
	if opts.LogLimit == 0 {
		opts.LogLimit = 10000
	}
	now := opts.Clock.Now()
	c := &Cluster{
		opts: opts, clock: opts.Clock, model: opts.Model, booted: now, now: now, lastBroadcast: now,
		pid: 0x700, rng: rand.New(rand.NewPCG(opts.Seed, 0x9e3779b97f4a7c15)), daemons: map[string]*daemon{},
		locks: map[string]*flock{}, volumes: map[volumeKey]*volume{}, vms: map[int]*vm{}, pools: map[string]bool{}, poolComments: map[string]string{},
		firewalls: map[int]*firewall{}, dcFirewall: map[string]string{}, byUPID: map[string]*task{},
		users: map[string]*user{}, tickets: map[string]*ticket{},
	}
	c.major, _ = strconv.Atoi(m[1])
	c.minor, _ = strconv.Atoi(m[2])
	switch {
	case c.major == 7:
		c.schemaVersion = "7.4"
	case c.major == 8:
		c.schemaVersion = "8.4"
	case c.minor < 2:
		c.schemaVersion = "9.1"
	default:
		c.schemaVersion = "9.2"
	}
	c.faults.rng = rand.New(rand.NewPCG(opts.Seed, 0xda3e39cb94b95bdb))
	c.journal.limit = opts.LogLimit
	c.journal.counts = map[string]int{}
	c.all = c.allPrivileges()
	if err := c.loadEndpoints(); err != nil {
		return nil, err
	}
	return c, nil
}

// AddNode adds a node. Nodes, storages and users are added before the cluster serves.
func (c *Cluster) AddNode(n Node) {
	c.lock()
	defer c.mu.Unlock()
	if n.Bridges == nil {
		n.Bridges = []string{"vmbr0"}
	}
	if n.CPUs == 0 {
		n.CPUs = 2
	}
	if n.Memory == 0 {
		n.Memory = 16 << 30
	}
	if n.Address == "" {
		n.Address = fmt.Sprintf("192.0.2.%d", len(c.nodes)+2)
	}
	workers := c.model.Workers
	if workers == 0 {
		workers = 3
	}
	c.daemons[n.Name] = newDaemon(workers)
	c.nodes = append(c.nodes, &node{Node: n, id: len(c.nodes) + 1})
}

func (c *Cluster) node(name string) *node {
	for _, n := range c.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// atLeast says whether the simulated version is major.minor or later.
func (c *Cluster) atLeast(major, minor int) bool {
	return c.major > major || c.major == major && c.minor >= minor
}

// release is the version's first two numbers.
func (c *Cluster) release() string { return fmt.Sprintf("%d.%d", c.major, c.minor) }

// Handler is the cluster's API. Any node answers at it.
func (c *Cluster) Handler() http.Handler { return http.HandlerFunc(c.serve) }

// object is a JSON object.
type object map[string]any

// flag is a boolean as PVE's API shows it.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// isListBreak says whether r parts the items of a list parameter (PVE::Tools::split_list).
func isListBreak(r rune) bool { return strings.ContainsRune(",; \t\n\r\x00", r) }

// uuid is a new random UUID. The mutex is held.
func (c *Cluster) uuid() string {
	a, b := c.rng.Uint64(), c.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

// mac is a new MAC address: with Proxmox's own prefix from 8 on, locally administered before. The mutex is held.
func (c *Cluster) mac() string {
	n := c.rng.Uint64()
	prefix := "BC:24:11"
	if c.major == 7 {
		prefix = fmt.Sprintf("%02X:%02X:%02X", n>>24&0xfc|2, n>>32&0xff, n>>40&0xff)
	}
	return fmt.Sprintf("%s:%02X:%02X:%02X", prefix, n>>16&0xff, n>>8&0xff, n&0xff)
}

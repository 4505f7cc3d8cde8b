package cmd

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/ipam"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

func newIPPoolCmd(a *app) *cobra.Command {
	return group("ippool", "Keep the pools of IP addresses",
		newIPPoolAddCmd(a), newIPPoolListCmd(a), newIPPoolEditCmd(a), newIPPoolRemoveCmd(a), newIPPoolReleaseCmd(a))
}

// poolFlags are the flags of add and edit.
type poolFlags struct {
	server       int64
	bridge       string
	vlan         int
	gateway, dns string
	first, last  string
	given        func(name string) bool
}

func (p *poolFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.Int64Var(&p.server, "server", 0, "WHMCS server id of the cluster")
	f.StringVar(&p.bridge, "bridge", "vmbr0", "bridge of the network")
	f.IntVar(&p.vlan, "vlan", 0, "VLAN tag of the network; 0 = none")
	f.StringVar(&p.gateway, "gateway", "", "gateway with prefix length, like 192.0.2.1/24")
	f.StringVar(&p.first, "first", "", "first address to give out")
	f.StringVar(&p.last, "last", "", "last address to give out")
	f.StringVar(&p.dns, "dns", "", "one or two DNS servers, like 192.0.2.53,192.0.2.54")
	p.given = func(name string) bool { return f.Changed(name) }
}

// apply puts the given flags into pool.
func (p *poolFlags) apply(pool *kvm.Pool) error {
	if p.given("server") {
		pool.ServerID = p.server
	}
	if p.given("bridge") || pool.Bridge == "" {
		pool.Bridge = p.bridge
	}
	if p.given("vlan") {
		pool.VLAN = p.vlan
	}
	if p.given("gateway") {
		prefix, err := netip.ParsePrefix(p.gateway)
		if err != nil {
			return kvm.Errorf(kvm.ErrInvalid, "--gateway %q is not like 192.0.2.1/24", p.gateway)
		}
		pool.Gateway, pool.Bits = prefix.Addr(), prefix.Bits()
	}
	if p.given("dns") {
		servers, garbage := ipam.ParseStored(p.dns)
		if len(garbage) > 0 || len(servers) > 2 {
			return kvm.Errorf(kvm.ErrInvalid, "--dns %q is not one or two addresses", p.dns)
		}
		servers = append(servers, netip.Addr{}, netip.Addr{})
		pool.DNS1, pool.DNS2 = servers[0], servers[1]
	}
	for _, f := range []struct {
		name, text string
		into       *netip.Addr
	}{{"first", p.first, &pool.First}, {"last", p.last, &pool.Last}} {
		if !p.given(f.name) {
			continue
		}
		addr, err := netip.ParseAddr(f.text)
		if err != nil {
			return kvm.Errorf(kvm.ErrInvalid, "--%s %q is no IP address", f.name, f.text)
		}
		*f.into = addr
	}
	pool.Family = kvm.FamilyOf(pool.First)
	return ipam.Validate(*pool)
}

func newIPPoolAddCmd(a *app) *cobra.Command {
	var p poolFlags
	c := &cobra.Command{
		Use: "add", Short: "Add a pool",
		Long:    "Add a pool of addresses on one bridge and VLAN. Gateway, network and broadcast addresses inside it are never given out.",
		Example: "  puqkvm ippool add --server 1 --bridge vmbr0 --vlan 100 --gateway 192.0.2.1/24 --first 192.0.2.10 --last 192.0.2.250 --dns 192.0.2.53\n  puqkvm ippool add --server 1 --gateway 2001:db8::1/64 --first 2001:db8::10 --last 2001:db8::ffff", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runIPPoolAdd(c.Context(), a, &p) },
	}
	p.add(c)
	for _, name := range []string{"server", "gateway", "first", "last"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return c
}

// overlapping refuses a pool that shares addresses with others: the address is unique across all servers.
func (a *app) overlapping(ctx context.Context, pool kvm.Pool) error {
	all, err := a.store.Pools(ctx, 0)
	if err != nil {
		return err
	}
	var others []kvm.Pool
	for _, o := range all {
		if o.ID != pool.ID {
			others = append(others, o)
		}
	}
	for _, o := range ipam.Overlaps(pool, others) {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the pool overlaps pool %d of server %d (%s to %s)", o.ID, o.ServerID, o.First, o.Last), "puqkvm ippool list")
	}
	return nil
}

func runIPPoolAdd(ctx context.Context, a *app, p *poolFlags) error {
	var pool kvm.Pool
	if err := p.apply(&pool); err != nil {
		return err
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	if _, err := a.store.Server(ctx, pool.ServerID); err != nil {
		return err
	}
	if err := a.overlapping(ctx, pool); err != nil {
		return err
	}
	id, err := a.store.AddPool(ctx, pool)
	if err != nil {
		return err
	}
	a.show(map[string]int64{"pool": id}, func() { fmt.Fprintf(a.Stdout, "pool %d: %s to %s on %s\n", id, pool.First, pool.Last, network(pool)) })
	return nil
}

// network is bridge and VLAN in words.
func network(p kvm.Pool) string {
	if p.VLAN == 0 {
		return p.Bridge
	}
	return fmt.Sprintf("%s vlan %d", p.Bridge, p.VLAN)
}

type listedPool struct {
	ID      int64      `json:"id"` // 0 = from the server's Assigned IP Addresses
	Server  int64      `json:"server"`
	Family  kvm.Family `json:"family"`
	Bridge  string     `json:"bridge"`
	VLAN    int        `json:"vlan"`
	Gateway string     `json:"gateway"`
	First   string     `json:"first"`
	Last    string     `json:"last"`
	DNS     []string   `json:"dns"`
	Total   string     `json:"total"`
	Used    string     `json:"used"`
	Free    string     `json:"free"`
	Zone    string     `json:"reverse_zone"`
	Note    string     `json:"note,omitempty"`
}

func newIPPoolListCmd(a *app) *cobra.Command {
	var server int64
	c := &cobra.Command{
		Use: "list", Short: "List the pools with their use and reverse zones", Example: "  puqkvm ippool list --server 1", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runIPPoolList(c.Context(), a, server) },
	}
	c.Flags().Int64Var(&server, "server", 0, "only those of this WHMCS server")
	return c
}

func runIPPoolList(ctx context.Context, a *app, server int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	pools, taken, err := a.store.PoolsWithTaken(ctx, server)
	if err != nil {
		return err
	}
	out := []listedPool{}
	t := rows{head: []string{"ID", "SERVER", "NETWORK", "FIRST", "LAST", "GATEWAY", "TOTAL", "USED", "FREE", "REVERSE ZONE"}}
	for _, p := range pools {
		use := ipam.Usage(p, taken)
		zone, classless := ipam.ReverseZone(p)
		l := listedPool{p.ID, p.ServerID, p.Family, p.Bridge, p.VLAN, fmt.Sprintf("%s/%d", p.Gateway, p.Bits), p.First.String(), p.Last.String(), []string{},
			ipam.Count(use.Total), strconv.Itoa(use.Used), ipam.Count(use.Free), zone, ""}
		for _, d := range []netip.Addr{p.DNS1, p.DNS2} {
			if d.IsValid() {
				l.DNS = append(l.DNS, d.String())
			}
		}
		shown := zone
		if classless {
			l.Note = "classless delegation required"
			shown += " (" + l.Note + ")"
		}
		out = append(out, l)
		id := strconv.FormatInt(p.ID, 10)
		if p.ID == 0 {
			id = "WHMCS"
		}
		t.body = append(t.body, []string{id, strconv.FormatInt(p.ServerID, 10), network(p), l.First, l.Last, l.Gateway, l.Total, l.Used, l.Free, shown})
	}
	a.show(out, func() { t.print(a.Stdout) })
	return nil
}

func newIPPoolEditCmd(a *app) *cobra.Command {
	var p poolFlags
	c := &cobra.Command{
		Use: "edit ID", Short: "Change a pool",
		Long:    "Change a pool. VMs that stand keep the network that they were given; only new addresses come from what it says now.",
		Example: "  puqkvm ippool edit 3 --last 192.0.2.200", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("pool", args[0])
			if err != nil {
				return err
			}
			if !slices.ContainsFunc([]string{"server", "bridge", "vlan", "gateway", "first", "last", "dns"}, p.given) {
				return usage(c, "wants at least one flag")
			}
			return runIPPoolEdit(c.Context(), a, id, &p)
		},
	}
	p.add(c)
	return c
}

// pool finds a pool by its id.
func (a *app) pool(ctx context.Context, id int64) (kvm.Pool, error) {
	pools, err := a.store.Pools(ctx, 0)
	if err != nil {
		return kvm.Pool{}, err
	}
	for _, p := range pools {
		if p.ID == id {
			return p, nil
		}
	}
	return kvm.Pool{}, kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "pool %d does not exist", id), "puqkvm ippool list")
}

func runIPPoolEdit(ctx context.Context, a *app, id int64, p *poolFlags) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	pool, err := a.pool(ctx, id)
	if err != nil {
		return err
	}
	if err := p.apply(&pool); err != nil {
		return err
	}
	if p.given("server") {
		if _, err := a.store.Server(ctx, pool.ServerID); err != nil {
			return err
		}
	}
	if err := a.overlapping(ctx, pool); err != nil {
		return err
	}
	if err := a.store.EditPool(ctx, pool); err != nil {
		return err
	}
	a.show(map[string]int64{"pool": id}, func() { fmt.Fprintf(a.Stdout, "pool %d: %s to %s on %s\n", id, pool.First, pool.Last, network(pool)) })
	return nil
}

func newIPPoolRemoveCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove ID", Short: "Remove a pool from which no address is in use", Example: "  puqkvm ippool remove 3", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("pool", args[0])
			if err != nil {
				return err
			}
			return runIPPoolRemove(c.Context(), a, id)
		},
	}
}

func runIPPoolRemove(ctx context.Context, a *app, id int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	claims, err := a.store.PoolClaims(ctx)
	if err != nil {
		return err
	}
	if n := claims[id]; n > 0 {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%d addresses of pool %d are in use", n, id), "puqkvm ippool list")
	}
	if err := a.store.RemovePool(ctx, id); err != nil {
		return err
	}
	a.show(map[string]int64{"removed": id}, func() { fmt.Fprintf(a.Stdout, "pool %d is removed\n", id) })
	return nil
}

func newIPPoolReleaseCmd(a *app) *cobra.Command {
	var confirm bool
	c := &cobra.Command{
		Use: "release ADDR --confirm", Short: "Free a claimed address that no VM uses any more",
		Long: `Free an address whose claim holds no living service: a quarantined one, or one of a service without a VM. The address may be
given to another customer at once, so be sure that no VM uses it: --confirm says so.`,
		Example: "  puqkvm ippool release 192.0.2.17 --confirm", Args: exactly("ADDR"),
		RunE: func(c *cobra.Command, args []string) error {
			addr, err := netip.ParseAddr(strings.TrimSpace(args[0]))
			if err != nil {
				return kvm.Errorf(kvm.ErrInvalid, "%q is no IP address", args[0])
			}
			if !confirm {
				return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%s may be given to another customer at once; nothing was done", addr), "puqkvm ippool release %s --confirm", addr)
			}
			return runIPPoolRelease(c.Context(), a, addr)
		},
	}
	c.Flags().BoolVar(&confirm, "confirm", false, "no VM uses the address")
	return c
}

func runIPPoolRelease(ctx context.Context, a *app, addr netip.Addr) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	if err := a.store.ReleaseAddress(ctx, addr); err != nil {
		return err
	}
	a.show(map[string]string{"released": addr.String()}, func() { fmt.Fprintf(a.Stdout, "%s is free\n", addr) })
	return nil
}

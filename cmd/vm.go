package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/spf13/cobra"
)

func newVMCmd(a *app) *cobra.Command {
	return group("vm", "Show VMs and what was done with them", newVMListCmd(a), newVMShowCmd(a), newVMLogCmd(a),
		newVMForgetCmd(a), newVMStatusesCmd(a))
}

func newVMListCmd(a *app) *cobra.Command {
	var f whmcs.Filter
	c := &cobra.Command{
		Use: "list", Short: "List the VMs of all services, and why some do not move",
		Example: "  puqkvm vm list --status clone\n  puqkvm vm list --output json", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runVMList(c.Context(), a, f) },
	}
	c.Flags().StringVar((*string)(&f.Status), "status", "", "only those at this status")
	c.Flags().Int64Var(&f.Server, "server", 0, "only those of this WHMCS server")
	c.Flags().StringVar(&f.Node, "node", "", "only those last seen on this node")
	c.Flags().Int64Var(&f.Client, "client", 0, "only those of this client")
	return c
}

func runVMList(ctx context.Context, a *app, f whmcs.Filter) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	list, err := a.store.List(ctx, f)
	if err != nil {
		return err
	}
	a.show(list, func() {
		t := rows{head: []string{"SID", "CLIENT", "VM", "NAME", "NODE", "STATUS", "WHMCS", "ADDRESS", "SINCE", "MESSAGE"}}
		for _, l := range list {
			addr := "-"
			if len(l.Addresses) > 0 {
				addr = l.Addresses[0]
			}
			t.body = append(t.body, []string{strconv.FormatInt(l.ID, 10), strconv.FormatInt(l.ClientID, 10), strconv.Itoa(l.VMID), dash(l.Name),
				dash(l.Node), dash(string(l.Status)), l.State, addr, a.when(l.Since), l.Message})
		}
		t.print(a.Stdout)
	})
	return nil
}

// shownVM is `vm show`.
type shownVM struct {
	Service   int64      `json:"service"`
	Client    int64      `json:"client"`
	Product   int64      `json:"product"`
	Server    int64      `json:"server"`
	State     string     `json:"whmcs_status"`
	VMID      int        `json:"vmid"`
	Name      string     `json:"name"`
	Domain    string     `json:"domain"`
	Status    kvm.Status `json:"status"`
	Since     time.Time  `json:"since"`
	Suspended bool       `json:"suspended"`
	UUID      string     `json:"uuid"`
	MAC       string     `json:"mac"`
	User      string     `json:"user"`
	Addresses []string   `json:"addresses"`
	Message   string     `json:"message,omitempty"`
	Problem   string     `json:"problem,omitempty"`
	Mend      string     `json:"mend,omitempty"` // how to mend the problem, or what the live state could not be read for
	Live      *liveVM    `json:"live,omitempty"`
	LiveError string     `json:"live_error,omitempty"`
}

// liveVM is what Proxmox says.
type liveVM struct {
	Node   string    `json:"node"`
	Power  kvm.Power `json:"power"`
	Lock   string    `json:"lock,omitempty"`
	Cores  int       `json:"cores"`
	Memory int64     `json:"memory_mib"`
	Disks  []string  `json:"disks"`
}

func newVMShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show SID", Short: "Show one VM, with its live state",
		Long: `Show the row of one service and what Proxmox says of its VM. A VM that is not proved to be the service's is not shown.

Exit codes: 0; 20 no such service; 30 the VM is not the service's, or the token is wrong; 40 Proxmox could not be reached.`,
		Example: "  puqkvm vm show 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runVMShow(c.Context(), a, id)
		},
	}
}

func runVMShow(ctx context.Context, a *app, id int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	s, err := a.store.Service(ctx, id)
	if err != nil {
		return err
	}
	out := shownVM{Service: s.ID, Client: s.ClientID, Product: s.ProductID, Server: s.Row.ServerID, State: s.State, VMID: s.Row.VMID, Name: s.Row.Name,
		Domain: s.Domain, Status: s.Row.Status, Since: s.Row.Since, Suspended: s.Row.Suspended, UUID: s.Row.UUID, MAC: s.Row.MAC, User: s.Username,
		Message: s.Row.Message, Addresses: []string{}}
	for _, c := range s.Addrs {
		out.Addresses = append(out.Addresses, fmt.Sprintf("%s/%d", c.Addr, c.Bits))
	}
	if s.Problem != nil {
		out.Problem, out.Mend = s.Problem.Error(), kvm.Hint(s.Problem)
	}
	if out.Mend == "" && s.Row.Legacy && s.Row.UUID == "" && s.Row.Status != kvm.Remove {
		out.Mend = fmt.Sprintf("puqkvm adopt %d", id)
	}
	var liveErr error
	if s.Row.UUID != "" {
		if out.Live, liveErr = a.live(ctx, s); liveErr != nil {
			out.LiveError = liveErr.Error()
			if out.Mend == "" {
				out.Mend = kvm.Hint(liveErr)
			}
		}
	}
	a.show(out, func() { a.printVM(out) })
	if liveErr != nil {
		return errPrinted{liveErr}
	}
	return nil
}

// live reads the VM through the gate.
func (a *app) live(ctx context.Context, s *kvm.Service) (*liveVM, error) {
	l, err := a.lifecycle(ctx)
	if err != nil {
		return nil, err
	}
	vm, power, err := l.Live(ctx, s)
	if err != nil {
		return nil, err
	}
	out := &liveVM{Node: vm.Node, Power: power, Lock: vm.Lock, Cores: vm.Cores * vm.Sockets, Memory: vm.Memory, Disks: []string{}}
	for _, d := range vm.Disks {
		out.Disks = append(out.Disks, fmt.Sprintf("%s %s %d GiB", d.Slot, d.Volume, d.Size>>30))
	}
	return out, nil
}

func (a *app) printVM(v shownVM) {
	line := func(name, value string) { fmt.Fprintf(a.Stdout, "%-11s%s\n", name, dash(oneLine(value))) }
	line("service", fmt.Sprintf("%d (client %d, product %d, server %d), %s in WHMCS", v.Service, v.Client, v.Product, v.Server, v.State))
	line("VM", fmt.Sprintf("%d %s", v.VMID, v.Name))
	line("domain", v.Domain)
	line("status", fmt.Sprintf("%s since %s", v.Status, a.when(v.Since)))
	if v.Suspended {
		line("suspended", "yes")
	}
	line("addresses", strings.Join(v.Addresses, ", "))
	line("user", v.User)
	line("UUID", v.UUID)
	line("MAC", v.MAC)
	if v.Message != "" {
		line("message", v.Message)
	}
	if v.Problem != "" {
		line("problem", v.Problem)
	}
	switch {
	case v.LiveError != "":
		line("live", v.LiveError)
	case v.Live != nil:
		lock := ""
		if v.Live.Lock != "" {
			lock = ", locked (" + v.Live.Lock + ")"
		}
		line("live", fmt.Sprintf("%s on %s%s; %d cores, %d MiB; %s", v.Live.Power, v.Live.Node, lock, v.Live.Cores, v.Live.Memory, strings.Join(v.Live.Disks, ", ")))
	}
	if v.Mend != "" {
		line("mend", v.Mend)
	}
}

func newVMLogCmd(a *app) *cobra.Command {
	var last int
	c := &cobra.Command{
		Use: "log SID", Short: "Show the stored runs of a service with every step",
		Example: "  puqkvm vm log 5546 --last 1", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			if last < 0 {
				return usage(c, "wants --last to be 0 (all) or more")
			}
			return runVMLog(c.Context(), a, id, last)
		},
	}
	c.Flags().IntVar(&last, "last", 0, "only so many of the latest runs; 0 = all that are stored (50)")
	return c
}

func runVMLog(ctx context.Context, a *app, id int64, last int) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	if _, err := a.store.Service(ctx, id); err != nil {
		return err
	}
	runs, err := a.store.Runs(ctx, id)
	if err != nil {
		return err
	}
	if last > 0 && len(runs) > last {
		runs = runs[:last]
	}
	if runs == nil {
		runs = []kvm.Run{} // a list in JSON too
	}
	a.show(runs, func() {
		for i := len(runs) - 1; i >= 0; i-- {
			a.printRun(runs[i])
		}
	})
	return nil
}

func (a *app) printRun(r kvm.Run) {
	head := fmt.Sprintf("%s  %s  %s -> %s  %s", a.when(r.Started), r.Action, r.From, r.To, r.Result)
	if r.Repeats > 1 {
		head += fmt.Sprintf(" (%d times, last %s)", r.Repeats, a.when(r.Ended))
	}
	fmt.Fprintln(a.Stdout, head)
	for _, s := range r.Steps {
		note, result := "", "success"
		if s.Note != "" {
			note = " (" + oneLine(s.Note) + ")"
		}
		if s.Message != "" {
			result = oneLine(s.Message)
		}
		fmt.Fprintf(a.Stdout, "  %2d. %s%s  %s  [%.2fs]\n", s.N, s.Title, note, result, s.Took.Seconds())
	}
	if len(r.Steps) == 0 && r.Message != "" {
		fmt.Fprintln(a.Stdout, "      "+oneLine(r.Message))
	}
}

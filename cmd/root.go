package cmd

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

// Program is what surrounds a run of the command line.
type Program struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Environ []string
	Clock   clock.Clock
	Rand    io.Reader
}

// Main runs the command line of this process and gives its exit code.
func Main() int {
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // a second one ends the process at once
		cancel()
	}()
	return Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: os.Environ(), Clock: clock.Wall{}, Rand: rand.Reader}.Run(ctx)
}

// Run runs one command and gives its exit code. ctx is ended by a signal.
func (p Program) Run(ctx context.Context) int {
	a := &app{Program: p}
	defer a.close()
	root := newRootCmd(a)
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	return a.exit(root.ExecuteContext(ctx))
}

func newRootCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "puqkvm",
		Short: "Virtual machines on Proxmox VE, sold by WHMCS",
		Long: `puqkvm makes and keeps the virtual machines of WHMCS services on Proxmox VE.

System cron runs "puqkvm cron" every minute: it walks each pending service through its steps and prints what it did.
WHMCS and administrators run the other commands; a service is named by its WHMCS service id (SID).

Exit codes of every command:
   0  done
  10  queued, busy, or still waiting: cron goes on with it
  20  refused: bad input, or not in this state
  30  an administrator must act
  40  the database or Proxmox could not be reached, or the outcome is unknown
   1  anything else`,
		Example: `  puqkvm create 5546          queue the VM of service 5546
  puqkvm cron                 one tick, as the crontab runs it
  puqkvm vm list              all VMs, and why some do not move`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.CompletionOptions.DisableDefaultCmd = true
	c.SetFlagErrorFunc(flagError)
	f := c.PersistentFlags()
	f.StringVar(&a.output, "output", "text", "text, or json: JSON goes to stdout alone")
	f.StringVar(&a.configFile, "config", "", "configuration file (default /etc/puqkvm.toml)")
	f.StringVar(&a.root, "whmcs-root", "", "folder with WHMCS's configuration.php")
	f.BoolVar(&a.debug, "debug", false, "print every Proxmox request to stderr, without secrets")
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := c.ValidateRequiredFlags(); err != nil {
			return usage(c, "lacks a flag: %w", err)
		}
		if a.output != "text" && a.output != "json" {
			return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "--output %q is not known", a.output), "--output text or --output json")
		}
		return nil
	}
	c.AddCommand(newCronCmd(a), newCreateCmd(a), newAdoptCmd(a), newVMCmd(a), newStatusCmd(a), newExplainCmd(a), newIPPoolCmd(a), newDNSCmd(a), newRDNSCmd(a), newSnapshotCmd(a), newBackupCmd(a), newServerCmd(a), newProductCmd(a),
		newSettingsCmd(a), newDBCmd(a), newDemoCmd(a), newSimulateCmd(a), newCompletionCmd(), newVersionCmd(a))
	for _, v := range queuedVerbs() {
		c.AddCommand(newVerbCmd(a, v))
	}
	c.AddCommand(powerCommands(a)...)
	c.AddCommand(newFirewallCmd(a), newISOCmd(a), newConsoleCmd(a), newStatsCmd(a))
	for _, sub := range c.Commands() {
		nameExits(sub)
	}
	return c
}

// nameExits adds the exit codes to the help of each command under c that has none of its own.
func nameExits(c *cobra.Command) {
	for _, sub := range c.Commands() {
		nameExits(sub)
	}
	if c.HasSubCommands() || strings.Contains(c.Long, "Exit codes:") {
		return
	}
	if c.Long == "" {
		c.Long = c.Short + "."
	}
	switch c.Name() {
	case "version", "completion", "simulate", "demo": // they need no WHMCS
		c.Long += "\n\nExit codes: 0 done; 20 bad input; 1 anything else."
	default:
		c.Long += `

Exit codes: 0 done; 20 bad input or configuration, or not there; 30 the tables need "puqkvm db migrate", or the database
refuses the login; 40 the database could not be reached; 1 anything else.`
	}
}

func noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "%s has no command %q", c.CommandPath(), args[0]), "%s --help", c.CommandPath())
}

// group is a command that only holds others.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noCommand, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(sub...)
	return c
}

package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi/apisim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
	"github.com/spf13/cobra"
)

// demoSpeed is how much faster than real the simulated cluster of the demo works.
const demoSpeed = 10

func newDemoCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Three orders become running VMs, on a throw-away database and a simulated cluster",
		Long: `Show the whole thing: a WHMCS database with three ordered services of different products, a simulated cluster of two nodes, a
stand-in for WHMCS's API; then the commands that WHMCS and cron would run, until the VMs are ready. The log goes to stdout,
everything else to stderr. It makes a database of its own on the throw-away MariaDB server that "make demo" starts, and
touches nothing else.`,
		Example: "  make demo", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), a) },
	}
}

// newSimulated is the cluster that simulate and demo serve, with its credentials.
func newSimulated(version string, clk clock.Clock) (*pvesim.Cluster, simulated, error) {
	sim, err := pvesim.TwoNodes(pvesim.Options{Version: version, Clock: clk})
	if err != nil {
		return nil, simulated{}, kvm.Errorf(kvm.ErrInvalid, "simulate: %w", err)
	}
	sim.SetDatacenterFirewall(map[string]string{"enable": "1", "policy_in": "DROP"})
	return sim, simulated{Token: "root@pam!whmcs", Secret: pvesim.TwoNodesSecret, User: "root@pam", Password: "secret"}, nil
}

func runDemo(ctx context.Context, a *app) error {
	dsn := a.environment(whmcstest.EnvDSN)
	if dsn == "" {
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "the demo needs a throw-away MariaDB server"), "make demo, which starts one")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	d := &demo{app: a}
	if err := d.setUp(ctx, dsn); err != nil {
		return errors.Join(err, d.tearDown())
	}
	err := d.play(ctx)
	return errors.Join(err, d.tearDown())
}

// demo is the scenery: what stands in for the world around the program.
type demo struct {
	*app
	db      *whmcstest.DB
	cluster *pvesim.Server
	api     *apisim.Server
	env     []string
}

func (a *app) environment(name string) string {
	for _, e := range a.Environ {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Stderr, format+"\n", args...) }

// demoHash stands in for WHMCS's $cc_encryption_hash.
const demoHash = "demonstration-only-cc-encryption-hash-not-a-secret-0123456789ABCD"

func (d *demo) setUp(ctx context.Context, dsn string) error {
	var err error
	if d.db, err = whmcstest.Create(ctx, dsn); err != nil {
		return err
	}
	sim, creds, err := newSimulated("8.4.21", clock.NewScaled(d.Clock.Now(), demoSpeed))
	if err != nil {
		return err
	}
	if d.cluster, err = sim.ServeTLS("127.0.0.1:0"); err != nil {
		return err
	}
	if d.api, err = apisim.Start("127.0.0.1:0", apisim.Options{Identifier: "demo", Secret: "demo-api-secret", Templates: []string{"puqProxmoxKVM VM is ready", "puqProxmoxKVM Reset password", "puqProxmoxKVM Backup restored", welcomeTemplate}}); err != nil {
		return err
	}
	if d.env, err = surroundings(d.db.DSN, demoHash, d.api.URL(), "demo", "demo-api-secret"); err != nil {
		return err
	}
	return d.seed(ctx, creds)
}

func (d *demo) tearDown() error {
	var errs []error
	if d.api != nil {
		errs = append(errs, d.api.Close())
	}
	if d.cluster != nil {
		errs = append(errs, d.cluster.Close())
	}
	if d.db != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		errs = append(errs, d.db.Drop(ctx))
	}
	return errors.Join(errs...)
}

// surroundings is the environment of a program that shall use a database and an API.
func surroundings(dsn, hash, apiURL, identifier, secret string) ([]string, error) {
	d, err := whmcs.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	env := []string{"PUQKVM_DATABASE_NAME=" + d.Name, "PUQKVM_DATABASE_USER=" + d.Username, "PUQKVM_DATABASE_PASSWORD=" + d.Password.Reveal(),
		"PUQKVM_ENCRYPTION_HASH=" + hash, "PUQKVM_WHMCS_API_URL=" + apiURL, "PUQKVM_WHMCS_API_IDENTIFIER=" + identifier, "PUQKVM_WHMCS_API_SECRET=" + secret}
	if d.Socket != "" {
		return append(env, "PUQKVM_DATABASE_SOCKET="+d.Socket), nil
	}
	return append(env, "PUQKVM_DATABASE_HOST="+d.Host, "PUQKVM_DATABASE_PORT="+strconv.Itoa(d.Port)), nil
}

// seed is WHMCS before the demo: a server, a client, three products and an order of each.
func (d *demo) seed(ctx context.Context, creds simulated) error {
	host, port, err := net.SplitHostPort(d.cluster.Addr)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	secret, err := whmcs.NewCipher(kvm.NewSecret(demoHash)).Encrypt(kvm.NewSecret(creds.Secret))
	if err != nil {
		return err
	}
	if _, err := whmcstest.AddServer(ctx, d.db, whmcstest.Server{ID: 1, Name: "cluster", Hostname: host, Port: number, Username: creds.Token, EncryptedPassword: secret}); err != nil {
		return err
	}
	if _, err := whmcstest.AddClient(ctx, d.db, whmcstest.Client{ID: 42}); err != nil {
		return err
	}
	for i, name := range []string{"Small", "Medium", "Large"} {
		id := int64(i + 1)
		if _, err := whmcstest.AddProduct(ctx, d.db, whmcstest.Product{ID: id, Name: name}); err != nil {
			return err
		}
		if _, err := whmcstest.AddService(ctx, d.db, whmcstest.Service{ID: 5545 + id, ClientID: 42, ProductID: id, ServerID: 1}); err != nil {
			return err
		}
	}
	return nil
}

// step is a command line, its output on stderr.
func (d *demo) step(ctx context.Context, args ...string) error {
	return d.run(ctx, d.Stderr, args...)
}

func (d *demo) run(ctx context.Context, out io.Writer, args ...string) error {
	d.say("$ puqkvm %s", strings.Join(args, " "))
	p := d.Program
	var failure bytes.Buffer
	p.Args, p.Stdout, p.Stderr, p.Environ, p.Stdin = args, out, io.MultiWriter(d.Stderr, &failure), d.env, strings.NewReader("")
	if code := p.Run(ctx); code != exitDone && code != exitQueued {
		return errPrinted{fmt.Errorf("puqkvm %s: %s", strings.Join(args, " "), strings.TrimSpace(failure.String()))}
	}
	return ctx.Err()
}

// play types what an administrator, WHMCS and cron would.
func (d *demo) play(ctx context.Context) error {
	if err := d.run(ctx, io.Discard, "db", "migrate"); err != nil { // its plan is long
		return err
	}
	for _, args := range [][]string{
		{"settings", "set", "timezone", "UTC"},
		{"server", "set", "1", "--fingerprint", d.cluster.Fingerprint},
		{"product", "set", "1", "template=9000", "cpu=1", "ram=2", "system_size=10", "main_domain=example.com"},
		{"product", "set", "2", "template=9000", "cpu=2", "ram=4", "system_size=20", "system_mbps_rd=200", "system_iops_rd=500", "additional_size=50", "ipv6=1", "main_domain=example.com"},
		{"product", "set", "3", "template=9000", "clone_type=full", "system_storage=shared", "node=pve2", "cpu=4", "ram=8", "system_size=40", "bandwidth=50", "ipv4=2", "main_domain=example.com"},
		{"ippool", "add", "--server", "1", "--gateway", "192.0.2.1/24", "--first", "192.0.2.10", "--last", "192.0.2.99", "--dns", "192.0.2.53"},
		{"ippool", "add", "--server", "1", "--gateway", "2001:db8::1/64", "--first", "2001:db8::10", "--last", "2001:db8::ffff"},
		{"create", "5546"}, {"create", "5547"}, {"create", "5548"},
	} {
		if err := d.step(ctx, args...); err != nil {
			return err
		}
	}
	args := []string{"cron"}
	for {
		if err := d.run(ctx, d.Stdout, args...); err != nil {
			return err
		}
		var left int
		if err := d.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status <> 'ready'").Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			break
		}
		args = []string{"cron", "--force"} // the next minute, now
	}
	if err := d.step(ctx, "vm", "list"); err != nil {
		return err
	}
	d.say("%d mails were sent; the database and the cluster are gone when this ends.", len(d.api.Mails()))
	return nil
}

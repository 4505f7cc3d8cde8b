package cmd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/config"
	"github.com/puqkvm/puqkvm/pkg/cron"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/mail"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/puqkvm/puqkvm/pkg/pve"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi"
)

// The adapters fill the ports that the inner packages say.
var (
	_ lifecycle.Cluster = (*pve.Client)(nil)
	_ lifecycle.Store   = (*whmcs.Store)(nil)
	_ cron.Services     = (*whmcs.Store)(nil)
	_ cron.Store        = (*whmcs.Store)(nil)
)

const defaultDatabasePort = 3306

// app is one run of the command line: its flags, and what was opened for it.
type app struct {
	Program
	output, configFile, root string
	debug                    bool
	asClient                 bool // a client asks, who may do what the product allows
	stream                   bool // the command prints events: an error of it is no further JSON object

	config   *config.Config
	store    *whmcs.Store
	settings config.Settings

	mu         sync.Mutex
	clients    map[int64]*pve.Client
	dns        dnsSide
	patientDNS bool // nobody but a shell waits for DNS
	warned     sync.Mutex
}

func (a *app) close() {
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.warn("database: " + err.Error())
		}
	}
}

// warn prints a line to stderr, whole also when many call it.
func (a *app) warn(text string) {
	a.warned.Lock()
	defer a.warned.Unlock()
	fmt.Fprintln(a.Stderr, "Warning: "+text)
}

// load finds the configuration.
func (a *app) load() error {
	if a.config != nil {
		return nil
	}
	c, err := config.Load(config.Input{File: a.configFile, WHMCSRoot: a.root, Environ: a.Environ, ReadPHP: readPHP})
	if err != nil {
		return err
	}
	for _, w := range c.Warnings {
		a.warn(w)
	}
	a.config = c
	return nil
}

func readPHP(root string) (config.PHP, error) {
	c, err := whmcs.ReadConfiguration(root)
	if err != nil {
		return config.PHP{}, err
	}
	return config.PHP{Host: c.Host, Socket: c.Socket, Port: c.Port, Name: c.Name, User: c.Username, Password: c.Password, EncryptionHash: c.EncryptionHash}, nil
}

// connect opens the database and looks at nothing in it.
func (a *app) connect(ctx context.Context) error {
	if a.store != nil {
		return nil
	}
	if err := a.load(); err != nil {
		return err
	}
	d := a.config.Database
	port := d.Port
	if d.Host == "localhost" && port == defaultDatabasePort {
		port = 0 // as PHP means it: the local socket, where there is one
	}
	store, err := whmcs.Open(ctx,
		whmcs.Database{Host: d.Host, Port: port, Socket: d.Socket, Name: d.Name, Username: d.User, Password: d.Password},
		whmcs.Options{EncryptionHash: a.config.EncryptionHash, Clock: a.Clock})
	if err != nil {
		return err
	}
	a.store = store
	return nil
}

// openStore opens the database and refuses tables that this program cannot work with.
func (a *app) openStore(ctx context.Context) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	return a.store.Opened().Schema.Err()
}

// open is openStore and the settings.
func (a *app) open(ctx context.Context) error {
	if err := a.openStore(ctx); err != nil {
		return err
	}
	return a.readSettings()
}

// openToQueue is open for a verb that WHMCS sends and that is only queued: tables of an older version will do.
func (a *app) openToQueue(ctx context.Context) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	if err := a.store.Opened().Schema.QueueErr(); err != nil {
		return err
	}
	return a.readSettings()
}

func (a *app) readSettings() error {
	settings, warnings, err := config.LoadSettings(a.store.Opened().Settings)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.warn(w)
	}
	a.settings = settings
	return nil
}

// client is the client of a server's cluster, one a server.
func (a *app) client(ctx context.Context, id int64) (*pve.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[id]; c != nil {
		return c, nil
	}
	if id == 0 {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "the service has no server in WHMCS"), "choose a server on the service's page in WHMCS")
	}
	server, err := a.store.Server(ctx, id)
	if err != nil {
		return nil, err
	}
	set, err := parseServerSettings(server)
	if err != nil {
		return nil, err
	}
	if set.Insecure {
		a.warn(fmt.Sprintf("server %d: any certificate is trusted (insecure); puqkvm server test %d prints the fingerprint to pin", id, id))
	}
	o := pve.Options{URLs: set.addresses(server), User: server.Username, Secret: server.Password, TLS: set.trust(),
		Timeout: a.settings.APITimeout, Requests: a.settings.RequestsPerCluster, Clock: a.Clock}
	if a.stream {
		o.Timeout = a.settings.APIHeavyTimeout
	}
	if o.Debug, err = a.requestLog(ctx); err != nil {
		return nil, err
	}
	c, err := pve.New(o)
	if err != nil {
		return nil, fmt.Errorf("server %d: %w", id, err)
	}
	if a.clients == nil {
		a.clients = map[int64]*pve.Client{}
	}
	a.clients[id] = c
	return c, nil
}

// requestLog is who wants to know of each Proxmox request: stderr with --debug, and WHMCS's module log while an
// administrator has that switched on. The questions about a task's progress stay out of the latter.
func (a *app) requestLog(ctx context.Context) (func(string), error) {
	logging, err := a.store.ModuleLogOn(ctx)
	if err != nil || !logging && !a.debug {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	return func(line string) {
		if a.debug {
			a.warned.Lock()
			fmt.Fprintln(a.Stderr, line)
			a.warned.Unlock()
		}
		request, answer, _ := strings.Cut(line, " -> ")
		if !logging || strings.Contains(request, "/tasks/") {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, moduleLogPatience)
		defer cancel()
		if err := a.store.ModuleLog(ctx, a.Clock.Now().In(a.settings.Zone), "proxmox", request, answer); err != nil {
			a.warn(err.Error())
		}
	}, nil
}

// moduleLogPatience is how long an entry of the module log may take.
const moduleLogPatience = 5 * time.Second

func (a *app) lifecycle(ctx context.Context) (*lifecycle.Lifecycle, error) {
	installation, err := a.store.Installation(ctx)
	if err != nil {
		return nil, err
	}
	syncer, err := a.dnsSyncer()
	if err != nil {
		return nil, err
	}
	return lifecycle.New(lifecycle.Lifecycle{
		Store: a.store, DNSZones: a.dnsZones, DNS: syncer, ModuleLog: a.moduleLog,
		Cluster: func(ctx context.Context, id int64) (lifecycle.Cluster, error) {
			c, err := a.client(ctx, id)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		Settings: lifecycle.Settings{Wait: a.settings.CronWait, MigrationEnabled: a.settings.MigrationEnabled, MigrationTimeout: a.settings.MigrationTimeout,
			StartWait: a.settings.StartWait, ClonesPerNode: a.settings.ClonesPerNode, BackupsPerNode: a.settings.BackupsPerNode, ClonesPerStorage: a.settings.ClonesPerStorage,
			StopGraceful: a.settings.StopGraceful, StopForce: a.settings.StopForce, VMIDRest: a.settings.VMIDRest, Quarantine: a.settings.Quarantine},
		Clock: a.Clock, Zone: a.settings.Zone, Rand: a.Rand, Installation: installation,
	}), nil
}

// process is the task that walks the services; only, if not 0, is the one to walk.
func (a *app) process(ctx context.Context, only int64) (*cron.Process, error) {
	l, err := a.lifecycle(ctx)
	if err != nil {
		return nil, err
	}
	owner, err := whmcs.NewOwner()
	if err != nil {
		return nil, err
	}
	return &cron.Process{
		Store: a.store, Pipelines: l.Pipelines(), Clock: a.Clock, Zone: a.settings.Zone, Owner: owner, Only: only,
		Workers: a.settings.Workers, AlertAfter: a.settings.AlertAfter, Warn: a.warn,
		Engine:  &pipeline.Engine{Store: a.store, Clock: a.Clock, Warn: a.warn},
		Deliver: a.deliver(owner),
	}, nil
}

// apiTimeout is the patience for one call to WHMCS, which renders and sends the mail within it.
const apiTimeout = 30 * time.Second

// deliver sends the mails that are due.
func (a *app) deliver(owner string) func(context.Context) error {
	d := &mail.Deliverer{Store: a.store, Owner: owner, Clock: a.Clock, Zone: a.settings.Zone, Warn: a.warn}
	api := a.config.API
	return func(ctx context.Context) error {
		if api.Configured() {
			client, err := whmcsapi.New(whmcsapi.Options{URL: api.URL, Identifier: api.Identifier, Secret: api.Secret, AccessKey: api.AccessKey, Timeout: apiTimeout})
			if err != nil {
				return err
			}
			d.API = client
		}
		_, _, err := d.Deliver(ctx)
		return err
	}
}

package pve

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

// Options say which cluster a Client talks to, and as whom.
type Options struct {
	// URLs are the cluster's API addresses, the preferred one first: a host name or address, host:port, or
	// https://host:port. The port is 8006 where none is given. The next one is used only when dialling the present one
	// fails.
	URLs []string
	// User is an API token's id (whmcs@pve!puqkvm) or, without "!", a user for a ticket login (root@pam).
	User   string
	Secret kvm.Secret
	TLS    trust.Trust
	// Timeout is the patience for one request, from the slot to the last byte; 0 = 60 s.
	Timeout time.Duration
	// Requests is how many requests may be in flight at once; 0 = 8.
	Requests int
	// SnapshotAge is how old the answer of Snapshot may be; 0 = 10 s, the rhythm of Proxmox's own status broadcast.
	SnapshotAge time.Duration
	// Clock is the time for waits, tickets and snapshots; nil = the wall clock. A request's Timeout is always real time.
	Clock clock.Clock
	// Debug gets one line per request, without secrets; nil = nobody wants them. It is called from many goroutines.
	Debug func(string)
}

const (
	apiPath         = "/api2/json"
	defaultPort     = "8006"
	defaultTimeout  = 60 * time.Second
	defaultRequests = 8
	defaultAge      = 10 * time.Second
	maxDial         = 5 * time.Second
)

// Client is one cluster. It is safe for concurrent use; one value per cluster is the rule, since the limit of requests
// in flight and the shared snapshot live in it.
type Client struct {
	wire     *wire
	trip     *roundTripper
	clock    clock.Clock
	secret   kvm.Secret
	login    *login // nil with a token
	refusal  refusal401
	peers    *peers
	user     string
	version  shared[Version]
	name     shared[string]
	snapshot shared[map[int]kvm.Place]
	nodes    shared[[]kvm.Node]
	stores   *sharedBy[[]kvm.Storage]
	age      time.Duration
	paces    *paces
}

// New checks the options and makes a Client. It reads the CA file, if one is named, and does no network I/O. Errors are
// kvm.ErrInvalid.
func New(o Options) (*Client, error) {
	hosts, err := hosts(o.URLs)
	if err != nil {
		return nil, err
	}
	if err := checkCredentials(o.User, o.Secret); err != nil {
		return nil, err
	}
	conf, err := o.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("proxmox: %w", err)
	}
	if o.Timeout < 0 || o.Requests < 0 || o.SnapshotAge < 0 {
		return nil, kvm.Errorf(kvm.ErrInvalid, "proxmox: timeout, requests and snapshot age must not be negative")
	}
	if o.Clock == nil {
		o.Clock = clock.Wall{}
	}
	requests, timeout := orDefault(o.Requests, defaultRequests), orDefault(o.Timeout, defaultTimeout)
	// A dead address must leave time for the others and for the request itself.
	dial := min(maxDial, timeout/time.Duration(len(hosts)+1))
	rt := &roundTripper{
		base:    newTransport(conf, requests, dial),
		hosts:   hosts,
		lanes:   newLanes(),
		slots:   make(chan struct{}, requests),
		timeout: timeout,
		debug:   o.Debug,
		secret:  o.Secret,
	}
	c := &Client{
		trip:     rt,
		clock:    o.Clock,
		peers:    newPeers(),
		secret:   o.Secret,
		user:     o.User,
		version:  newShared[Version](),
		name:     newShared[string](),
		snapshot: newShared[map[int]kvm.Place](),
		nodes:    newShared[[]kvm.Node](),
		stores:   newSharedBy[[]kvm.Storage](),
		paces:    newPaces(),
		age:      orDefault(o.SnapshotAge, defaultAge),
	}
	if !strings.Contains(o.User, "!") {
		c.login = newLogin()
	}
	if c.wire, err = newWire("https://"+hosts[0]+apiPath, rt, o.User, o.Secret); err != nil {
		return nil, err
	}
	return c, nil
}

func orDefault[T ~int | ~int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// hosts are the addresses as host:port, without doubles.
func hosts(urls []string) ([]string, error) {
	var out []string
	for _, s := range urls {
		h, err := host(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	if len(out) == 0 {
		return nil, kvm.Errorf(kvm.ErrInvalid, "proxmox: no API address is given")
	}
	return out, nil
}

// host is the host:port of one address as an administrator may have typed it.
func host(s string) (string, error) {
	text := strings.TrimSpace(s)
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return net.JoinHostPort(a.String(), defaultPort), nil
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", kvm.Errorf(kvm.ErrInvalid, "proxmox: the API address %q is no URL", s)
	}
	path := strings.TrimSuffix(u.Path, "/")
	switch {
	case u.User != nil:
		return "", kvm.Errorf(kvm.ErrInvalid, "proxmox: the API address of host %q must not carry a user or password", u.Host)
	case u.Scheme != "https":
		return "", kvm.Errorf(kvm.ErrInvalid, "proxmox: the API address %q must be https", s)
	case u.Hostname() == "" || strings.ContainsAny(u.Host, " \t"):
		return "", kvm.Errorf(kvm.ErrInvalid, "proxmox: the API address %q names no host", s)
	case path != "" && path != apiPath || u.RawQuery != "" || u.Fragment != "":
		return "", kvm.Errorf(kvm.ErrInvalid, "proxmox: the API address %q must be only a host and a port", s)
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

func checkCredentials(user string, secret kvm.Secret) error {
	name, realm, ok := strings.Cut(user, "@")
	realm, token, isToken := strings.Cut(realm, "!")
	switch {
	case !ok || name == "" || realm == "" || isToken && token == "" || hasControl(user) || strings.Contains(user, " "):
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "proxmox: the user %q is neither user@realm!token nor user@realm", user),
			"set the WHMCS server's username to a token id like whmcs@pve!puqkvm")
	case secret.Empty():
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "proxmox: there is no secret for the user %s", user),
			"set the WHMCS server's password to the token's secret")
	case hasControl(secret.Reveal()) || isToken && strings.TrimSpace(secret.Reveal()) != secret.Reveal():
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "proxmox: the secret of the user %s has blanks or control characters in it", user),
			"type the WHMCS server's password again")
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// path joins segments, each escaped, so that no name can reach out of its place.
func path(segments ...any) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(fmt.Sprint(s)))
	}
	return b.String()
}

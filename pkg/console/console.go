package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

// patience is for one request: the console that it is about waits for kvm.ConsoleLife altogether.
const patience = 5 * time.Second

// Proxy is a proxy as a product names it.
type Proxy struct {
	Product int64      // the product's id, for what an error tells to type
	Host    string     // host or host:port
	Key     kvm.Secret // its API key
	// Trust is how its certificate is judged; zero is the system's roots, as browsers do.
	Trust trust.Trust
}

// base is the proxy's address. http is for this machine alone, where no certificate is to be judged: the credentials of Proxmox
// would travel in the clear.
func (p Proxy) base() string {
	host, _, err := net.SplitHostPort(p.Host)
	if err != nil {
		host = strings.Trim(p.Host, "[]")
	}
	at := p.Host
	addr, err := netip.ParseAddr(host)
	if err == nil && addr.Is6() && !strings.HasPrefix(at, "[") {
		at = "[" + at + "]"
	}
	judged := p.Trust.CAFile != "" || len(p.Trust.Pins) > 0 || p.Trust.Insecure
	if (host == "localhost" || err == nil && addr.IsLoopback()) && !judged {
		return "http://" + at
	}
	return "https://" + at
}

type request struct {
	Hash   string `json:"hash"`
	Token  string `json:"proxmox_token,omitempty"`
	Cookie string `json:"cookie,omitempty"`
	CSRF   string `json:"csrfp_revention_token,omitempty"`
	URL    string `json:"proxmox_ws_url"`
}

// Register hands c to the proxy under a random name and gives the address for the browser, which holds c's password. Nothing is
// repeated. Errors: kvm.ErrAdmin where the proxy refuses us or is none, kvm.ErrUnreachable and kvm.ErrUnknown where it gave no
// answer. No error has a secret in it.
func (p Proxy) Register(ctx context.Context, c kvm.Console, random io.Reader) (address kvm.Secret, err error) {
	_, alone, _ := strings.Cut(c.Token.Reveal(), "=") // the token without its id
	client, err := web.New(web.Options{URL: p.base(), Trust: p.Trust, Name: "the console's proxy",
		Secrets: []kvm.Secret{p.Key, c.Token, kvm.NewSecret(alone), c.Cookie, c.CSRF, c.URL, c.Ticket, c.Password}})
	if err != nil {
		return kvm.Secret{}, err
	}
	name := make([]byte, 16)
	if _, err := io.ReadFull(random, name); err != nil {
		return kvm.Secret{}, fmt.Errorf("the name of the console's entry: %w", err)
	}
	r := request{hex.EncodeToString(name), c.Token.Reveal(), c.Cookie.Reveal(), c.CSRF.Reveal(), c.URL.Reveal()}
	body, err := json.Marshal(r)
	if err != nil {
		return kvm.Secret{}, fmt.Errorf("the console's entry: %w", err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %v", patience))
	defer cancel()
	answer, err := client.Do(limited, http.MethodPost, "/api/proxy", http.Header{"Content-Type": {"application/json"}, "X-Api-Key": {p.Key.Reveal()}}, body)
	if err != nil {
		return kvm.Secret{}, p.unanswered(err)
	}
	if err := p.refused(client, answer); err != nil {
		return kvm.Secret{}, err
	}
	return kvm.NewSecret(p.browser(r.Hash, c.Password)), nil
}

// unanswered is err of package web with what helps here.
func (p Proxy) unanswered(err error) error {
	switch {
	case errors.Is(err, kvm.ErrAuth): // it leads elsewhere
		return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s", err), "puqkvm product set %d console_proxy=HOST, with the host that answers itself", p.Product)
	case kvm.Hint(err) != "": // how to trust the certificate of a DNS server
		return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s", err), "give the proxy a certificate that browsers trust")
	}
	return err
}

// refused is the error of an answer that is no success.
func (p Proxy) refused(client *web.Client, a *web.Answer) error {
	var said struct {
		Status string   `json:"status"`
		Errors []string `json:"errors"`
	}
	plain := json.Unmarshal(a.Body, &said) == nil
	if a.Status == http.StatusOK && plain && said.Status == "success" {
		return nil
	}
	text := fmt.Sprintf("the console's proxy at %s refuses: HTTP %d", p.Host, a.Status)
	if len(said.Errors) > 0 {
		text += " " + client.OneLine(strings.Join(said.Errors, "; "))
	}
	err := kvm.Errorf(kvm.ErrAdmin, "%s", text)
	switch {
	case a.Status == http.StatusUnauthorized:
		return kvm.WithHint(err, "puqkvm product set %d console_key=- < FILE, with the key that the proxy was started with (-api_key)", p.Product)
	case a.Status == http.StatusForbidden:
		return kvm.WithHint(err, "start the proxy with this machine's address (-puqcloud_ip)")
	case a.Status >= http.StatusInternalServerError:
		return kvm.WithHint(kvm.Errorf(kvm.ErrUnreachable, "%s", text), "see whether the proxy runs behind its web server")
	case !plain || a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed:
		return kvm.WithHint(err, "let the proxy's web server pass /api/proxy on to it, as it does with /vncproxy")
	}
	return err
}

// browser is the address of noVNC with what it is to open.
func (p Proxy) browser(name string, password kvm.Secret) string {
	encrypt := "1"
	if strings.HasPrefix(p.base(), "http:") {
		encrypt = "0"
	}
	var said []string
	for _, v := range [][2]string{{"autoconnect", "1"}, {"encrypt", encrypt}, {"resize", "scale"}, {"path", "vncproxy/" + name}, {"password", password.Reveal()}} {
		said = append(said, v[0]+"="+strings.ReplaceAll(url.QueryEscape(v[1]), "+", "%20")) // noVNC takes + for itself
	}
	return p.base() + "/vnc.html#" + strings.Join(said, "&")
}

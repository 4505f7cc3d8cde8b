package whmcsapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	// defaultTimeout: WHMCS starts in under a second, but hands a mail to its SMTP server while the caller waits.
	defaultTimeout = 30 * time.Second
	// bodyLimit is far above any answer of the actions in use.
	bodyLimit = 4 << 20
)

// Options say where the API is and who calls it.
type Options struct {
	// URL is the address of WHMCS (https://billing.example.com/), or of its api.php. It may hold neither a password nor
	// a query.
	URL        string
	Identifier string        // of the API credentials (WHMCS 7.2 and later)
	Secret     kvm.Secret    // of the API credentials
	AccessKey  kvm.Secret    // $api_access_key of configuration.php, which stands in for the IP list; empty = none
	Timeout    time.Duration // of a whole call; 0 = 30 s
	HTTP       *http.Client  // nil = a client of its own. Its redirect policy and time-out are not used.
}

// Client calls the WHMCS API. It is safe for concurrent use.
type Client struct {
	url               string
	identifier        string
	secret, accessKey kvm.Secret
	timeout           time.Duration
	http              *http.Client
	hide              *strings.Replacer
}

// New makes a Client, and refuses with kvm.ErrInvalid what can never work. It sends nothing.
func New(o Options) (*Client, error) {
	endpoint, err := Endpoint(o.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Identifier == "":
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "whmcs.api_identifier is not set"), credentialsHint)
	case o.Secret.Empty():
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "whmcs.api_secret is not set"), credentialsHint)
	case o.Timeout < 0:
		return nil, kvm.Errorf(kvm.ErrInvalid, "whmcs api: the time-out %v is negative", o.Timeout)
	case o.Timeout == 0:
		o.Timeout = defaultTimeout
	}
	var once http.Client
	if o.HTTP != nil {
		once = *o.HTTP
	}
	once.Timeout = 0
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		url: endpoint, identifier: o.Identifier, secret: o.Secret, accessKey: o.AccessKey,
		timeout: o.Timeout, http: &once, hide: hider(o.Secret, o.AccessKey),
	}, nil
}

// Endpoint is the address of api.php for text, which may be that of WHMCS's root.
func Endpoint(text string) (string, error) {
	const hint = "set whmcs.api_url to the address of WHMCS, like https://billing.example.com/"
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case text == "":
		return "", kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "whmcs.api_url is not set"), hint)
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.Opaque != "":
		return "", kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "whmcs.api_url is no http or https address"), hint)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "whmcs.api_url holds a user, a query or a fragment: only scheme, host and path belong there"), hint)
	}
	if !strings.HasSuffix(u.Path, ".php") {
		u = u.JoinPath("includes", "api.php")
	}
	return u.String(), nil
}

// Send sends m by its action, with its params: SendEmail with its template and service, SendAdminEmail, which needs the
// params customsubject and custommessage, or OpenTicket, which needs deptid, subject and message.
func (c *Client) Send(ctx context.Context, m kvm.Mail) error {
	switch m.Action {
	case "SendEmail":
		return c.SendEmail(ctx, m.Template, m.ServiceID, m.Params)
	case "SendAdminEmail":
		return c.sendAdminEmail(ctx, m.Params)
	case "OpenTicket":
		_, err := c.Call(ctx, "OpenTicket", m.Params)
		return err
	default:
		return kvm.Errorf(kvm.ErrInvalid, "mail %s: %q is no action that sends (SendEmail, SendAdminEmail, OpenTicket)", m.Key, m.Action)
	}
}

// SendEmail sends the client of a service the mail template (of type product) by its exact name. WHMCS reads the merge
// fields (address, domain, user, password) from its own tables when it is called. params are added as they are.
func (c *Client) SendEmail(ctx context.Context, template string, serviceID int64, params map[string]string) error {
	if template == "" || serviceID <= 0 {
		return kvm.Errorf(kvm.ErrInvalid, "whmcs api SendEmail: a template and a service are needed, got %q and %d", template, serviceID)
	}
	all := map[string]string{}
	for name, value := range params {
		all[name] = value
	}
	all["messagename"], all["id"] = template, strconv.FormatInt(serviceID, 10)
	_, err := c.Call(ctx, "SendEmail", all)
	return err
}

// SendAdminEmail sends a message to the administrators who get system mails.
func (c *Client) SendAdminEmail(ctx context.Context, subject, message string) error {
	return c.sendAdminEmail(ctx, map[string]string{"customsubject": subject, "custommessage": message, "type": "system"})
}

func (c *Client) sendAdminEmail(ctx context.Context, params map[string]string) error {
	if params["customsubject"] == "" || params["custommessage"] == "" {
		return kvm.Errorf(kvm.ErrInvalid, "whmcs api SendAdminEmail: a subject and a message are needed")
	}
	_, err := c.Call(ctx, "SendAdminEmail", params)
	return err
}

// Call calls any action, once, and returns WHMCS's answer when its result is success.
func (c *Client) Call(ctx context.Context, action string, params map[string]string) (Result, error) {
	if action == "" {
		return nil, kvm.Errorf(kvm.ErrInvalid, "whmcs api: no action was named")
	}
	form := url.Values{}
	for name, value := range params {
		switch strings.ToLower(name) {
		case "action", "identifier", "secret", "username", "password", "accesskey", "responsetype":
			return nil, kvm.Errorf(kvm.ErrInvalid, "whmcs api %s: the parameter %q is the client's own", action, name)
		}
		form.Set(name, value)
	}
	form.Set("action", action)
	form.Set("responsetype", "json")
	form.Set("identifier", c.identifier)
	form.Set("secret", c.secret.Reveal())
	if !c.accessKey.Empty() {
		form.Set("accesskey", c.accessKey.Reveal())
	}

	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer within %v", c.timeout))
	defer cancel()
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(traced, http.MethodPost, c.url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, kvm.Errorf(kvm.ErrInvalid, "whmcs api %s: %w", action, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Close = true

	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unanswered(ctx, action, connected.Load(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return nil, c.unanswered(ctx, action, true, err)
	}
	return c.judge(action, resp, body)
}

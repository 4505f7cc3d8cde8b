package pve

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Console opens the VM's VNC console for one connection by websocket, within kvm.ConsoleLife. That the VM does not run is said
// only by the task, so the caller asks before. What the connection needs of our own credentials leaves this package as
// kvm.Secrets of the answer, for the proxy that the product names and for nobody else.
//
// The websocket's address is that of the API host which answered: a proxy must be able to reach it. It needs VM.Console.
func (c *Client) Console(ctx context.Context, o kvm.Owned) (kvm.Console, error) {
	vm, err := target(o)
	if err != nil {
		return kvm.Console{}, err
	}
	const what = "opening the console"
	a, err := c.call(ctx, http.MethodPost, guest(vm, "vncproxy"), params{"websocket": bit(true)})
	if err != nil {
		return kvm.Console{}, onVM(vm, what, err)
	}
	var data struct {
		Port     integer `json:"port"`
		Ticket   text    `json:"ticket"`
		User     text    `json:"user"`
		Password text    `json:"password"` // from late 8.4 on; before, it is the ticket's beginning
	}
	if err := a.decode(guest(vm, "vncproxy"), &data); err != nil {
		return kvm.Console{}, onVM(vm, what, err)
	}
	if data.Ticket == "" || data.Port < 1 || data.Port > 65535 {
		return kvm.Console{}, onVM(vm, what, kvm.Errorf(kvm.ErrUnknown, "the answer has no ticket, or no port"))
	}
	out := kvm.Console{Node: vm.Node, VMID: vm.VMID, Port: int(data.Port), User: string(data.User),
		Ticket: kvm.NewSecret(string(data.Ticket)), Password: kvm.NewSecret(or(string(data.Password), string(data.Ticket)))}
	query := url.Values{"port": {strconv.Itoa(out.Port)}, "vncticket": {string(data.Ticket)}}
	out.URL = kvm.NewSecret(fmt.Sprintf("wss://%s%s%s?%s", c.trip.hosts[c.trip.good.Load()], apiPath, guest(vm, "vncwebsocket"), query.Encode()))
	if c.login == nil {
		out.Token = kvm.NewSecret(c.user + "=" + c.secret.Reveal())
		return out, nil
	}
	t, err := c.ticket(ctx, nil)
	if err != nil {
		return kvm.Console{}, onVM(vm, what, err)
	}
	out.Cookie, out.CSRF = kvm.NewSecret(t.value), kvm.NewSecret(t.csrf)
	return out, nil
}

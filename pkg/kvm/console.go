package kvm

import "time"

// ConsoleLife is how long Proxmox waits for whoever opened a console to come and look.
const ConsoleLife = 10 * time.Second

// Console is a VM's VNC console that Proxmox has just opened, for one connection.
type Console struct {
	Node     string
	VMID     int
	Port     int    // on the node
	User     string // who has opened it, and alone may connect
	Ticket   Secret
	Password Secret // that VNC asks for

	// What a proxy needs to connect in our name: the address of the websocket, with the ticket in it, and either an API token
	// (id=secret) or a login's ticket, which is sent as the cookie PVEAuthCookie, with its CSRF token.
	URL    Secret
	Token  Secret
	Cookie Secret
	CSRF   Secret
}

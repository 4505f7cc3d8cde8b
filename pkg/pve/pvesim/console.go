package pvesim

import (
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
)

// consolePorts are those at which a node offers consoles.
const consolePorts = 5900

// vncProxy opens a console and gives the ticket to look at it. Nobody can, for the websocket is not simulated: the task
// ends as one does to which nobody came. 7.4 and the first 9.x keep the password inside the ticket.
func (r *request) vncProxy() (any, error) {
	c, node := r.c, r.str("node")
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	port := consolePorts
	for _, t := range c.tasks {
		if t.typ == "vncproxy" && t.node == node && !t.ended {
			port++
		}
	}
	t := r.fork(node, "vncproxy", strconv.Itoa(m.vmid), func(o *op) {
		if !m.running {
			o.fail(fmt.Errorf("VM %d not running", m.vmid))
			return
		}
		o.after(c.model.Console, func() { o.fail(errors.New("connection timed out")) })
	})
	sum := sha512.Sum512([]byte(c.uuid() + t.upid))
	ticket := fmt.Sprintf("PVEVNC:%08X::%s", c.now.Unix(), base64.StdEncoding.EncodeToString(sum[:]))
	res := object{"user": r.who.String(), "port": strconv.Itoa(port), "cert": c.certificate, "upid": t.upid}
	if c.major == 8 || c.atLeast(9, 2) || r.boolean("generate-password") {
		password := base64.StdEncoding.EncodeToString(sum[:6])[:6] + `"^`
		res["password"] = password
		if c.major >= 8 {
			ticket = password + ":" + ticket
		}
	}
	res["ticket"] = ticket
	return res, nil
}

package cmd

import (
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/console/consolesim"
	"github.com/rogpeppe/go-internal/testscript"
)

// consoleKey is what the console's proxy of a script wants.
const consoleKey = "a-key-of-the-proxy"

// iso puts an image on a storage: iso STORAGE NODE NAME. Of a shared one any node will do.
func (s *script) iso(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, "iso STORAGE NODE NAME")
	ts.Check(s.w.sim.AddISO(args[0], args[1], args[2], 4<<20))
}

// proxy starts a console's proxy on this machine, whose host:port is then $PROXY, makes it fail (proxy fail FAULT), or prints what
// was registered at it (proxy entries).
func (s *script) proxy(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "proxy start | fail [FAULT] | entries"
	want(ts, neg, args, 1, usage)
	switch args[0] {
	case "start":
		p, err := consolesim.Start("127.0.0.1:0", consoleKey, false)
		ts.Check(err)
		s.t.Cleanup(func() { _ = p.Close() })
		s.console = p
		ts.Setenv("PROXY", p.Addr)
	case "fail":
		s.console.Fail(consolesim.Fault(append(args, "")[1]))
	case "entries":
		for _, e := range s.console.Entries() {
			fmt.Fprintf(ts.Stdout(), "%s token=%s cookie=%s url=%s\n", e.Hash, e.Token, e.Cookie, e.URL)
		}
	default:
		ts.Fatalf("usage: %s", usage)
	}
}

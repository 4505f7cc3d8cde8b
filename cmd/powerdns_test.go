package cmd

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns/pdnstest"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestPowerDNS walks a VM through its life with the real server of Debian behind it: deploy, change of package, a name of the
// customer's choice, reinstall, terminate. What is there is asked by DNS.
func TestPowerDNS(t *testing.T) {
	server := pdnstest.New(t)
	// Zones of this test alone: other tests use the server, too.
	const zone, reverse4, reverse6 = "life.cmd.test", "113.0.203.in-addr.arpa", "d.c.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
	for _, name := range []string{zone, reverse4, reverse6} {
		server.Zone(t, name, "Native")
	}
	server.Put(t, zone, "vps-42-5546."+zone, "A", "198.51.100.7")
	server.Put(t, reverse4, "10."+reverse4, "PTR", "former.example.net.")
	w := newWorld(t, scene{})
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(server.Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, name := range []string{zone, reverse4, reverse6} {
		w.ok("dns", "zone", "add", name, "--provider", "powerdns", "--url", server.URL, "--ttl", "60", "--secret-file", key)
		w.ok("dns", "zone", "test", fmt.Sprint(n+1))
	}
	w.ok("ippool", "remove", "1")
	w.ok("ippool", "add", "--server", "1", "--gateway", "203.0.113.1/24", "--first", "203.0.113.10", "--last", "203.0.113.50")
	w.ok("ippool", "add", "--server", "1", "--gateway", "2001:db8:cd::1/64", "--first", "2001:db8:cd::10", "--last", "2001:db8:cd::20")
	w.ok("product", "set", "1", "main_domain="+zone, "ipv4=2", "ipv6=1")

	// has wants just these addresses under the VM's name, beside the foreign one, and these names for the addresses.
	has := func(what string, addrs []string, names map[string]string) {
		t.Helper()
		var got []string
		for _, typ := range []string{"A", "AAAA"} {
			got = append(got, server.Values(t, "vps-42-5546."+zone, typ)...)
		}
		want := append([]string{"198.51.100.7"}, addrs...)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the VM's name has %v, want %v", what, got, want)
		}
		for addr, name := range names {
			ptr := strings.TrimSuffix(strings.Join(server.Values(t, dns.ReverseName(netip.MustParseAddr(addr)), "PTR"), " "), ".")
			if ptr != name {
				t.Errorf("%s: %s is called %q, want %q", what, addr, ptr, name)
			}
		}
	}
	const own, v4, next4, v6 = "vps-42-5546." + zone, "203.0.113.10", "203.0.113.11", "2001:db8:cd::10"
	w.order(5546)
	log := w.tick()
	if w.status(5546) != kvm.Ready || strings.Count(log, " OK [powerdns] ") != 4 || strings.Contains(log, "ERR") {
		t.Fatalf("the deploy:\n%s", log)
	}
	has("deployed", []string{v4, next4, v6}, map[string]string{v4: own, next4: own, v6: own})
	w.ok("product", "set", "1", "ipv4=1")
	w.ok("change-package", "5546")
	w.tick()
	has("with one address less", []string{v4, v6}, map[string]string{v4: own, next4: "", v6: own})
	w.ok("rdns", "set", "5546", v6, "mail.example.org")
	w.ok("reinstall", "5546", "--confirm", "REINSTALL")
	if log = w.tick(); strings.Contains(log, "ERR") {
		t.Errorf("the reinstallation:\n%s", log)
	}
	has("reinstalled", []string{v4, v6}, map[string]string{v4: own, v6: "mail.example.org"})
	w.ok("terminate", "5546")
	if log = w.tick(); w.status(5546) != kvm.Remove || strings.Count(log, "-del OK [powerdns] ") != 3 {
		t.Fatalf("the end:\n%s", log)
	}
	has("terminated", nil, map[string]string{v4: "", next4: "", v6: ""})
	if left := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_dns_records"); left != "0" {
		t.Errorf("%s records are left in the journal", left)
	}
}

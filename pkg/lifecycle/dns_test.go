package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

var errDown = kvm.Errorf(kvm.ErrUnreachable, "connection refused")

// newZoned has two IPv4 addresses and an IPv6 address for each VM.
func newZoned(t *testing.T) *zoned {
	t.Helper()
	w := newDestroyWorld(t, pvesim.Instant(), "ipv4=2", "ipv6=1")
	w.pool("2001:db8::10", "2001:db8::ff", "2001:db8::1", 64, "vmbr0", 0)
	return withDNS(w)
}

const reverse6 = ".0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"

// names are all records of a VM with the name that has the addresses 192.0.2.first and first + 1 and 2001:db8::six.
func names(name string, first int, six string) string {
	return sorted(fmt.Sprintf(`%d.2.0.192.in-addr.arpa PTR %[3]s
%[2]d.2.0.192.in-addr.arpa PTR %[3]s
%[4]s.0%[5]s PTR %[3]s
%[3]s A 192.0.2.%[1]d 192.0.2.%[2]d
%[3]s AAAA 2001:db8::%[6]s`, first, first+1, name, six[1:]+"."+six[:1], reverse6, six))
}

func (z *zoned) same(what string, got, want string) {
	z.t.Helper()
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
		z.t.Errorf("%s: %s", what, d)
	}
}

func (z *zoned) fqdn(id int64) string { return z.service(id).Row.Name + ".example.com" }

// TestNamesOfALife: what DNS says in a VM's life, at two servers, and what is noted of it.
func TestNamesOfALife(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	z.first.put("www.example.com", dns.A, "203.0.113.1")
	z.first.put("10.2.0.192.in-addr.arpa", dns.PTR, "former.example.net")
	const foreign = "www.example.com A 203.0.113.1"
	id := z.ready()
	name := z.fqdn(id)
	forward := fmt.Sprintf("%[1]s A 192.0.2.10 192.0.2.11\n%[1]s AAAA 2001:db8::10", name)
	z.same("deployed", z.first.all(), sorted(names(name, 10, "10"), foreign))
	z.same("at the second server", z.second.all(), forward)
	z.same("operations", z.told(), strings.ReplaceAll(`fwd OK [powerdns] example.com NAME 192.0.2.10,192.0.2.11,2001:db8::10
fwd OK [cloudflare] example.com NAME 192.0.2.10,192.0.2.11,2001:db8::10
rev OK [powerdns] 2.0.192.in-addr.arpa NAME 192.0.2.10
rev OK [powerdns] 2.0.192.in-addr.arpa NAME 192.0.2.11
rev OK [powerdns] 8.b.d.0.1.0.0.2.ip6.arpa NAME 2001:db8::10`, "NAME", name))
	z.same("journal", z.noted(id), strings.ReplaceAll(`forward NAME 192.0.2.10 set
forward NAME 192.0.2.11 set
forward NAME 2001:0db8:0000:0000:0000:0000:0000:0010 set
reverse NAME 192.0.2.10 set
reverse NAME 192.0.2.11 set
reverse NAME 2001:0db8:0000:0000:0000:0000:0000:0010 set`, "NAME", name))
	if len(z.summaries) != 1 || !strings.HasPrefix(z.summaries[0], fmt.Sprintf("dns of service %d\nfwd [powerdns] example.com: %s, 192.0.2.10", id, name)) {
		t.Errorf("module log: %q", z.summaries)
	}

	// One address less: its names go, at once; one more again: it comes.
	z.product("ipv4=1")
	z.ask(id, kvm.VerbChangePackage)
	z.finish(id, kvm.Ready)
	if all := z.first.all(); strings.Contains(all, "192.0.2.11") || strings.Contains(all, "11.2.0.192") || strings.Contains(z.second.all(), "192.0.2.11") {
		t.Errorf("an address that has left is in DNS:\n%s", all)
	}
	z.told()
	z.product("ipv4=3")
	z.open() // which forgets what was given out a moment ago
	z.ask(id, kvm.VerbChangePackage)
	z.finish(id, kvm.Ready)
	if all := z.first.all(); !strings.Contains(all, "A 192.0.2.10 192.0.2.11 192.0.2.12\n") || !strings.Contains(all, "12.2.0.192.in-addr.arpa PTR "+name) {
		t.Errorf("with three addresses:\n%s", all)
	}
	z.product("ipv4=2")
	z.ask(id, kvm.VerbChangePackage)
	z.finish(id, kvm.Ready)
	z.same("changed", z.first.all(), sorted(names(name, 10, "10"), foreign))

	// A name of the customer's choice.
	sv := z.service(id)
	z.set(id, `vm_rev_dns = '{"192.0.2.11":"mail.example.org","192.0.2.99":"other.example.org"}'`)
	z.told()
	z.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'set_dns_records' WHERE service_id = ?", id)
	z.finish(id, kvm.Ready)
	if told := z.told(); strings.Count(told, "-del OK") != 6 || strings.Count(told, "fwd OK")+strings.Count(told, "rev OK") != 5 {
		t.Errorf("renewed:\n%s", told)
	}
	z.same("chosen", z.first.all(), sorted(strings.Replace(names(name, 10, "10"), "11.2.0.192.in-addr.arpa PTR "+name, "11.2.0.192.in-addr.arpa PTR mail.example.org", 1), foreign))

	z.ask(id, kvm.VerbReinstall)
	z.finish(id, kvm.Ready)
	if got := z.first.all(); !strings.Contains(got, "11.2.0.192.in-addr.arpa PTR mail.example.org") || z.service(id).Row.VMID != sv.Row.VMID {
		t.Errorf("reinstalled:\n%s", got)
	}
	z.ask(id, kvm.VerbTerminate)
	z.finish(id, kvm.Remove)
	z.same("terminated", z.first.all(), foreign)
	z.same("at the second server", z.second.all(), "")
	z.same("journal", z.noted(id), "")
	if got := z.db.Text("SELECT COALESCE(vm_rev_dns, '') FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id); got != "" {
		t.Errorf("names of choice are left: %s", got)
	}
}

// TestDNSNeverStops: whatever is wrong with DNS, each table comes to its end, and says what failed.
func TestDNSNeverStops(t *testing.T) {
	t.Parallel()
	for what, trouble := range map[string]func(z *zoned){
		"refused":     func(z *zoned) { z.first.fail(kvm.Errorf(kvm.ErrRefused, "no")) },
		"unreachable": func(z *zoned) { z.first.fail(errDown) },
		"wrong key":   func(z *zoned) { z.first.fail(kvm.Errorf(kvm.ErrAuth, "401")) },
		"silent":      func(z *zoned) { z.first.hang = true },
		"no settings": func(z *zoned) {
			zones, _ := z.zones(context.Background())
			for i := range 3 {
				zones[i].Problem = errors.New("nonsense")
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			z := newZoned(t)
			trouble(z)
			id := z.order()
			out := z.reach(id, allRows)
			if note := out.note(title(rowDNS)); note != "4 of 5 failed" {
				t.Errorf("the row says %q", note)
			}
			if told := z.told(); strings.Count(told, "ERR [powerdns]") != 4 || strings.Count(told, "OK [cloudflare]") != 1 {
				t.Errorf("told:\n%s", told)
			}
			for _, verb := range []kvm.Verb{kvm.VerbChangePackage, kvm.VerbReinstall} {
				z.ask(id, verb)
				z.finish(id, kvm.Ready)
			}
			z.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'set_dns_records' WHERE service_id = ?", id)
			z.finish(id, kvm.Ready)
			z.ask(id, kvm.VerbRedeploy)
			z.finish(id, kvm.Creation)
			z.finish(id, kvm.Ready)
			z.ask(id, kvm.VerbTerminate)
			z.finish(id, kvm.Remove)
		})
	}
}

// TestDNSNeedsTheDatabase: where the database fails nothing would know of the records, so that the row is repeated; and what is noted
// of a service that has ended goes, whatever was to become of it when the database failed.
func TestDNSNeedsTheDatabase(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	zones := z.zones
	fails := func() {
		z.zones = func(context.Context) ([]dns.Zone, error) {
			z.zones = zones
			return nil, errors.New("invalid connection")
		}
	}
	id := z.order()
	z.reach(id, rowIP)
	fails()
	if out := z.walk(id, 0); !strings.Contains(out.Message, "invalid connection") || z.at(id) != kvm.SetIP {
		t.Errorf("at %s: %q", z.at(id), out.Message)
	}
	z.finish(id, kvm.Ready)
	z.same("set", z.first.all(), names(z.fqdn(id), 10, "10"))
	z.ask(id, kvm.VerbTerminate)
	fails()
	if out := z.walk(id, 0); !strings.Contains(out.Message, "invalid connection") || z.at(id) != kvm.TEStopped {
		t.Errorf("at %s: %q", z.at(id), out.Message)
	}
	z.db.Exec("CREATE TABLE kept SELECT * FROM puq_proxmox_kvm_dns_records")
	z.finish(id, kvm.Remove)
	z.same("removed", z.first.all(), "")

	z.db.Exec("INSERT INTO puq_proxmox_kvm_dns_records SELECT * FROM kept")
	z.db.Exec("UPDATE puq_proxmox_kvm_dns_records SET state = 'due' WHERE kind = 'reverse'")
	if n := z.start(nil).life.SetNames(t.Context(), z.service(id)); n.Problem != nil || n.Failed() > 0 || z.noted(id) != "" {
		t.Errorf("%+v, noted:\n%s", n, z.noted(id))
	}
}

// TestWhatAServerThatWasDownHasKept: it is known, also after the service has ended, and goes when the server is back; a
// new VM of the service does not share its name with the address that somebody else has got since.
func TestWhatAServerThatWasDownHasKept(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	id := z.ready()
	name := z.fqdn(id)
	z.first.fail(errDown)
	z.ask(id, kvm.VerbTerminate)
	z.finish(id, kvm.Remove)
	z.same("the server keeps", z.first.all(), names(name, 10, "10"))
	z.same("at the second server", z.second.all(), "")
	if got := z.noted(id); strings.Count(got, " gone") != 6 || strings.Contains(got, " set") || strings.Contains(got, " due") {
		t.Errorf("journal:\n%s", got)
	}
	// Another service gets the addresses, and while the server is down nothing changes there.
	z.open()
	other := z.ready()
	if got := z.db.Text("SELECT dedicatedip FROM tblhosting WHERE id = ?", other); got != "192.0.2.10" {
		t.Fatalf("the other has %s", got)
	}
	z.first.fail(nil)
	otherName := z.fqdn(other)
	p := z.start(nil)
	if n := p.life.SetNames(t.Context(), z.service(other)); n.Failed() > 0 || n.Problem != nil {
		t.Fatalf("%+v", n)
	}
	// The first service's leftovers go; the PTRs are the other's by now and stay.
	if n := p.life.SetNames(t.Context(), z.service(id)); n.Failed() > 0 || n.Problem != nil || len(n.Results) != 5 {
		t.Fatalf("%+v", n)
	}
	z.same("after both", z.first.all(), names(otherName, 10, "10"))
	z.same("journal", z.noted(id), "")
	// And again, with a new order of the service itself in place of a sync.
	z.first.fail(errDown)
	z.ask(other, kvm.VerbTerminate)
	z.finish(other, kvm.Remove)
	z.first.fail(nil)
	z.open()
	third := z.ready() // takes the addresses
	z.create(other)
	z.finish(other, kvm.Ready)
	z.same("a new order", z.first.all(), sorted(names(z.fqdn(other), 12, "11"), names(z.fqdn(third), 10, "10")))
}

func sorted(parts ...string) string {
	m := newMemoryDNS()
	for line := range strings.SplitSeq(strings.Join(parts, "\n"), "\n") {
		f := strings.Fields(line)
		for _, v := range f[2:] {
			m.put(f[0], dns.Type(f[1]), v)
		}
	}
	return m.all()
}

// TestOfWhomNothingIsWritten: a service that ends, that WHMCS has ended, or whose domain is no host name.
func TestOfWhomNothingIsWritten(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	id := z.ready()
	name, before := z.fqdn(id), z.first.all()
	p := z.start(nil)
	for what, change := range map[string]string{
		"cancelled": "UPDATE tblhosting SET domainstatus = 'Cancelled'", "no domain": "UPDATE tblhosting SET domain = ''", "no host name": "UPDATE tblhosting SET domain = 'my server!'",
		"one label": "UPDATE tblhosting SET domain = 'server'", "being terminated": "UPDATE puqProxmoxKVM_vm_info SET vm_status = 'te_dns_removed'",
		"lost": "UPDATE puqProxmoxKVM_vm_info SET vm_status = 'error_terminate'",
	} {
		z.first.put("12.2.0.192.in-addr.arpa", dns.PTR, name)
		z.db.Exec("INSERT INTO puq_proxmox_kvm_dns_records (service_id, kind, name, address, state) VALUES (?, 'reverse', ?, '192.0.2.12', 'gone')", id, name)
		z.db.Exec("UPDATE puq_proxmox_kvm_dns_records SET state = 'due' WHERE address = '192.0.2.11' AND kind = 'reverse'")
		z.db.Exec(change)
		n := p.life.SetNames(t.Context(), z.service(id))
		if n.Failed() > 0 || n.Problem != nil || len(n.Results) != 1 || n.Results[0].Op != dns.ReverseDelete {
			t.Errorf("%s: %+v", what, n)
		}
		z.same(what, z.first.all(), before)
		if got := z.noted(id); strings.Count(got, " set") != 5 || strings.Count(got, " due") != 1 {
			t.Errorf("%s: journal:\n%s", what, got)
		}
		z.db.Exec("UPDATE tblhosting SET domainstatus = 'Active', domain = ?", name)
		z.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready'")
	}
}

// TestARecordOfAnother: two services with one name and address in the journal: the one that loses it does not take it from
// the other.
func TestARecordOfAnother(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	id := z.ready()
	name := z.fqdn(id)
	z.db.Exec("INSERT INTO puq_proxmox_kvm_dns_records (service_id, kind, name, address, state) VALUES (77, 'forward', ?, '192.0.2.10', 'set')", name)
	z.ask(id, kvm.VerbTerminate)
	z.finish(id, kvm.Remove)
	z.same("the shared one stays", z.first.all(), name+" A 192.0.2.10")
	z.same("journal", z.noted(id), "")
}

// TestDNSCrash: a process that dies at any call of the DNS row leaves nothing that the next one does not mend.
func TestDNSCrash(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	z.first.put("10.2.0.192.in-addr.arpa", dns.PTR, "former.example.net")
	id := z.order()
	z.reach(id, rowIP)
	row := z.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_dns_records")
	if row != "0" {
		t.Fatal(row)
	}
	for at := 1; ; at++ {
		f := &fuse{at: at}
		p := z.start(f)
		s := z.service(id)
		s.Row.Owner = p.owner
		n := p.life.SetNames(t.Context(), s)
		if !f.blown() {
			if at != 4 || n.Problem != nil {
				t.Errorf("%d calls: %v, %v", at-1, f.calls, n.Problem)
			}
			break
		}
		if n.Problem == nil {
			t.Errorf("at %s: no problem", f.calls[len(f.calls)-1])
		}
		if len(n.Results) > 0 && z.noted(id) == "" {
			t.Errorf("at %s: %d operations, noted:\n%s", f.calls[len(f.calls)-1], len(n.Results), z.noted(id))
		}
	}
	z.same("in the end", z.first.all(), names(z.fqdn(id), 10, "10"))
	if got := z.noted(id); strings.Count(got, " set") != 6 {
		t.Error(got)
	}
}

func TestReverseNameOf(t *testing.T) {
	z := newZoned(t)
	id := z.order()
	z.reach(id, rowIP)
	s := z.service(id)
	s.Reverse = map[netip.Addr]string{addr("192.0.2.11"): "mail.example.org"}
	p := z.start(nil)
	if n := p.life.SetNames(t.Context(), s); n.Failed() > 0 {
		t.Fatalf("%+v", n)
	}
	// The choice is taken back: the name that was written goes.
	s.Reverse = nil
	if n := p.life.SetNames(t.Context(), s); n.Failed() > 0 {
		t.Fatalf("%+v", n)
	}
	z.same("taken back", z.first.all(), names(z.fqdn(id), 10, "10"))
	if got := z.noted(id); strings.Contains(got, "mail.example.org") {
		t.Error(got)
	}
}

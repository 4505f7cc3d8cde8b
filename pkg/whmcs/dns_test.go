package whmcs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

func TestZones(t *testing.T) {
	x := newShop(t, whmcstest.WithPHPTables()) // with a zone example.com
	z := kvm.DNSZone{Name: "2.0.192.in-addr.arpa", Kind: "hestiacp", Secret: kvm.NewSecret("zone-secret-1"),
		Settings: kvm.DNSSettings{URL: "https://panel.example.com:8083", User: "dns", Key: "KEY", TTL: 300, Fingerprints: []string{"AA"}}}
	id, err := x.AddZone(t.Context(), z)
	if err != nil {
		t.Fatal(err)
	}
	z.ID = id
	read := func() []kvm.DNSZone {
		t.Helper()
		got, err := x.ReadZones(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := read()
	if len(got) != 2 || got[0].Name != "example.com" || got[0].Problem == nil || !errors.Is(got[0].Problem, kvm.ErrAdmin) || !got[0].Secret.Empty() {
		t.Errorf("another program's zone: %+v", got[0])
	}
	if got[1].Secret.Reveal() != "zone-secret-1" || cmp.Diff(z.Settings, got[1].Settings) != "" || got[1].Problem != nil || got[1].ID != id || got[1].Kind != "hestiacp" {
		t.Errorf("%+v", got[1])
	}
	if text := x.db.Text("SELECT config FROM puq_proxmox_kvm_dns_zones WHERE id = ?", id); strings.Contains(text, "zone-secret-1") || !strings.Contains(text, `"secret":"`) {
		t.Errorf("stored as %s", text)
	}
	z.Name, z.Secret = "3.0.192.in-addr.arpa", kvm.NewSecret("zone-secret-2")
	if err := x.EditZone(t.Context(), z); err != nil {
		t.Fatal(err)
	}
	if got = read(); got[1].Name != z.Name || got[1].Secret.Reveal() != "zone-secret-2" {
		t.Errorf("%+v", got[1])
	}
	x.db.Exec("UPDATE puq_proxmox_kvm_dns_zones SET config = REPLACE(config, '\"secret\":\"', '\"secret\":\"!') WHERE id = ?", id)
	if got = read(); got[1].Problem == nil {
		t.Error("a secret that does not decrypt is no problem")
	}
	if err := x.RemoveZone(t.Context(), id); err != nil || len(read()) != 1 {
		t.Error(err)
	}
	for _, err := range []error{x.RemoveZone(t.Context(), id), x.EditZone(t.Context(), z)} {
		if !errors.Is(err, kvm.ErrNotFound) {
			t.Error(err)
		}
	}
}

func forward(name, addr string, state kvm.DNSState) kvm.DNSRecord {
	return kvm.DNSRecord{Name: name, Addr: netip.MustParseAddr(addr), State: state}
}

func reverse(addr, name string, state kvm.DNSState) kvm.DNSRecord {
	return kvm.DNSRecord{Reverse: true, Name: name, Addr: netip.MustParseAddr(addr), State: state}
}

// noted are the service's records, a line each.
func (x *shop) noted(service int64) string {
	x.Helper()
	list, err := x.DNSRecords(x.Context(), service)
	if err != nil {
		x.Fatal(err)
	}
	var out []string
	for _, r := range list {
		kind, others := "fwd", ""
		if r.Reverse {
			kind = "rev"
		}
		if r.Others {
			others = " others"
		}
		out = append(out, fmt.Sprintf("%s %s %s %s%s", kind, r.Name, r.Addr, r.State, others))
	}
	return strings.Join(out, ", ")
}

func (x *shop) note(service int64, records ...kvm.DNSRecord) {
	x.Helper()
	if err := x.NoteDNS(x.Context(), service, records); err != nil {
		x.Fatal(err)
	}
}

// TestDNSRecords: what was to be written or removed is known until every zone has said so.
func TestDNSRecords(t *testing.T) {
	x := newShop(t)
	if x.note(7); x.noted(7) != "" {
		t.Error(x.noted(7))
	}
	x.note(7, forward("vm.example.com", "192.0.2.6", kvm.DNSDue), forward("vm.example.com", "2001:db8::6", kvm.DNSDue), reverse("192.0.2.6", "vm.example.com", kvm.DNSDue))
	if err := x.DNSDone(t.Context(), 7, []kvm.DNSRecord{reverse("192.0.2.6", "vm.example.com", "")}); err != nil {
		t.Fatal(err)
	}
	if got := x.noted(7); got != "fwd vm.example.com 192.0.2.6 set, fwd vm.example.com 2001:db8::6 set, rev vm.example.com 192.0.2.6 due" {
		t.Error(got)
	}
	x.note(7, forward("vm.example.com", "192.0.2.6", kvm.DNSGone), forward("vm.example.com", "2001:db8::6", kvm.DNSGone))
	if err := x.DNSDone(t.Context(), 7, []kvm.DNSRecord{forward("vm.example.com", "2001:db8::6", "")}); err != nil {
		t.Fatal(err)
	}
	if got := x.noted(7); got != "fwd vm.example.com 2001:db8::6 gone, rev vm.example.com 192.0.2.6 set" {
		t.Error(got)
	}
	if ids, err := x.UnfinishedDNS(t.Context()); err != nil || fmt.Sprint(ids) != "[7]" {
		t.Error(ids, err)
	}
	// What another service has by now is not this one's to remove; what that one is to lose, too, is.
	x.note(8, forward("vm.example.com", "2001:db8::6", kvm.DNSDue), reverse("192.0.2.6", "vm.example.com", kvm.DNSGone))
	if got := x.noted(7); got != "fwd vm.example.com 2001:db8::6 gone others, rev vm.example.com 192.0.2.6 set" {
		t.Error(got)
	}
	x.order(9)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready'")
	if ids, err := x.NamedServices(t.Context()); err != nil || fmt.Sprint(ids) != "[7 8 9]" {
		t.Error(ids, err)
	}
	x.db.Exec("UPDATE puq_proxmox_kvm_dns_records SET address = 'nonsense' WHERE service_id = 8")
	if _, err := x.DNSRecords(t.Context(), 8); !errors.Is(err, kvm.ErrAdmin) {
		t.Error(err)
	}
}

func TestReverseNames(t *testing.T) {
	for text, want := range map[string]string{
		"": "map[]", "null": "map[]", "[]": "map[]", "{": "map[]", `{"192.0.2.10":"Mail.Example.org."}`: "map[192.0.2.10:mail.example.org]",
		`{"2001:0db8:0000:0000:0000:0000:0000:0006":"a.example.org","x":"b.example.org","192.0.2.1":"no name","192.0.2.2":5}`: "map[2001:db8::6:a.example.org]",
	} {
		if got := fmt.Sprint(reverseNames(text)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	x := newShop(t)
	x.order(7)
	sv := x.hold(7)
	names := map[netip.Addr]string{netip.MustParseAddr("2001:db8::6"): "mail.example.org"}
	ticket := &kvm.Mail{ServiceID: 7, Action: "OpenTicket", Key: "rdns:7", Params: map[string]string{"subject": "s"}}
	if err := x.SetReverseNames(t.Context(), sv, names, ticket); err != nil {
		t.Fatal(err)
	}
	if got := x.vm("vm_rev_dns", 7); got != `{"2001:0db8:0000:0000:0000:0000:0000:0006":"mail.example.org"}` {
		t.Error(got)
	}
	if again := x.holdNothing(7); cmp.Diff(names, again.Reverse, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) != "" {
		t.Errorf("%v", again.Reverse)
	}
	if state, err := x.MailState(t.Context(), "rdns:7"); state != kvm.MailPending || err != nil {
		t.Error(state, err)
	}
	if _, err := x.MailState(t.Context(), "rdns:8"); !errors.Is(err, kvm.ErrNotFound) {
		t.Error(err)
	}
	// Neither without the other, and nothing under a claim that was lost.
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = 'thief'")
	ticket.Key = "rdns:9"
	if err := x.SetReverseNames(t.Context(), sv, nil, ticket); !errors.Is(err, kvm.ErrMoved) {
		t.Error(err)
	}
	if _, err := x.MailState(t.Context(), "rdns:9"); !errors.Is(err, kvm.ErrNotFound) || x.vm("vm_rev_dns", 7) == "{}" {
		t.Error(err)
	}
}

// holdNothing reads the service as it is stored.
func (x *shop) holdNothing(id int64) *kvm.Service {
	x.Helper()
	sv, err := x.Service(x.Context(), id)
	if err != nil {
		x.Fatal(err)
	}
	return sv
}

func TestTicketOpened(t *testing.T) {
	x := newShop(t)
	e := kvm.OutboxEntry{ClientID: 42, Mail: kvm.Mail{Params: map[string]string{"subject": "Reverse DNS of 192.0.2.10"}}}
	opened := func(want bool) {
		t.Helper()
		if got, err := x.TicketOpened(t.Context(), e); got != want || err != nil {
			t.Errorf("%t, %v; want %t", got, err, want)
		}
	}
	opened(false)
	x.db.Exec("INSERT INTO tbltickets (did, userid, name, email, c, title, message, status, urgency, service) VALUES (1, 43, '', '', '', 'Reverse DNS of 192.0.2.10', '', 'Open', '', '')")
	opened(false)
	x.db.Exec("UPDATE tbltickets SET userid = 42")
	opened(true)
	x.db.Exec("DROP TABLE tbltickets")
	opened(false)
}

// TestLease: one of many has it, for as long as it lives; a dead owner's is free at once.
func TestLease(t *testing.T) {
	x := newShop(t)
	take := func(owner string, life time.Duration, want bool) {
		t.Helper()
		if got, err := x.TakeLease(t.Context(), "dns/one", owner, life); got != want || err != nil {
			t.Fatalf("%s has it: %t, %v; want %t", owner, got, err, want)
		}
	}
	take("a", time.Hour, true)
	take("b", time.Hour, false)
	take("a", time.Hour, true) // its own is no hindrance
	if err := x.DropLease(t.Context(), "dns/one", "b"); err != nil {
		t.Fatal(err)
	}
	take("b", time.Hour, false)
	if err := x.DropLease(t.Context(), "dns/one", "a"); err != nil {
		t.Fatal(err)
	}
	take("b", time.Hour, true)
	x.db.Exec("UPDATE puq_proxmox_kvm_leases SET until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND")
	take(x.deadOwner(), time.Hour, true)
	take("c", time.Hour, true)
	take("d", time.Hour, false)
	if won, err := x.TakeLease(t.Context(), "dns/two", "d", time.Hour); !won || err != nil {
		t.Errorf("another lease: %t, %v", won, err)
	}
}

func TestLeaseHasOneOwner(t *testing.T) {
	x := newShop(t)
	stores := x.others(8, true)
	for round := range 40 {
		name := fmt.Sprintf("dns/%d", round/2) // each is there half of the times
		x.db.Exec("UPDATE puq_proxmox_kvm_leases SET owner = '', until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND")
		var mu sync.Mutex
		var winners []string
		var wg sync.WaitGroup
		for n, s := range stores {
			wg.Go(func() {
				owner := fmt.Sprintf("owner-%d", n)
				won, err := s.TakeLease(t.Context(), name, owner, time.Hour)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if won {
					winners = append(winners, owner)
				}
			})
		}
		wg.Wait()
		if len(winners) > 1 {
			t.Fatalf("round %d: %v have it", round, winners)
		}
		if len(winners) == 1 && x.db.Text("SELECT owner FROM puq_proxmox_kvm_leases WHERE name = ?", name) != winners[0] {
			t.Fatalf("round %d: %s won, and does not have it", round, winners[0])
		}
	}
}

func TestDNSEntries(t *testing.T) {
	x := newShop(t)
	x.order(7, 8, 9)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready', vm_rev_dns = '{\"192.0.2.11\":\"mail.example.org\"}' WHERE service_id IN (7, 8)")
	x.db.Exec("UPDATE tblhosting SET domain = 'vm.example.com', dedicatedip = '192.0.2.10', assignedips = '192.0.2.11\r\n2001:0db8:0000:0000:0000:0000:0000:0006, rubbish' WHERE id IN (7, 9)")
	list, err := x.DNSEntries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprintf("%d %s %s %s", e.Service, e.Domain, e.Addr, e.Reverse))
	}
	want := []string{"7 vm.example.com 192.0.2.10 vm.example.com", "7 vm.example.com 192.0.2.11 mail.example.org", "7 vm.example.com 2001:db8::6 vm.example.com"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

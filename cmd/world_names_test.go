package cmd

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
)

// The zones of a world with names.
var nameZones = []string{"example.com", "2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"}

// withNames gives the world zones at HestiaCP, whose adds may not be repeated and whose ids are used again, with records of
// others in them. A command takes work there.
func (w *world) withNames(work time.Duration) {
	w.t.Helper()
	h := startHestia(w.t, work)
	w.names = &h
	url := w.before(toDNS, h, w.heard.Load, "cmd", func(name string) bool { return name != hestiasim.List })
	for _, zone := range nameZones {
		h.addZone(zone)
		text, err := w.sealed(dnsSecret)
		if err != nil {
			w.t.Fatal(err)
		}
		w.db.Exec("INSERT INTO puq_proxmox_kvm_dns_zones (zone, type, config) VALUES (?, 'hestiacp', ?)", zone,
			fmt.Sprintf(`{"url":%q,"user":%q,"key":%q,"secret":%q}`, url, hestiaOf, hestiaKey, text))
	}
	// Whoever writes there first makes the row of the lease; that is one call more.
	w.db.Exec("INSERT INTO puq_proxmox_kvm_leases (name, until) VALUES (?, UTC_TIMESTAMP(6))", fmt.Sprintf("dns/hestiacp/%x", sha256.Sum256([]byte(serverHost(kvm.DNSSettings{URL: url})))))
	h.Put("example.com", hestiasim.Record{Record: "@", Type: "A", Value: "203.0.113.80"})
	h.Put("2.0.192.in-addr.arpa", hestiasim.Record{Record: "1", Type: "PTR", Value: "gateway.example.net."})
	h.Put("8.b.d.0.1.0.0.2.ip6.arpa", hestiasim.Record{Record: "1", Type: "PTR", Value: "gateway.example.net."})
}

func (w *world) sealed(text string) (string, error) {
	return whmcs.NewCipher(kvm.NewSecret(testHash)).Encrypt(kvm.NewSecret(text))
}

// namesOf are the DNS records of the service, one line each, with addresses as the database has them; others are all other
// records.
func (w *world) namesOf(id int64) (own, others []string) {
	if w.names == nil {
		return nil, nil
	}
	name := "vps-42-" + strconv.FormatInt(id, 10)
	for _, zone := range nameZones {
		for _, r := range w.names.Records(zone) {
			line := fmt.Sprintf("record: %s %s %s %s", zone, r.Record, r.Type, r.Value)
			switch {
			case r.Type == "NS":
			case r.Record == name:
				value := r.Value
				if a, err := netip.ParseAddr(value); err == nil {
					value = whmcs.StoredAddr(a)
				}
				own = append(own, "record: <name> "+r.Type+" "+value)
			case strings.HasPrefix(r.Value, name+"."):
				a, _ := dns.ReverseAddr(r.Record + "." + zone)
				own = append(own, "record: "+whmcs.StoredAddr(a)+" "+r.Type+" <name>")
			default:
				others = append(others, line)
			}
		}
	}
	slices.Sort(own)
	slices.Sort(others)
	return own, others
}

// named checks that just the names of these services stand in DNS, each once, beside those of others.
func (w *world) named(services []int64) {
	w.t.Helper()
	for _, text := range w.misnamed(services, nil) {
		w.t.Error(text)
	}
}

// misnamed says in what DNS differs from the names of these services, each once, beside the records of others. What stands
// there of services of which nothing is known to be right or wrong does not count.
func (w *world) misnamed(services, unknown []int64) (wrong []string) {
	w.t.Helper()
	want := map[string]bool{}
	for _, id := range services {
		name := "vps-42-" + strconv.FormatInt(id, 10)
		for _, text := range w.column("SELECT address FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state = 'claimed'", id) {
			a := netip.MustParseAddr(text)
			want[fmt.Sprintf("%s %s %s", name, dns.TypeOf(a), a)] = true
			if at := dns.ReverseName(a); slices.ContainsFunc(nameZones, func(zone string) bool { return strings.HasSuffix(at, "."+zone) }) {
				want[fmt.Sprintf("%s PTR %s.example.com.", at, name)] = true
			}
		}
	}
	foreign := 0
	for _, zone := range nameZones {
		ids := map[int]bool{}
		for _, r := range w.names.Records(zone) {
			if ids[r.ID] {
				wrong = append(wrong, fmt.Sprintf("zone %s has several rows with the id %d", zone, r.ID))
			}
			ids[r.ID] = true
			line := fmt.Sprintf("%s %s %s", r.Record, r.Type, r.Value)
			if r.Type == "PTR" {
				line = fmt.Sprintf("%s.%s PTR %s", r.Record, zone, r.Value)
			}
			switch {
			case r.Type == "NS":
			case want[line]:
				delete(want, line)
			case r.Record == "@" || r.Record == "1":
				foreign++
			case slices.ContainsFunc(unknown, func(id int64) bool {
				name := "vps-42-" + strconv.FormatInt(id, 10)
				return r.Record == name || strings.HasPrefix(r.Value, name+".")
			}):
			default:
				wrong = append(wrong, "in DNS stands, perhaps twice: "+line)
			}
		}
	}
	if foreign != 3 {
		wrong = append(wrong, fmt.Sprintf("%d of 3 records of others are in DNS", foreign))
	}
	for line := range want {
		wrong = append(wrong, "in DNS is missing: "+line)
	}
	slices.Sort(wrong)
	return wrong
}

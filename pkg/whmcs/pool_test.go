package whmcs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

var sameAddr = cmpopts.EquateComparable(netip.Addr{})

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func TestPools(t *testing.T) {
	s, db := newStore(t)
	ctx := t.Context()
	server, other := db.AddServer(whmcstest.Server{}), db.AddServer(whmcstest.Server{})
	v4 := kvm.Pool{ServerID: server, Family: kvm.IPv4, Bridge: "vmbr0", VLAN: 20, Gateway: addr("192.0.2.1"), Bits: 24, DNS1: addr("198.51.100.53"), First: addr("192.0.2.10"), Last: addr("192.0.2.99")}
	v6 := kvm.Pool{ServerID: other, Family: kvm.IPv6, Bridge: "vmbr1", Gateway: addr("2001:db8::1"), Bits: 64, DNS1: addr("2001:db8::53"), DNS2: addr("198.51.100.53"), First: addr("2001:db8::10"), Last: addr("2001:db8::ffff")}
	for _, p := range []*kvm.Pool{&v4, &v6} {
		var err error
		if p.ID, err = s.AddPool(ctx, *p); err != nil {
			t.Fatal(err)
		}
	}
	check := func(server int64, want ...kvm.Pool) {
		t.Helper()
		got, err := s.Pools(ctx, server)
		if diff := cmp.Diff(want, got, sameAddr); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	check(0, v4, v6)
	check(server, v4)
	check(999)
	if got := db.Text("SELECT address_stop FROM puq_proxmox_kvm_ip_pools WHERE id = ?", v6.ID); got != "2001:0db8:0000:0000:0000:0000:0000:ffff" {
		t.Errorf("stored as %s", got)
	}
	v4.Last, v4.VLAN, v4.DNS1 = addr("192.0.2.20"), 0, netip.Addr{}
	if err := s.EditPool(ctx, v4); err != nil {
		t.Fatal(err)
	}
	if err := s.EditPool(ctx, v4); err != nil {
		t.Errorf("an edit that changes nothing: %v", err)
	}
	check(server, v4)

	for i := range 3 {
		db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, pool_id, claimed_at) VALUES (?, 1, ?, UTC_TIMESTAMP(6))", "192.0.2.1"+string(rune('0'+i)), v4.ID)
	}
	if got, err := s.PoolClaims(ctx); err != nil || !cmp.Equal(got, map[int64]int{v4.ID: 3}) {
		t.Errorf("claims %v, %v", got, err)
	}
	if err := s.RemovePool(ctx, v6.ID); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{"remove": s.RemovePool(ctx, v6.ID), "edit": s.EditPool(ctx, kvm.Pool{ID: 999, ServerID: server, Family: kvm.IPv4, Bridge: "vmbr0", Gateway: v4.Gateway, Bits: 24, First: v4.First, Last: v4.Last})} {
		if !errors.Is(err, kvm.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v4.ServerID = 999
	if _, err := s.AddPool(ctx, v4); !errors.Is(err, kvm.ErrNotFound) {
		t.Errorf("a pool of no server: %v", err)
	}
}

func TestPoolRefused(t *testing.T) {
	s, db := newStore(t)
	server := db.AddServer(whmcstest.Server{})
	good := kvm.Pool{ServerID: server, Family: kvm.IPv4, Bridge: "vmbr0", Gateway: addr("192.0.2.1"), Bits: 24, First: addr("192.0.2.10"), Last: addr("192.0.2.99")}
	for name, change := range map[string]func(*kvm.Pool){
		"backwards": func(p *kvm.Pool) { p.First, p.Last = p.Last, p.First },
		"mixed":     func(p *kvm.Pool) { p.Last = addr("2001:db8::1") },
		"family":    func(p *kvm.Pool) { p.Family = kvm.IPv6 },
		"gateway":   func(p *kvm.Pool) { p.Gateway = netip.Addr{} },
		"bits":      func(p *kvm.Pool) { p.Bits = 33 },
		"VLAN":      func(p *kvm.Pool) { p.VLAN = 4095 },
		"bridge":    func(p *kvm.Pool) { p.Bridge = " " },
		"no range":  func(p *kvm.Pool) { p.First, p.Last = netip.Addr{}, netip.Addr{} },
	} {
		p := good
		change(&p)
		if _, err := s.AddPool(t.Context(), p); !errors.Is(err, kvm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if pools, err := s.Pools(t.Context(), 0); err != nil || len(pools) != 0 {
		t.Errorf("stored all the same: %v, %v", pools, err)
	}
}

// Rows that a PHP installation wrote, with what its columns let through.
func TestPoolRowsOfPHP(t *testing.T) {
	s, db := newStore(t)
	db.Exec("ALTER TABLE puq_proxmox_kvm_ip_pools MODIFY mask varchar(64) NULL, MODIFY vlan varchar(8) NULL, MODIFY dns1 varchar(64) NULL, MODIFY dns2 varchar(64) NULL, MODIFY gateway varchar(64) NULL, MODIFY type varchar(8) NULL")
	db.Exec("INSERT INTO puq_proxmox_kvm_ip_pools (server_id, type, bridge, vlan, gateway, mask, dns1, dns2, address_start, address_stop) VALUES (1, 'IPV4', ' vmbr0 ', NULL, '192.0.2.1', '255.255.255.0', NULL, '', ' 192.0.2.10', '192.0.2.20 ')")
	got, err := s.Pools(t.Context(), 1)
	if err != nil || len(got) != 1 || got[0].Bits != 24 || got[0].Bridge != "vmbr0" || got[0].VLAN != 0 || got[0].DNS1.IsValid() || got[0].Last != addr("192.0.2.20") {
		t.Errorf("%+v, %v", got, err)
	}
	for column, value := range map[string]any{"mask": "255.0.255.0", "gateway": nil, "address_start": "192.0.2", "type": "ipv6", "vlan": "x", "bridge": ""} {
		was := db.Text("SELECT " + column + " FROM puq_proxmox_kvm_ip_pools")
		db.Exec("UPDATE puq_proxmox_kvm_ip_pools SET "+column+" = ?", value)
		if _, err := s.Pools(t.Context(), 1); !errors.Is(err, kvm.ErrInvalid) || !strings.Contains(err.Error(), "address pool 1 of server 1") || !strings.Contains(kvm.Hint(err), "ippool") {
			t.Errorf("%s = %v: %v", column, value, err)
		}
		if column == "vlan" {
			was = "0"
		}
		db.Exec("UPDATE puq_proxmox_kvm_ip_pools SET "+column+" = ?", was)
	}
}

func TestParseLegacyPools(t *testing.T) {
	got, err := ParseLegacyPools(3, "vmbr0|20|192.0.2.10|255.255.255.0|192.0.2.1|198.51.100.53, 203.0.113.53\r\n"+
		"vmbr0|20|192.0.2.11|24|192.0.2.1|198.51.100.53,203.0.113.53\r\n\r\n"+
		"vmbr0|20|192.0.2.13|/24|192.0.2.1|198.51.100.53,203.0.113.53\n"+
		" vmbr1 ||2001:DB8::10|64|2001:db8::1|\n"+
		"vmbr1|0|2001:db8::11|64|2001:db8::1")
	v4 := kvm.Pool{ServerID: 3, Family: kvm.IPv4, Bridge: "vmbr0", VLAN: 20, Gateway: addr("192.0.2.1"), Bits: 24, DNS1: addr("198.51.100.53"), DNS2: addr("203.0.113.53"), First: addr("192.0.2.10"), Last: addr("192.0.2.11")}
	single := v4
	single.First, single.Last = addr("192.0.2.13"), addr("192.0.2.13")
	v6 := kvm.Pool{ServerID: 3, Family: kvm.IPv6, Bridge: "vmbr1", Gateway: addr("2001:db8::1"), Bits: 64, First: addr("2001:db8::10"), Last: addr("2001:db8::11")}
	if diff := cmp.Diff([]kvm.Pool{v4, single, v6}, got, sameAddr); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := ParseLegacyPools(3, "vmbr0|1|192.0.2.10|24|192.0.2.1|\nvmbr0|2|192.0.2.11|24|192.0.2.1|"); err != nil || len(got) != 2 || got[1].VLAN != 2 {
		t.Errorf("neighbours on two VLANs: %v, %v", got, err)
	}
	if got, err := ParseLegacyPools(3, " \r\n\n"); err != nil || len(got) != 0 {
		t.Errorf("blank: %v, %v", got, err)
	}
	const first = "vmbr0|0|192.0.2.10|24|192.0.2.1|\n"
	for _, line := range []string{"192.0.2.11", "vmbr0|0|192.0.2.11|24", "vmbr0|0|192.0.2.11|24|192.0.2.1|a|b", "|0|192.0.2.11|24|192.0.2.1|", "vmbr0|5000|192.0.2.11|24|192.0.2.1|",
		"vmbr0|0|192.0.2.256|24|192.0.2.1|", "vmbr0|0|192.0.2.11|33|192.0.2.1|", "vmbr0|0|192.0.2.11|255.0.255.0|192.0.2.1|", "vmbr0|0|192.0.2.11|24||", "vmbr0|0|192.0.2.11|24|2001:db8::1|",
		"vmbr0|0|192.0.2.11|24|192.0.2.1|dns.example.com", "vmbr0|0|192.0.2.11|24|192.0.2.1|1.1.1.1,8.8.8.8,9.9.9.9", "vmbr0|0|192.0.2.10|24|192.0.2.1|", "vmbr0|0|fe80::1%eth0|64|fe80::2|"} {
		if got, err := ParseLegacyPools(3, first+line); !errors.Is(err, kvm.ErrInvalid) || !strings.HasPrefix(err.Error(), "line 2: ") || got != nil {
			t.Errorf("%s: %v, %v", line, got, err)
		}
	}
}

func FuzzParseLegacyPools(f *testing.F) {
	f.Add("vmbr0|20|192.0.2.10|255.255.255.0|192.0.2.1|198.51.100.53,203.0.113.53\nvmbr0|20|192.0.2.11|24|192.0.2.1|198.51.100.53,203.0.113.53")
	f.Add("vmbr1|0|2001:db8::11|64|2001:db8::1|")
	f.Add("vmbr1|0|255.255.255.255|32|1.1.1.1|\nvmbr1|0|::ffff:1.2.3.4|1|::1|")
	f.Fuzz(func(t *testing.T, text string) {
		pools, err := ParseLegacyPools(1, text)
		if err != nil {
			if !errors.Is(err, kvm.ErrInvalid) || pools != nil {
				t.Errorf("%q: %v, %v", text, pools, err)
			}
			return
		}
		total, lines := 0, 0
		for _, line := range strings.Split(text, "\n") {
			if strings.TrimSpace(line) != "" {
				lines++
			}
		}
		seen := map[netip.Addr]bool{}
		for _, p := range pools {
			if _, err := poolArgs(p); err != nil {
				t.Errorf("%q: %+v is no pool: %v", text, p, err)
			}
			for a := p.First; a.IsValid() && !p.Last.Less(a); a = a.Next() {
				if seen[a] {
					t.Errorf("%q: %s twice", text, a)
				}
				seen[a] = true
				total++
			}
		}
		if total != lines {
			t.Errorf("%q: %d addresses of %d lines", text, total, lines)
		}
	})
}

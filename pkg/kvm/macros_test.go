package kvm

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestExpandName(t *testing.T) {
	zone := time.FixedZone("CEST", 2*3600)
	values := MacroValues{Prefix: "vps", ClientID: 12, ServiceID: 5546, Now: time.Date(2026, 4, 1, 3, 20, 7, 0, zone)}
	for rule, want := range map[string]string{
		"{prefix}-{client_id}-{service_id}":         "vps-12-5546",
		"{year}{month}{day}-{hour}{minute}{second}": "20260401-032007",
		"{client_id}-{unixtime}":                    "12-1775006407",
		"plain":                                     "plain",
		"{random_letter_3}{random_digit_2}":         "abc34",
		"x{random_digit_4}":                         "x0123",
		"{prefix}{prefix}":                          "vpsvps",
	} {
		values.Rand = bytes.NewReader([]byte{0, 1, 2, 3, 4, 5})
		if got, err := ExpandName(rule, values); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", rule, got, err, want)
		}
	}
	for rule, want := range map[string]string{
		"":                   "no DNS label",
		"{foo}":              `no macro "{foo}"`,
		"{Prefix}":           `no macro "{Prefix}"`,
		"{prefix }":          "no macro",
		"{}":                 "no macro",
		"{prefix":            "a { without its }",
		"{prefix{year}}":     "a { without its }",
		"prefix}":            "a } without its {",
		"{random_digit_0}":   "no macro",
		"{random_digit_64}":  "no macro",
		"{random_digit_01}":  "no macro",
		"{random_digit_-1}":  "no macro",
		"{random_digit_+1}":  "no macro",
		"{random_digit_}":    "no macro",
		"{random_digit}":     "no macro",
		"VM{service_id}":     `the name "VM5546"`,
		"{service_id}.x":     "no DNS label",
		"{service_id}_x":     "no DNS label",
		"-{service_id}":      "no DNS label",
		"{service_id}-":      "no DNS label",
		"vm {service_id}":    "no DNS label",
		"vm\n":               "no DNS label",
		"ü{service_id}":      "no DNS label",
		"{random_digit_63}x": "(64 characters)",
	} {
		values.Rand = zeros{}
		got, err := ExpandName(rule, values)
		if got != "" || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q, %v; want %s", rule, got, err, want)
		}
	}
	for name, source := range map[string]MacroValues{"none": {}, "broken": {Rand: iotest.ErrReader(errors.New("no entropy"))}, "stuck": {Rand: ones{}}} {
		if got, err := ExpandName("a{random_digit_3}", source); err == nil || got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// ones is a source that gives nothing but bytes which are drawn again.
type ones struct{}

func (ones) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 255
	}
	return len(b), nil
}

func FuzzExpandName(f *testing.F) {
	for _, seed := range []string{"{prefix}-{client_id}-{service_id}", "{random_digit_9}{random_letter_63}", "{{}}", "{year", "}", "{random_digit_00}"} {
		f.Add(seed, "vps", int64(1), int64(5546), int64(1775784027))
	}
	f.Fuzz(func(t *testing.T, rule, prefix string, client, service, now int64) {
		m := MacroValues{Prefix: prefix, ClientID: client, ServiceID: service, Now: time.Unix(now%(1<<40), 0).UTC(), Rand: zeros{}}
		name, err := ExpandName(rule, m)
		if err != nil {
			if name != "" || !errors.Is(err, ErrInvalid) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q: %q, %q", rule, name, err)
			}
			return
		}
		if !ValidDNSLabel(name) || strings.ContainsAny(name, "{}") {
			t.Fatalf("%q: %q", rule, name)
		}
	})
}

func TestRandomPassword(t *testing.T) {
	const rounds = 20000
	count, seen := map[rune]int{}, map[string]bool{}
	for range rounds {
		secret, err := RandomPassword(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text := secret.Reveal()
		if len(text) != 16 || seen[text] || !strings.ContainsAny(text, lower) || !strings.ContainsAny(text, strings.ToUpper(lower)) || !strings.ContainsAny(text, digits) {
			t.Fatalf("%q", text)
		}
		seen[text] = true
		for _, r := range text {
			count[r]++
		}
	}
	if len(count) != 56 {
		t.Errorf("%d different characters", len(count))
	}
	for r, n := range count {
		if strings.ContainsRune("0O1lIo", r) {
			t.Errorf("%q is a look-alike", r)
		}
		// The demand for a digit shifts the shares: letters 1.771 %, digits 1.874 %. Modulo bias would give a share of
		// 2.2 % to the first 32 and 1.2 % to none; seven sigma are 0.16 %.
		want := 0.01771
		if r <= '9' {
			want = 0.01874
		}
		if share := float64(n) / (rounds * passwordLength); math.Abs(share-want) > 0.0017 {
			t.Errorf("%q has a share of %.5f, want %.5f", r, share, want)
		}
	}
	for name, source := range map[string]interface{ Read([]byte) (int, error) }{"all zero": zeros{}, "all ones": ones{}, "short": bytes.NewReader([]byte{1, 2}), "none": nil} {
		if secret, err := RandomPassword(source); err == nil || !secret.Empty() {
			t.Errorf("%s: a password came out", name)
		}
	}
}

func TestRandomUser(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		user, err := RandomUser(rand.Reader)
		if err != nil || len(user) != 8 || user[0] != 'u' || !ValidDNSLabel(user) || seen[user] {
			t.Fatalf("%q, %v", user, err)
		}
		seen[user] = true
		var p Product
		if err := p.Set("os_user", user); err != nil {
			t.Fatal(err)
		}
	}
	if user, err := RandomUser(iotest.ErrReader(errors.New("no entropy"))); err == nil || user != "" {
		t.Errorf("%q", user)
	}
}

func TestValidNames(t *testing.T) {
	for name, tt := range map[string]struct {
		valid   func(string) bool
		yes, no []string
	}{
		"label": {ValidDNSLabel, []string{"a", "a-b", "9", strings.Repeat("a", 63)}, []string{"", "-a", "a-", "A", "a.b", "a_b", "ä", strings.Repeat("a", 64)}},
		"name": {ValidDNSName, []string{"localdomain", "example.com", "1.example", strings.Repeat("a.", 126) + "a"},
			[]string{"", ".", "a.", ".a", "a..b", "10.0.0.1", "Example.com", strings.Repeat("a.", 127) + "a"}},
		"node":    {ValidNode, []string{"pve", "PVE-1"}, []string{"", "pve.x", "-pve", "pve/../x"}},
		"storage": {ValidStorage, []string{"local", "local-lvm", "A1.b_c"}, []string{"", "a", "9a", "a-", "a/b", "a b"}},
		"bridge":  {ValidBridge, []string{"vmbr0", "Vnet_1", "10g", "eth0.5"}, []string{"", "-a", ".a", "a,b", "a=b", "abcdefghijklmnop"}},
	} {
		for _, s := range tt.yes {
			if !tt.valid(s) {
				t.Errorf("%s: %q is refused", name, s)
			}
		}
		for _, s := range tt.no {
			if tt.valid(s) {
				t.Errorf("%s: %q is taken", name, s)
			}
		}
	}
}

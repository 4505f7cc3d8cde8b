package pvesim

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// masks take out of texts what is a fact of the recorded machine: identities that PVE makes up, and places in its code.
var masks = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(` at /usr/\S+ line \d+\.?`), ""},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|REDACTED`), "UUID"},
	{regexp.MustCompile(`(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5}`), "MAC"},
	{regexp.MustCompile(`[0-9a-f]{40}`), "DIGEST"},
	{regexp.MustCompile(`creation-qemu=[\d.]+,ctime=\d+`), "META"},
	{regexp.MustCompile(`(UPID:[^:]+):[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:`), "$1:"},
	{regexp.MustCompile(`/[a-z]+/[^\s']*/images/`), "IMAGES/"},
	{regexp.MustCompile(`(\.qcow2|\.raw) \d+' failed`), "$1 N' failed"},
	{regexp.MustCompile(`(clone failed: ).*interrupted by signal`), "${1}interrupted by signal"},
	{regexp.MustCompile(`pc-i440fx-[\d.]+\+pve\d+`), "MACHINE"},
}

func masked(text string) string {
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.by)
	}
	return text
}

// measured are keys whose values are measurements or identities of the recorded machine: only their type is compared.
var measured = regexp.MustCompile(`^(cpu|mem|memhost|disk|netin|netout|diskread|diskwrite|uptime|pid|pstart|starttime|endtime|ctime|snaptime|` +
	`used|avail|used_fraction|digest|ticket|CSRFPreventionToken|repoid|password|cert|port|running-qemu|running-machine|ip|cidr_of_node|address|gateway|` +
	`netmask|bridge_ports|priority|ssl_fingerprint|freemem|mem_swapped|time|localtime|pressure\w+|cgroup-mode)$`)

// ownHardware are the parts of a node's status that tell of the recorded machine.
var ownHardware = regexp.MustCompile(`^data\.(?:(?:cpuinfo|current-kernel|memory|swap|rootfs)\.|kversion|pveversion|loadavg|wait|idle)`)

// ownSize are sizes of the recorded machine's own storages and nodes.
var ownSize = regexp.MustCompile(`^(maxdisk|maxmem|maxcpu|total)$`)

// decidesNothing are keys that nobody decides on and that the simulator does without: statistics of QEMU's block layer,
// what its backup code can do, and the remarks of the recorded machine's network.
var decidesNothing = regexp.MustCompile(`^(blockstat|proxmox-support|comments|gateway|bridge_vlan_aware|exists|address6|cidr6|netmask6)$`)

// compare says in what an outcome differs from the recorded one.
func (w *world) compare(x *exchange, got outcome) []string {
	var d []string
	differ := func(format string, args ...any) { d = append(d, fmt.Sprintf(format, args...)) }
	if got.status != x.status() || masked(got.reason) != masked(x.reason()) {
		differ("answer %d %s, want %s", got.status, got.reason, x.Answer)
	}
	if wantJSON := x.Text == "" && x.status() != http.StatusUnauthorized || x.reason() == "authentication failure"; got.json != wantJSON && len(d) == 0 && !(x.Text == "" && got.text == "") {
		differ("JSON %v, want %v", got.json, wantJSON)
	} else if x.Text != "" && masked(strings.TrimSpace(got.text)) != masked(strings.TrimSpace(x.Text)) {
		differ("body %q, want %q", got.text, x.Text)
	}
	if len(d) > 0 {
		return d
	}
	errs, _ := got.doc["errors"].(map[string]any)
	for _, k := range union(errs, x.Errors) {
		if text, _ := errs[k].(string); text != x.Errors[k] {
			differ("errors.%s %q, want %q", k, errs[k], x.Errors[k])
		}
	}
	var want any
	if len(x.Data) > 0 {
		if err := json.Unmarshal(x.Data, &want); err != nil {
			w.t.Fatalf("%s: %v", x.Case, err)
		}
	}
	d = append(d, compareValue("data", "", want, got.doc["data"], nil)...)
	if _, total := got.doc["total"]; total != x.Total {
		differ("total %v, want %v", total, x.Total)
	}
	if x.Exit != "" && masked(got.exit) != masked(x.Exit) {
		differ("task %q, want %q", got.exit, x.Exit)
	}
	// Waiting is compared where PVE makes one wait: 3 s before a 401, 10 s for a lock.
	if x.status() == http.StatusUnauthorized || strings.HasSuffix(x.reason(), "got timeout") {
		if want := time.Duration(x.Took * float64(time.Second)); math.Abs(float64(got.took-want)) > float64(time.Second) {
			differ("took %v, want %v", got.took, want)
		}
	}
	return d
}

func union[A, B any](a map[string]A, b map[string]B) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// compareValue compares types and what is no fact of the recorded machine. in is the object that holds the value.
func compareValue(at, key string, want, got any, in map[string]any) []string {
	wrong := func() []string { return []string{fmt.Sprintf("%s %s, want %s", at, brief(got), brief(want))} }
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return wrong()
		}
		var d []string
		for _, k := range union(want, got) {
			w, wanted := want[k]
			g, given := got[k]
			switch {
			case decidesNothing.MatchString(k):
			case !given:
				d = append(d, fmt.Sprintf("%s.%s is missing", at, k))
			case !wanted:
				d = append(d, fmt.Sprintf("%s.%s is too much", at, k))
			default:
				d = append(d, compareValue(at+"."+k, k, w, g, want)...)
			}
		}
		return d
	case []any:
		got, ok := got.([]any)
		if !ok {
			return wrong()
		}
		return compareRows(at, want, got)
	case string:
		got, ok := got.(string)
		if !ok || !measured.MatchString(key) && !ownHardware.MatchString(at) && words(key, want) != words(key, got) {
			return wrong()
		}
	case float64:
		n, ok := got.(float64)
		if !ok || n != want && !measured.MatchString(key) && !ownHardware.MatchString(at) && !(ownSize.MatchString(key) && in["vmid"] == nil && in["cpus"] == nil) {
			return wrong()
		}
	default:
		if brief(got) != brief(want) {
			return wrong()
		}
	}
	return nil
}

// words is a text as it is compared: a storage's content types have no order.
func words(key, text string) string {
	if key == "content" {
		list := strings.Split(text, ",")
		slices.Sort(list)
		return strings.Join(list, ",")
	}
	return masked(text)
}

// identities are the keys that tell the rows of a list apart.
var identities = []string{"volid", "upid", "pos", "n", "key", "cidr", "id", "name", "userid", "poolid", "storage", "iface", "subdir", "cmd", "drivename"}

// compareRows compares lists: row by row where the rows have names, else by length and first row.
func compareRows(at string, want, got []any) []string {
	var d []string
	wantRows, gotRows := named(want), named(got)
	if wantRows == nil || gotRows == nil {
		if len(want) != len(got) {
			return []string{fmt.Sprintf("%s has %d rows, want %d", at, len(got), len(want))}
		}
		for i := range want {
			d = append(d, compareValue(fmt.Sprintf("%s[%d]", at, i), "", want[i], got[i], nil)...)
		}
		return d
	}
	for _, name := range union(wantRows, gotRows) {
		w, g := wantRows[name], gotRows[name]
		switch {
		case g == nil:
			d = append(d, fmt.Sprintf("%s[%s] is missing", at, name))
		case w == nil:
			d = append(d, fmt.Sprintf("%s[%s] is too much", at, name))
		default:
			d = append(d, compareValue(fmt.Sprintf("%s[%s]", at, name), "", w, g, nil)...)
		}
	}
	return d
}

// named is rows by name; nil when they have none.
func named(rows []any) map[string]any {
	for _, id := range identities {
		byName := map[string]any{}
		for _, row := range rows {
			if m, ok := row.(map[string]any); ok && m[id] != nil {
				byName[fmt.Sprint(m[id])] = row
			}
		}
		if len(byName) == len(rows) {
			return byName
		}
	}
	return nil
}

func brief(v any) string {
	text, _ := json.Marshal(v)
	if len(text) > 160 {
		text = append(text[:160:160], "..."...)
	}
	return string(text)
}

package transcript

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var warsaw = time.FixedZone("", 2*3600)

func at(clock string) event.At {
	t, err := time.ParseInLocation(time.DateTime, "2026-04-10 "+clock, warsaw)
	if err != nil {
		panic(err)
	}
	return event.At{Time: t.UTC()}
}

var all = []struct {
	event event.Event
	line  string
}{
	{event.TickStarted{At: at("03:49:18")}, "2026-04-10 03:49:18 PUQ Proxmox KVM Cron Start"},
	{event.TaskStarted{At: at("03:49:18"), Task: "processVirtualMachines", Interval: time.Minute, Last: at("03:34:00").Time},
		"2026-04-10 03:49:18 [processVirtualMachines] Running (interval: 1m, last: 03:34:00)"},
	{event.TaskStarted{At: at("03:49:18"), Task: "processVirtualMachines", Interval: 5 * time.Minute},
		"2026-04-10 03:49:18 [processVirtualMachines] Running (interval: 5m, last: never)"},
	{event.BlockStarted{Pipeline: "Deploy", Service: 5546, VMID: 2002, Status: kvm.Cloned}, "--- Deploy: service=5546 vm=2002 status=clone ---"},
	{event.StepEnded{N: 1, Title: "Migrate to target node", From: kvm.Cloned, To: kvm.Migrated, Took: 30230 * time.Millisecond},
		"[+]  1. Migrate to target node                     success (clone -> migrated)                                        [30.23s]"},
	{event.StepEnded{N: 9, Title: "Configure network", Note: "skip — no change", From: "cp_network", To: "cp_firewall", Took: 70 * time.Millisecond},
		"[+]  9. Configure network (skip — no change)       success (cp_network -> cp_firewall)                                [0.07s]"},
	{event.StepEnded{N: 11, Title: "Start VM", From: "cp_start", To: "ready", Took: 5110 * time.Millisecond, Message: "VM failed to start (status: stopped). Will retry."},
		"[+] 11. Start VM                                   VM failed to start (status: stopped). Will retry.                  [5.11s]"},
	{event.BlockEnded{Pipeline: "Deploy", Service: 5546, Status: kvm.Ready, Complete: true}, "--- Deploy complete: service=5546 status=ready ---"},
	{event.BlockEnded{Pipeline: "ChangePackage", Service: 5546, Status: "cp_firewall"}, "--- ChangePackage paused: waiting at (cp_firewall) ---"},
	{event.TaskEnded{At: at("03:50:16"), Task: "processVirtualMachines", Took: 57500 * time.Millisecond, Processed: 2},
		"2026-04-10 03:50:16 [processVirtualMachines] Done (57.5s) — processed: 2, errors: 0"},
	{event.ServiceResult{At: at("03:50:16"), Service: 5546, Action: "deploy"}, "2026-04-10 03:50:16   sid:5546 action:deploy result:success"},
	{event.ServiceResult{At: at("03:53:51"), Service: 5546, Action: "change_package", Message: "VM failed to start (status: stopped). Will retry.", From: "cp_firewall", To: "cp_start", Took: 5110 * time.Millisecond},
		"2026-04-10 03:53:51   sid:5546 action:change_package VM failed to start (status: stopped). Will retry. (cp_firewall -> cp_start) [5.11s]"},
	{event.DNSChanged{At: at("03:49:19"), Service: 5546, Op: "fwd", Provider: "powerdns", Zone: "example.com", Host: "name.example.com", Addrs: []string{"192.168.130.6", "2001:db8::6"}},
		"2026-04-10 03:49:19       · fwd OK [powerdns] example.com ← name.example.com (2 IPs)"},
	{event.DNSChanged{At: at("03:49:19"), Service: 5546, Op: "fwd-del", Provider: "hestiacp", Zone: "example.com", Host: "name.example.com", Addrs: []string{"192.168.130.6"}, Action: true},
		"2026-04-10 03:49:19   sid:5546    · fwd-del OK [hestiacp] example.com ← name.example.com (1 IP)"},
	{event.DNSChanged{At: at("03:49:19"), Service: 5546, Op: "rev", Provider: "powerdns", Zone: "130.168.192.in-addr.arpa", Host: "name.example.com", Addrs: []string{"192.168.130.6"}},
		"2026-04-10 03:49:19       · rev OK [powerdns] 130.168.192.in-addr.arpa ← 192.168.130.6 → name.example.com"},
	{event.DNSChanged{At: at("03:49:19"), Op: "rev-del", Provider: "cloudflare", Zone: "130.168.192.in-addr.arpa", Host: "name.example.com", Addrs: []string{"192.168.130.6"}, Error: "no\nanswer"},
		"2026-04-10 03:49:19       · rev-del ERR [cloudflare] 130.168.192.in-addr.arpa ← 192.168.130.6 → name.example.com: no answer"},
	{event.TaskSaid{At: at("03:50:16"), Task: "collectingStatistics", Text: "server 1: no\nanswer"}, "2026-04-10 03:50:16 [collectingStatistics] server 1: no answer"},
	{event.TickEnded{At: at("03:50:16"), Took: 57600 * time.Millisecond}, "2026-04-10 03:50:16 PUQ Proxmox KVM Cron End (57.6s total)"},
}

func TestLine(t *testing.T) {
	for _, c := range all {
		if got := Line(c.event, warsaw); got != c.line {
			t.Errorf("%s\n got %q\nwant %q", c.event.Name(), got, c.line)
		}
	}
}

func TestMessagesStayOnOneLine(t *testing.T) {
	got := Line(event.StepEnded{N: 1, Title: "Clone VM", Message: "bad\nnews\r\x1b[31m\u2028--- Deploy complete"}, time.UTC)
	if strings.ContainsAny(got, "\n\r\x1b\u2028") {
		t.Fatalf("control characters in %q", got)
	}
}

func TestSinkWritesOneLineAnEvent(t *testing.T) {
	var writes countingWriter
	sink := Sink(&writes, JSON{})
	for _, c := range all {
		sink.Emit(c.event)
	}
	if writes.n != len(all) {
		t.Fatalf("%d writes for %d events", writes.n, len(all))
	}
	for i, line := range strings.Split(strings.TrimSpace(writes.String()), "\n") {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if o["event"] != all[i].event.Name() {
			t.Errorf("line %d is %v, want %s", i, o["event"], all[i].event.Name())
		}
	}
}

type countingWriter struct {
	bytes.Buffer
	n int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.n++
	return w.Buffer.Write(p)
}

func BenchmarkLine(b *testing.B) {
	e := all[4].event
	b.ReportAllocs()
	for b.Loop() {
		Line(e, warsaw)
	}
}

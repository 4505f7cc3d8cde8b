package transcript

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/puqkvm/puqkvm/pkg/event"
)

const (
	product = "PUQ Proxmox KVM"
	// titleWidth holds "Set additional disk I/O (skip — no change)".
	titleWidth = 42
	// resultWidth holds "success (set_system_disk_bandwidth -> set_created_additional_disk)".
	resultWidth = 66
)

// Line is the text of e, without line end, its times in zone. It knows every event of package event.
func Line(e event.Event, zone *time.Location) string {
	stamp := e.When().In(zone).Format(time.DateTime)
	switch e := e.(type) {
	case event.TickStarted:
		return stamp + " " + product + " Cron Start"
	case event.TickEnded:
		return fmt.Sprintf("%s %s Cron End (%.1fs total)", stamp, product, e.Took.Seconds())
	case event.TaskStarted:
		last := "never"
		if !e.Last.IsZero() {
			last = e.Last.In(zone).Format(time.TimeOnly)
		}
		return fmt.Sprintf("%s [%s] Running (interval: %dm, last: %s)", stamp, e.Task, int(e.Interval.Minutes()), last)
	case event.TaskEnded:
		return fmt.Sprintf("%s [%s] Done (%.1fs) — processed: %d, errors: %d", stamp, e.Task, e.Took.Seconds(), e.Processed, e.Errors)
	case event.TaskSaid:
		return fmt.Sprintf("%s [%s] %s", stamp, e.Task, oneLine(e.Text))
	case event.BlockStarted:
		return fmt.Sprintf("--- %s: service=%d vm=%d status=%s ---", e.Pipeline, e.Service, e.VMID, e.Status)
	case event.StepEnded:
		title := e.Title
		if e.Note != "" {
			title += " (" + oneLine(e.Note) + ")"
		}
		result := fmt.Sprintf("success (%s -> %s)", e.From, e.To)
		if e.Message != "" {
			result = oneLine(e.Message)
		}
		return fmt.Sprintf("[+] %2d. %s %s [%.2fs]", e.N, pad(title, titleWidth), pad(result, resultWidth), e.Took.Seconds())
	case event.BlockEnded:
		if e.Complete {
			return fmt.Sprintf("--- %s complete: service=%d status=%s ---", e.Pipeline, e.Service, e.Status)
		}
		return fmt.Sprintf("--- %s paused: waiting at (%s) ---", e.Pipeline, e.Status)
	case event.ActionStarted:
		return fmt.Sprintf("%s   sid:%d  [%s] starting", stamp, e.Service, e.Action)
	case event.ActionEnded:
		result := "success"
		switch {
		case e.Message != "" && e.Failed:
			result = "error: " + oneLine(e.Message)
		case e.Message != "":
			result = oneLine(e.Message)
		}
		return fmt.Sprintf("%s   sid:%d  [%s] done (%.2fs) result=%s", stamp, e.Service, e.Action, e.Took.Seconds(), result)
	case event.Said:
		return said(stamp, e.Service, e.Action, e.Text)
	case event.DNSChanged:
		return said(stamp, e.Service, e.Action, DNSText(e))
	case event.ServiceResult:
		if e.Skipped != "" {
			return fmt.Sprintf("%s   sid:%d [skipped] %s", stamp, e.Service, oneLine(e.Skipped))
		}
		if e.Message == "" {
			return fmt.Sprintf("%s   sid:%d action:%s result:success", stamp, e.Service, e.Action)
		}
		return fmt.Sprintf("%s   sid:%d action:%s %s (%s -> %s) [%.2fs]", stamp, e.Service, e.Action, oneLine(e.Message), e.From, e.To, e.Took.Seconds())
	}
	return stamp + " " + e.Name()
}

// said is a line of its own, in a block or among the lines of an action.
func said(stamp string, service int64, action bool, text string) string {
	if action {
		return fmt.Sprintf("%s   sid:%d    · %s", stamp, service, oneLine(text))
	}
	return fmt.Sprintf("%s       · %s", stamp, oneLine(text))
}

// DNSText is an operation without the moment: "fwd OK [powerdns] example.com ← name.example.com (2 IPs)".
func DNSText(e event.DNSChanged) string {
	result, reason := "OK", ""
	if e.Error != "" {
		result, reason = "ERR", ": "+e.Error
	}
	what := fmt.Sprintf("%s (%d IPs)", e.Host, len(e.Addrs))
	switch {
	case strings.HasPrefix(e.Op, "rev") && len(e.Addrs) > 0:
		what = e.Addrs[0] + " → " + e.Host
	case len(e.Addrs) == 1:
		what = e.Host + " (1 IP)"
	}
	return fmt.Sprintf("%s %s [%s] %s ← %s%s", e.Op, result, e.Provider, e.Zone, what, reason)
}

func pad(s string, width int) string {
	if n := utf8.RuneCountInString(s); n < width {
		return s + strings.Repeat(" ", width-n)
	}
	return s
}

func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s))
}

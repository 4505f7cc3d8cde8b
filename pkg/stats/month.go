package stats

import (
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Month is what a service has received and sent in a calendar month of a zone.
type Month struct {
	From  time.Time // local midnight of its first day
	Until time.Time // of the next month's
	// Since is from when on there may be figures: From, or later where the rest is no more kept.
	Since   time.Time
	In, Out int64 // bytes
}

// Months are the month of now and the one before, by the hours that are kept. An hour belongs to the month that it begins
// in.
func Months(now time.Time, zone *time.Location, hours []kvm.HourTraffic) (this, last Month) {
	year, month, _ := now.In(zone).Date()
	first := func(m time.Month) time.Time { return time.Date(year, m, 1, 0, 0, 0, 0, zone) }
	this, last = Month{From: first(month), Until: first(month + 1)}, Month{From: first(month - 1), Until: first(month)}
	kept := now.Add(-kvm.StatisticsKept)
	for _, m := range []*Month{&this, &last} {
		m.Since = m.From
		if kept.After(m.Since) {
			m.Since = kept.In(zone)
		}
		for _, h := range hours {
			if !h.Hour.Before(m.From) && h.Hour.Before(m.Until) {
				m.In, m.Out = m.In+h.In, m.Out+h.Out
			}
		}
	}
	return this, last
}

package stats

import (
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	// staleness is how much older the figures of an answer may be than the answer: what a node says of itself is dropped by
	// the others when it is five minutes old.
	staleness = 5 * time.Minute
	// firstSight is how old a run may be at most of which everything is counted at the first reading.
	firstSight = time.Hour
	// wrongClock is how far the last reading may lie in the future. One beyond that was made by a clock that was wrong.
	wrongClock = time.Hour
)

// Carried is what a VM has received and sent between From and the reading.
type Carried struct {
	From    time.Time
	In, Out int64 // bytes
}

// Advance says what a VM has carried since the last reading, nil = there is none. keep = the last reading stays the one to
// count from, since this one may be no younger: then nothing was counted.
func Advance(last *kvm.Counters, now kvm.Counters) (c Carried, keep bool) {
	start := now.At.Add(-now.Uptime)
	whole := Carried{From: start, In: now.In, Out: now.Out}
	nothing := Carried{From: now.At}
	if last == nil {
		if now.Uptime <= firstSight {
			return whole, false
		}
		return nothing, false
	}
	passed := now.At.Sub(last.At)
	back := now.In < last.In || now.Out < last.Out
	switch {
	case passed < -wrongClock:
		return nothing, false
	case passed < staleness:
		return nothing, true
	case now.UUID != last.UUID:
		if now.Uptime > passed-staleness { // the run may have begun before the last reading, and have been in that one
			return nothing, false
		}
		return whole, false
	case now.Uptime < last.Uptime, back && now.Uptime-last.Uptime < passed-staleness:
		if start.Before(last.At) {
			whole.From = last.At
		}
		return whole, false
	}
	return Carried{From: last.At, In: max(0, now.In-last.In), Out: max(0, now.Out-last.Out)}, false
}

// mostPieces bounds the rows that a long interval makes.
const mostPieces = 48

// Split gives what was carried from from to to to the hours (UTC) between, by how much of each it was, the first first. An
// interval of more than two days is cut into 48 equal pieces, each of which counts for the hour of its middle.
func Split(from, to time.Time, in, out int64) []kvm.HourTraffic {
	if in == 0 && out == 0 {
		return nil
	}
	from, to = from.UTC().Truncate(time.Minute), to.UTC().Truncate(time.Minute) // a tick at 13:00:02 is about the hour before
	whole := to.Sub(from)
	if whole <= 0 {
		return []kvm.HourTraffic{{Hour: to.Truncate(time.Hour), In: in, Out: out}}
	}
	var hours []kvm.HourTraffic
	var ends []time.Duration // since from, of each
	if whole > mostPieces*time.Hour {
		for i := range time.Duration(mostPieces) {
			hours = append(hours, kvm.HourTraffic{Hour: from.Add(whole * (2*i + 1) / (2 * mostPieces)).Truncate(time.Hour)})
			ends = append(ends, whole*(i+1)/mostPieces)
		}
	} else {
		for h := from.Truncate(time.Hour); h.Before(to); h = h.Add(time.Hour) {
			hours = append(hours, kvm.HourTraffic{Hour: h})
			ends = append(ends, min(h.Add(time.Hour).Sub(from), whole))
		}
	}
	var gaveIn, gaveOut int64
	for i := range hours {
		share := ends[i].Seconds() / whole.Seconds()
		upTo, outTo := int64(share*float64(in)), int64(share*float64(out))
		if i == len(hours)-1 {
			upTo, outTo = in, out
		}
		hours[i].In, hours[i].Out = max(0, min(upTo, in)-gaveIn), max(0, min(outTo, out)-gaveOut)
		gaveIn, gaveOut = gaveIn+hours[i].In, gaveOut+hours[i].Out
	}
	return hours
}

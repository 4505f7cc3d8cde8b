package kvm

import (
	"fmt"
	"testing"
	"time"
)

// The cron task reads every schedule each five minutes: with 100 000 of them a microsecond here is a tenth of a second there.
func BenchmarkParseSchedule(b *testing.B) {
	for name, text := range map[string]string{
		"days=1":  `{"3":"07:00"}`,
		"days=7":  `{"0":"07:00","1":"03:00","2":"03:12","3":"23:57","4":"00:00","5":"13:05","6":"04:44"}`,
		"escaped": `{"0":"07:00","1":"03:00","2":"03\u003a12"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseSchedule(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkScheduleDue(b *testing.B) {
	zone, err := time.LoadLocation("Europe/Warsaw")
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 4, 10, 1, 49, 18, 0, time.UTC)
	for _, text := range []string{`{"6":"07:00"}`, `{"0":"07:00","1":"03:00","2":"03:12","3":"23:57","4":"00:00","5":"01:05","6":"04:44"}`} {
		s, err := ParseSchedule(text)
		if err != nil {
			b.Fatal(err)
		}
		m, _ := s.Latest(now, zone)
		b.Run(fmt.Sprintf("bytes=%d", len(text)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, due, _ := s.Due(now, zone, m.Time, m.Date, time.Time{}); due {
					b.Fatal("it was taken up")
				}
			}
		})
	}
}

package kvm

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func TestParseSchedule(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "null": "", "[]": "", "{}": "",
		`{"0":"07:00","1":"03:00"}`:              `{"0":"07:00","1":"03:00"}`,
		`{"6":"3:05","2":"","3":null,"4":false}`: `{"6":"03:05"}`,
		` {"5":"23:59"} `:                        `{"5":"23:59"}`,
		`{"0":"00:00","6":"00:00"}`:              `{"0":"00:00","6":"00:00"}`,
		`{ "0" : "07:00", "1":"03:00" }`:         `{"0":"07:00","1":"03:00"}`,
		`{"\u0030":"07\u003a00"}`:                `{"0":"07:00"}`,
		`{"0":"07:00","0":"08:00","0":null}`:     "",
		`{"0":"x","0":"08:00"}`:                  `{"0":"08:00"}`,
		`{"01":"07:00"}`:                         `{"1":"07:00"}`,
		`{"01":"07:00","1":"08:00"}`:             "bad",
		`{"0":"07:00",}`:                         "bad",
		`{"0":"07:00"}}`:                         "bad",
		`{"0":"07:00"} {`:                        "bad",
		`{"0":"07:00`:                            "bad",
		`{"0":nullx}`:                            "bad",
		`{"0":true}`:                             "bad",
		`{`:                                      "bad",
		`{"7":"03:00"}`:                          "bad",
		`{"x":"03:00"}`:                          "bad",
		`{"1":"24:00"}`:                          "bad",
		`{"1":"03:60"}`:                          "bad",
		`{"1":"0300"}`:                           "bad",
		`{"1":3}`:                                "bad",
		`["03:00"]`:                              "bad",
		`03:00`:                                  "bad",
	} {
		s, err := ParseSchedule(text)
		if want == "bad" {
			if !errors.Is(err, ErrInvalid) || s != NoSchedule() {
				t.Errorf("%s: %v, %v", text, s, err)
			}
			continue
		}
		if err != nil || s.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, s, err, want)
		}
	}
}

func TestParseDays(t *testing.T) {
	drawn := 0
	draw := func() DayTime { drawn++; return DayTime(60 + drawn) }
	for text, want := range map[string]string{
		"mon,thu=03:00":      `{"1":"01:01","4":"03:00"}`,
		"Sun=7:00, sat":      `{"0":"07:00","6":"01:01"}`,
		"all=03:00,sun=5:30": `{"0":"05:30","1":"03:00","2":"03:00","3":"03:00","4":"03:00","5":"03:00","6":"03:00"}`,
		"all":                `{"0":"01:01","1":"01:02","2":"01:03","3":"01:04","4":"01:05","5":"01:06","6":"01:07"}`,
		"monday":             "bad", "mon,mon": "bad", "all,all": "bad", "": "bad", "mon=": "bad", "mon=25:00": "bad", "mon;tue": "bad",
	} {
		drawn = 0
		s, err := ParseDays(text, draw)
		if want == "bad" {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v, %v", text, s, err)
			}
			continue
		}
		if err != nil || s.String() != want {
			t.Errorf("%q: %s, %v; want %s", text, s, err, want)
		}
	}
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestLatestAndNext(t *testing.T) {
	warsaw := zone(t, "Europe/Warsaw")
	for _, c := range []struct{ schedule, now, latest, next string }{
		{`{"5":"03:00"}`, "2026-04-10 02:59:59", "2026-04-03 03:00", "2026-04-10 03:00"}, // a Friday
		{`{"5":"03:00"}`, "2026-04-10 03:00:00", "2026-04-10 03:00", "2026-04-17 03:00"},
		{`{"4":"23:57"}`, "2026-04-10 00:20:00", "2026-04-09 23:57", "2026-04-16 23:57"}, // it is still Thursday's
		{`{"4":"23:57","5":"03:00"}`, "2026-04-10 03:01:00", "2026-04-10 03:00", "2026-04-16 23:57"},
		{`{"0":"02:30"}`, "2026-03-29 03:40:00", "2026-03-29 03:30", "2026-04-05 02:30"}, // the clocks go from 2 to 3
		{`{"0":"02:30"}`, "2026-10-25 02:10:00", "2026-10-18 02:30", "2026-10-25 02:30"}, // and back from 3 to 2
		{`{"6":"00:00"}`, "2026-04-10 12:00:00", "2026-04-04 00:00", "2026-04-11 00:00"},
		{``, "2026-04-10 12:00:00", "", ""},
	} {
		s, err := ParseSchedule(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.ParseInLocation(time.DateTime, c.now, warsaw)
		if err != nil {
			t.Fatal(err)
		}
		show := func(m Moment, ok bool) string {
			if !ok {
				return ""
			}
			if got := m.Time.In(warsaw).Format(time.DateOnly); got != m.Date {
				t.Errorf("%s at %s: the date of %s is %s", c.schedule, c.now, m.Time, m.Date)
			}
			return m.Time.In(warsaw).Format("2006-01-02 15:04")
		}
		if latest, next := show(s.Latest(now, warsaw)), show(s.Next(now, warsaw)); latest != c.latest || next != c.next {
			t.Errorf("%s at %s: %q and %q, want %q and %q", c.schedule, c.now, latest, next, c.latest, c.next)
		}
	}
}

// TestSchedule: whatever the schedule, the ticks, the zone, failing backups and a clock that is set back: no day has two scheduled
// backups, no moment is made twice, and one whose backup could be made before the next one came has it.
func TestSchedule(t *testing.T) {
	zones := []*time.Location{time.UTC, zone(t, "Europe/Warsaw"), zone(t, "America/St_Johns"), zone(t, "Pacific/Apia"), zone(t, "Asia/Kolkata")}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		schedule := func() Schedule {
			s := NoSchedule()
			for day := range s {
				if r.IntN(3) > 0 {
					s[day] = DayTime(r.IntN(minutesADay))
				}
			}
			return s
		}
		s, at := schedule(), zones[r.IntN(len(zones))]
		now := time.Date(2026, time.Month(1+r.IntN(12)), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), 0, time.UTC)
		taken, made, after, began := now, "", time.Time{}, now
		dates, moments := map[string]int{}, map[time.Time]int{}
		steady := r.IntN(2) == 0 // nothing is changed, nothing fails, and ticks come each five minutes
		for step := range 3000 {
			now = now.Add(5 * time.Minute)
			if !steady {
				switch r.IntN(200) {
				case 0:
					at = zones[r.IntN(len(zones))]
				case 1:
					s, taken, after = schedule(), now, time.Time{}
				case 2:
					now = now.Add(-time.Duration(r.IntN(180)) * time.Minute)
				case 3:
					now = now.Add(time.Duration(r.IntN(4000)) * time.Minute)
				}
			}
			m, due, done := s.Due(now, at, taken, made, after)
			if !due {
				if last, ok := s.Latest(now, at); steady && ok && last.Time.After(taken) {
					t.Fatalf("seed %d, step %d: the moment %s is not due at %s", seed, step, last.Time, now)
				}
				continue
			}
			if m.Time.After(now) {
				t.Fatalf("seed %d, step %d: %s is due at %s", seed, step, m.Time, now)
			}
			if done {
				taken, after = m.Time, time.Time{}
				continue
			}
			if !steady && r.IntN(4) == 0 { // it waits
				continue
			}
			taken = m.Time
			if !steady && r.IntN(4) == 0 { // it fails
				after = now.Add(time.Hour)
				continue
			}
			made, after = m.Date, time.Time{}
			dates[m.Date]++
			moments[m.Time]++
			if dates[m.Date] > 1 || moments[m.Time] > 1 {
				t.Fatalf("seed %d, step %d: %s has its second backup, at %s", seed, step, m.Date, now)
			}
		}
		want := map[string]bool{}
		for m, ok := s.Next(began, at); ok && !m.Time.After(now); m, ok = s.Next(m.Time, at) {
			want[m.Date] = true
		}
		if steady && len(dates) != len(want) {
			t.Fatalf("seed %d: %d backups for %d moments by %s", seed, len(dates), len(want), s)
		}
	}
}

func TestVolumeVMID(t *testing.T) {
	for volume, want := range map[string]int{
		"nfs:backup/vzdump-qemu-2002-2026_04_10-01_49_18.vma.zst": 2002,
		"pbs:backup/vm/100/2026-04-10T01:49:18Z":                  100,
		"nfs:backup/vzdump-lxc-2002-2026_04_10-01_49_18.tar.zst":  0,
		"nfs:iso/vzdump-qemu-2002-x.iso":                          0,
		"nfs:backup/vzdump-qemu-99999999999-x":                    0,
		"":                                                        0,
	} {
		if got := VolumeVMID(volume); got != want {
			t.Errorf("%s: %d", volume, got)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add(`{"0":"07:00"}`, "mon,thu=03:00")
	f.Add(`{"6":"3:05","2":"","3":null}`, "all=05:00,sun")
	f.Add(`{"0":"07:00","0":false,"01":"3:00"}`, "mon")
	f.Fuzz(func(t *testing.T, stored, typed string) {
		if s, ok := plainSchedule(stored); ok { // the short way round gives what the long one gives
			if odd, err := oddSchedule(stored); err != nil || odd != s {
				t.Fatalf("%q: %v, and by the long way %v, %v", stored, s, odd, err)
			}
		}
		if s, err := ParseSchedule(stored); err == nil {
			again, err := ParseSchedule(s.String())
			if err != nil || again != s {
				t.Fatalf("%q: %v, %v", s, again, err)
			}
		}
		if s, err := ParseDays(typed, func() DayTime { return 5 }); err == nil && s == NoSchedule() {
			t.Fatalf("%q has no day", typed)
		}
	})
}

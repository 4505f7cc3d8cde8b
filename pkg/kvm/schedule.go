package kvm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schedule is when backups are made by themselves: for each day of the week, Sunday first, the time of day, or Off. Times are in
// WHMCS's zone.
type Schedule [7]DayTime

// DayTime is a time of day in minutes after midnight.
type DayTime int

// Off is the DayTime of a day without a backup.
const Off DayTime = -1

const minutesADay = 24 * 60

// String is the time as 03:00, "" for Off.
func (d DayTime) String() string {
	if d == Off {
		return ""
	}
	return fmt.Sprintf("%02d:%02d", d/60, d%60)
}

// ParseDayTime reads a time as 03:00 or 3:00, "" being Off.
func ParseDayTime(text string) (DayTime, error) {
	if text == "" {
		return Off, nil
	}
	hours, minutes, ok := strings.Cut(text, ":")
	h, hErr := strconv.ParseUint(hours, 10, 8)
	m, mErr := strconv.ParseUint(minutes, 10, 8)
	if !ok || hErr != nil || mErr != nil || h > 23 || m > 59 || len(minutes) != 2 || len(hours) > 2 {
		return Off, Errorf(ErrInvalid, "%.20q is no time of day: 03:00 to the minute, from 00:00 to 23:59", text)
	}
	return DayTime(h*60 + m), nil
}

// NoSchedule has no day.
func NoSchedule() Schedule {
	var s Schedule
	for day := range s {
		s[day] = Off
	}
	return s
}

// ParseSchedule reads what is stored: a JSON object with keys 0 (Sunday) to 6 and times, as the PHP module wrote it. A day that
// is missing, empty, null or false has no backup. "" is NoSchedule.
func ParseSchedule(text string) (Schedule, error) {
	if text = strings.TrimSpace(text); text == "" || text == "null" || text == "[]" { // PHP writes an empty array so
		return NoSchedule(), nil
	}
	if s, ok := plainSchedule(text); ok {
		return s, nil
	}
	return oddSchedule(text)
}

// plainSchedule reads the object as PHP and String write it: without blanks and escapes. ok is false for whatever else, of which
// oddSchedule says whether it is a schedule. There may be 100 000 to read in a tick, and this takes a twentieth of the time.
func plainSchedule(text string) (s Schedule, ok bool) {
	s = NoSchedule()
	rest, ok := strings.CutPrefix(text, "{")
	if !ok || rest == "}" {
		return s, ok
	}
	for {
		if len(rest) < 4 || rest[0] != '"' || rest[1] < '0' || rest[1] > '6' || rest[2:4] != `":` {
			return s, false
		}
		day := rest[1] - '0'
		rest = rest[4:]
		if after, quoted := strings.CutPrefix(rest, `"`); quoted {
			at, after, _ := strings.Cut(after, `"`)
			minute, err := ParseDayTime(at) // which takes digits and a colon, nothing that JSON would write in another way
			if err != nil {
				return s, false
			}
			s[day], rest = minute, after
		} else if after, off := cutOff(rest); off {
			s[day], rest = Off, after // of a day that is named twice the last counts
		} else {
			return s, false
		}
		switch {
		case rest == "}":
			return s, true
		case !strings.HasPrefix(rest, ","):
			return s, false
		}
		rest = rest[1:]
	}
}

// cutOff takes the value of a day without a backup off.
func cutOff(text string) (after string, ok bool) {
	if after, ok = strings.CutPrefix(text, "null"); !ok {
		after, ok = strings.CutPrefix(text, "false")
	}
	return after, ok
}

// oddSchedule reads any JSON object.
func oddSchedule(text string) (Schedule, error) {
	s := NoSchedule()
	var days map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &days); err != nil {
		return s, Errorf(ErrInvalid, "vm_backup_schedule %.60q is no object of days", text)
	}
	named := map[int]string{}
	for key, value := range days {
		day, err := strconv.Atoi(key)
		if err != nil || day < 0 || day > 6 {
			return NoSchedule(), Errorf(ErrInvalid, "vm_backup_schedule: %.20q is no day, 0 (Sunday) to 6", key)
		}
		if other := named[day]; other != "" {
			return NoSchedule(), Errorf(ErrInvalid, "vm_backup_schedule: %.20q and %.20q are the same day", min(key, other), max(key, other))
		}
		named[day] = key
		var at string
		switch raw := string(value); raw {
		case "null", "false":
			continue
		default:
			if err := json.Unmarshal(value, &at); err != nil {
				return NoSchedule(), Errorf(ErrInvalid, "vm_backup_schedule: day %d: %.40s is no time of day", day, raw)
			}
		}
		if s[day], err = ParseDayTime(at); err != nil {
			return NoSchedule(), fmt.Errorf("vm_backup_schedule: day %d: %w", day, err)
		}
	}
	return s, nil
}

// String is how the schedule is stored, "" for NoSchedule.
func (s Schedule) String() string {
	if s == NoSchedule() {
		return ""
	}
	days := map[string]string{} // which encodes in the order of its keys
	for day, at := range s {
		if at != Off {
			days[strconv.Itoa(day)] = at.String()
		}
	}
	text, err := json.Marshal(days)
	if err != nil {
		panic(err) // a map of strings always encodes
	}
	return string(text)
}

// Moment is a moment of a schedule.
type Moment struct {
	Time time.Time
	Date string // its local date, 2026-04-10: a day has one scheduled backup, whatever becomes of clocks and zones
}

// Latest is the last moment of the schedule that is not after now, in zone; false = there is none. A time that the clocks leave
// out is when they have moved on; of one that comes twice it is one, always the same.
func (s Schedule) Latest(now time.Time, zone *time.Location) (Moment, bool) {
	now = now.In(zone)
	for back := range 8 {
		if m, ok := s.on(now, -back, zone); ok && !m.Time.After(now) {
			return m, true
		}
	}
	return Moment{}, false
}

// on is the moment of the day that is days after that of now.
func (s Schedule) on(now time.Time, days int, zone *time.Location) (Moment, bool) {
	// Noon is on every day, whatever the clocks do in the night.
	day := time.Date(now.Year(), now.Month(), now.Day()+days, 12, 0, 0, 0, zone)
	at := s[day.Weekday()]
	if at < 0 || at >= minutesADay {
		return Moment{}, false
	}
	return Moment{time.Date(day.Year(), day.Month(), day.Day(), int(at)/60, int(at)%60, 0, 0, zone), day.Format(time.DateOnly)}, true
}

// Days are the names of the days, as they are typed and shown.
func Days() [7]string { return [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

// ParseDays reads a schedule as it is typed: days with a time of their own or without, mon,thu=03:00; "all" are those of the seven
// that are not named. A day without a time has that of other.
func ParseDays(text string, other func() DayTime) (Schedule, error) {
	names := Days()
	s, all := NoSchedule(), Off
	named := map[int]bool{}
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		name, at, timed := strings.Cut(strings.TrimSpace(part), "=")
		day := slices.Index(names[:], name)
		switch {
		case name == "all":
			day = len(names)
		case day < 0:
			return s, Errorf(ErrInvalid, "%.20q is no day: a list of %s, or all, each with =HH:MM or without", part, strings.Join(names[:], ", "))
		}
		if named[day] {
			return s, Errorf(ErrInvalid, "%s is named twice", name)
		}
		named[day] = true
		when := Off
		if timed {
			var err error
			if when, err = ParseDayTime(at); err != nil || when == Off {
				return s, Errorf(ErrInvalid, "%.20q: the time of a day is HH:MM, from 00:00 to 23:59", part)
			}
		}
		if day == len(names) {
			all = when
			continue
		}
		if s[day] = when; when == Off {
			s[day] = other()
		}
	}
	for day := range s {
		if named[len(names)] && !named[day] {
			if s[day] = all; all == Off {
				s[day] = other()
			}
		}
	}
	return s, nil
}

// Next is the first moment of the schedule after now, in zone; false = there is none.
func (s Schedule) Next(now time.Time, zone *time.Location) (Moment, bool) {
	now = now.In(zone)
	for on := range 8 {
		if m, ok := s.on(now, on, zone); ok && m.Time.After(now) {
			return m, true
		}
	}
	return Moment{}, false
}

// DueBackup is a service whose schedule has a moment that has passed and was not taken up yet.
type DueBackup struct {
	Service  int64
	Owner    string // holds a claim on it, "" = nobody
	ServerID int64
	Node     string // where its VM was last seen
	Moment   Moment
	// Made is the date of the last scheduled backup that was made, where the moment's date is not after it: then there is nothing
	// to make. "" = the moment's backup is to be made.
	Made string
	// Err says what is wrong with the stored schedule; the rest is not known then.
	Err error
}

// Due says whether a moment that has passed was not taken up yet: taken is the last one that was, made the date of the last
// backup that was made, after when one that failed is tried again (zero = at the next moment).
func (s Schedule) Due(now time.Time, zone *time.Location, taken time.Time, made string, after time.Time) (m Moment, due, done bool) {
	m, ok := s.Latest(now, zone)
	if !ok {
		return Moment{}, false, false
	}
	switch {
	case m.Time.After(taken):
	case after.IsZero(), now.Before(after), !m.Time.Equal(taken):
		return Moment{}, false, false
	}
	return m, true, m.Date <= made
}

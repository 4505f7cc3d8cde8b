package cmd

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

func newBackupScheduleCmd(a *app) *cobra.Command {
	return group("schedule", "Show and set when backups of a VM are made by themselves", newScheduleShowCmd(a), newScheduleSetCmd(a), newScheduleClearCmd(a))
}

const scheduleExits = `Exit codes: 0 done; 10 somebody else changes it: try again; 20 bad input, or refused; 40 the database could not be reached.`

func newScheduleShowCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "show SID", Short: "Show when backups of a VM are made by themselves", Long: "Show when backups of a VM are made by themselves, in WHMCS's time zone.\n\n" + scheduleExits,
		Example: "  puqkvm backup schedule show 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runScheduleShow(c.Context(), a, id)
		},
	})
}

// shownSchedule is the answer of the schedule commands as JSON.
type shownSchedule struct {
	Service int64             `json:"service"`
	Days    map[string]string `json:"days"` // sun … sat to HH:MM, in WHMCS's zone
	Quota   int               `json:"quota"`
	Last    string            `json:"last,omitempty"` // the date of the last scheduled backup that was made
	Next    *time.Time        `json:"next,omitempty"`
	Waiting *time.Time        `json:"waiting,omitempty"` // the moment that has passed and whose backup is still to be made
}

func runScheduleShow(ctx context.Context, a *app, id int64) error {
	_, s, err := a.opened(ctx, id, "backups")
	if err != nil {
		return err
	}
	text, _, err := a.store.BackupSchedule(ctx, id)
	if err != nil {
		return err
	}
	schedule, err := kvm.ParseSchedule(text)
	if err != nil {
		return kvm.WithHint(err, "puqkvm backup schedule set %d --days all", id)
	}
	a.showSchedule(s, schedule)
	return nil
}

func (a *app) showSchedule(s *kvm.Service, schedule kvm.Schedule) {
	now, zone := a.Clock.Now(), a.settings.Zone
	out := shownSchedule{Service: s.ID, Days: map[string]string{}, Quota: s.Package.Backups, Last: s.Row.BackupDate}
	t := rows{head: []string{"DAY", "TIME"}}
	names := kvm.Days()
	for day, at := range schedule {
		if at != kvm.Off {
			out.Days[names[day]] = at.String()
		}
		t.body = append(t.body, []string{names[day], dash(at.String())})
	}
	if m, ok := schedule.Next(now, zone); ok {
		out.Next = &m.Time
	}
	if m, due, done := schedule.Due(now, zone, s.Row.BackupMoment, s.Row.BackupDate, s.Row.BackupAfter); due && !done && !s.Row.BackupMoment.IsZero() {
		out.Waiting = &m.Time
	}
	a.show(out, func() {
		if len(out.Days) == 0 {
			fmt.Fprintf(a.Stdout, "service %d: no backups are made by themselves\n", s.ID)
			return
		}
		t.print(a.Stdout)
		fmt.Fprintf(a.Stdout, "next: %s; last made: %s; up to %d are kept\n", a.when(*out.Next), dash(out.Last), out.Quota)
		if out.Waiting != nil {
			fmt.Fprintf(a.Stdout, "waiting: the one of %s\n", a.when(*out.Waiting))
		}
	})
}

func newScheduleSetCmd(a *app) *cobra.Command {
	var days, at string
	c := &cobra.Command{
		Use: "set SID --days DAYS [--time HH:MM]", Short: "Say when backups of a VM are made by themselves",
		Long: `Say when backups of a VM are made by themselves; it takes the place of what was said before. --days is a list of sun, mon, tue, wed,
thu, fri, sat, or all; each may have a time of its own (mon=03:00). A day without a time has that of --time, and without that one
that is drawn now, so that the backups of all VMs spread over the day. Times are in WHMCS's time zone.

When the package's backups are all there, the oldest that was made here goes for the new one.

` + scheduleExits,
		Example: "  puqkvm backup schedule set 5546 --days mon,thu\n  puqkvm backup schedule set 5546 --days all --time 03:00\n  puqkvm backup schedule set 5546 --days sun=07:00,mon=03:00,thu", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			if days == "" {
				return usage(c, "wants --days")
			}
			fixed, err := kvm.ParseDayTime(at)
			if err != nil {
				return err
			}
			var drawn error
			schedule, err := kvm.ParseDays(days, func() kvm.DayTime {
				if fixed != kvm.Off {
					return fixed
				}
				minute, err := randomMinute(a.Rand)
				if err != nil {
					drawn = err
				}
				return minute
			})
			if err == nil {
				err = drawn
			}
			if err != nil {
				return err
			}
			return runScheduleSet(c.Context(), a, id, schedule)
		},
	}
	c.Flags().StringVar(&days, "days", "", "the days: sun, mon, tue, wed, thu, fri, sat, or all; each with =HH:MM or without")
	c.Flags().StringVar(&at, "time", "", "the time of the days without one (default: drawn at random for each)")
	return a.forClients(c)
}

// randomMinute is a time of day.
func randomMinute(r io.Reader) (kvm.DayTime, error) {
	n, err := rand.Int(r, big.NewInt(24*60))
	if err != nil {
		return kvm.Off, fmt.Errorf("draw a time: %w", err)
	}
	return kvm.DayTime(n.Int64()), nil
}

func newScheduleClearCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "clear SID", Short: "Make no more backups of a VM by itself", Long: "Make no more backups of a VM by itself. Those that are there stay.\n\n" + scheduleExits,
		Example: "  puqkvm backup schedule clear 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runScheduleSet(c.Context(), a, id, kvm.NoSchedule())
		},
	})
}

// runScheduleSet stores the schedule. Its moments count from now on; one that has passed and whose backup is still to be made stays
// due, when it is a moment of the new schedule too.
func runScheduleSet(ctx context.Context, a *app, id int64, schedule kvm.Schedule) error {
	_, s, err := a.opened(ctx, id, "backups")
	if err != nil {
		return err
	}
	switch phase := s.Row.Status.Phase(); {
	case schedule == kvm.NoSchedule():
	case phase == kvm.PhaseRemove, phase == kvm.PhaseTerminate:
		return kvm.Errorf(kvm.ErrRefused, "service %d has no VM that backups could be made of", id)
	case s.Problem != nil:
		return s.Problem
	case s.Package.Backups == 0:
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the package of service %d has no backups", id), "puqkvm product set %d backups=N", s.ProductID)
	}
	was, taken, err := a.store.BackupSchedule(ctx, id)
	if err != nil {
		return err
	}
	now, zone := a.Clock.Now(), a.settings.Zone
	from := now
	if old, err := kvm.ParseSchedule(was); err == nil && !taken.IsZero() {
		before, had := old.Latest(now, zone)
		after, has := schedule.Latest(now, zone)
		if had && has && before == after {
			from = time.Time{} // as it is
		}
	}
	if err := a.store.SetBackupSchedule(ctx, id, was, schedule, from); err != nil {
		return err
	}
	if s, err = a.store.Service(ctx, id); err != nil {
		return err
	}
	a.showSchedule(s, schedule)
	return nil
}

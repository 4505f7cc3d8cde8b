package pipeline

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
)

type tellerKey struct{}

// teller is whom a row's function tells what it does.
type teller struct {
	sink    event.Sink
	clock   clock.Clock
	service int64
	lines   bool
}

func withTeller(ctx context.Context, t teller) context.Context {
	return context.WithValue(ctx, tellerKey{}, t)
}

// Say tells the log of the run that ctx belongs to what a row is doing: a line of its own, before the row's. Outside of a
// run nobody listens.
func Say(ctx context.Context, format string, args ...any) {
	t, ok := ctx.Value(tellerKey{}).(teller)
	if !ok {
		return
	}
	t.sink.Emit(event.Said{At: event.At{Time: t.clock.Now()}, Service: t.service, Text: fmt.Sprintf(format, args...), Action: t.lines})
}

// Report tells the log what is more than a text: say makes the event of it, given the moment and whether it stands among the
// lines of an action. Outside of a run nobody listens.
func Report(ctx context.Context, say func(at event.At, service int64, action bool) event.Event) {
	t, ok := ctx.Value(tellerKey{}).(teller)
	if ok {
		t.sink.Emit(say(event.At{Time: t.clock.Now()}, t.service, t.lines))
	}
}

// WithSink gives ctx a listener for what the functions of rows say about service, outside of a run.
func WithSink(ctx context.Context, sink event.Sink, c clock.Clock, service int64) context.Context {
	return withTeller(ctx, teller{sink: sink, clock: c, service: service})
}

// Live says whether the run's log has a line for each thing that is said, so that a long wait says how it goes.
func Live(ctx context.Context) bool {
	t, ok := ctx.Value(tellerKey{}).(teller)
	return ok && t.lines
}

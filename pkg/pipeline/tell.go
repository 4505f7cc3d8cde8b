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

// Live says whether the run's log has a line for each thing that is said, so that a long wait says how it goes.
func Live(ctx context.Context) bool {
	t, ok := ctx.Value(tellerKey{}).(teller)
	return ok && t.lines
}

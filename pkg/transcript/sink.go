package transcript

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/sirupsen/logrus"
)

const field = "event"

// Text formats events as lines of the v3.0 log, in Zone.
type Text struct{ Zone *time.Location }

// Format is the entry's event as a line, or, for an entry that carries none, its message.
func (t Text) Format(e *logrus.Entry) ([]byte, error) {
	if ev, ok := e.Data[field].(event.Event); ok {
		return append([]byte(Line(ev, t.Zone)), '\n'), nil
	}
	return []byte(e.Message + "\n"), nil
}

// JSON formats events as one object a line: the event's fields and its name under "event".
type JSON struct{}

// Format is the entry's event as an object.
func (JSON) Format(e *logrus.Entry) ([]byte, error) {
	ev, ok := e.Data[field].(event.Event)
	if !ok {
		line, err := json.Marshal(map[string]string{field: "message", "message": e.Message})
		return append(line, '\n'), err
	}
	body, err := json.Marshal(ev)
	if err != nil {
		return nil, fmt.Errorf("event %s as JSON: %w", ev.Name(), err)
	}
	head, err := json.Marshal(ev.Name())
	if err != nil {
		return nil, fmt.Errorf("event %s as JSON: %w", ev.Name(), err)
	}
	line := append([]byte(`{"`+field+`":`), head...)
	line = append(line, ',')
	line = append(line, body[1:]...)
	return append(line, '\n'), nil
}

// Sink writes every event to w with f: one event, one Write. An event that cannot be written is dropped; the run that it
// tells of goes on.
func Sink(w io.Writer, f logrus.Formatter) event.Sink {
	log := logrus.New()
	log.SetOutput(quiet{w})
	log.SetFormatter(f)
	return event.SinkFunc(func(e event.Event) {
		log.WithField(field, e).Info(e.Name())
	})
}

// quiet hides write errors from logrus, which would print them to stderr for every line after a reader has gone.
type quiet struct{ w io.Writer }

func (q quiet) Write(p []byte) (int, error) {
	_, _ = q.w.Write(p)
	return len(p), nil
}

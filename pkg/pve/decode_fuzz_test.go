package pve

import (
	"encoding/json"
	"testing"
)

// FuzzDecoders: no answer makes a decoder panic, and what it takes it gives back the same when it is encoded and read
// again.
func FuzzDecoders(f *testing.F) {
	for _, s := range []string{`1`, `"1"`, `true`, `"yes"`, `null`, `[]`, `{}`, `{"a":"b"}`, `-1`, `1e9`, `"9999999999999999999999"`, `"a\u0000b"`, `[1]`, `{"a":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		again(t, raw, new(text), new(text))
		again(t, raw, new(integer), new(integer))
		again(t, raw, new(real), new(real))
		again(t, raw, new(flag), new(flag))
		var d dict[text]
		_ = json.Unmarshal(raw, &d)
		var rows []struct {
			Node text    `json:"node"`
			VMID integer `json:"vmid"`
		}
		_ = json.Unmarshal(raw, &rows)
	})
}

func again[T comparable](t *testing.T, raw []byte, first, second *T) {
	t.Helper()
	if json.Unmarshal(raw, first) != nil {
		return
	}
	out, err := json.Marshal(*first)
	if err != nil {
		return // a number that JSON cannot hold
	}
	if err := json.Unmarshal(out, second); err != nil || *first != *second {
		t.Fatalf("%s: %v, then %s: %v, %v", raw, *first, out, *second, err)
	}
}

package kvm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "hunter2-hunter2"
	s := NewSecret(text)
	type inner struct{ secret Secret }
	values := []any{s, &s, []Secret{s}, map[string]Secret{"a": s}, struct{ Secret Secret }{s}, struct{ secret Secret }{s},
		inner{s}, &inner{s}, struct{ in *inner }{&inner{s}}, struct{ p *Secret }{&s}, []any{inner{s}}, fmt.Errorf("wrapped %v %+v", s, inner{s})}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p", "%T"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, got)
			}
		}
		if doc, err := json.Marshal(v); err != nil || strings.Contains(string(doc), text) {
			t.Errorf("JSON of %T: %s, %v", v, doc, err)
		}
	}
	if s.Reveal() != text || s.Empty() || !(Secret{}).Empty() || !s.Equal(NewSecret(text)) || s.Equal(Secret{}) {
		t.Error("Reveal, Empty or Equal is wrong")
	}
}

package pvesim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// readCarried reads what testdata has of one version.
func readCarried(version string) (*recordings, error) {
	r := &recordings{version: version}
	text, err := os.ReadFile(carriedFile(version))
	if os.IsNotExist(err) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		x := &exchange{}
		if err := json.Unmarshal(line, x); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", carriedFile(version), i+1, err)
		}
		if n := len(r.trials); n == 0 || r.trials[n-1].name != x.Case {
			r.trials = append(r.trials, &trial{name: x.Case})
		}
		c := r.trials[len(r.trials)-1]
		c.steps = append(c.steps, x)
	}
	return r, nil
}

func carriedFile(version string) string {
	return filepath.Join("testdata", "recordings", version+".jsonl")
}

// carriedVersions are the versions that testdata has.
func carriedVersions(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(carriedFile("*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".jsonl")
	}
	return files
}

// writeCarried writes r into testdata, without secrets and what is not compared.
func (r *recordings) writeCarried() error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for _, c := range r.trials {
		for _, x := range c.steps {
			copied, err := x.compact()
			if err != nil {
				return err
			}
			if err := encoder.Encode(copied); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(carriedFile(r.version)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(carriedFile(r.version), b.Bytes(), 0o644)
}

// compact is x as testdata has it.
func (x *exchange) compact() (*exchange, error) {
	copied := *x
	if before, _, found := strings.Cut(x.Form, "password=PVE%3A"); found {
		copied.Form = before + "password=PVE%3A"
	}
	if string(x.Data) == "null" || len(x.Data) == 0 {
		copied.Data = nil
		return &copied, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(x.Data))
	decoder.UseNumber()
	var data any
	if err := decoder.Decode(&data); err != nil {
		return nil, fmt.Errorf("%s: %w", x.Case, err)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(withoutSecrets(data)); err != nil {
		return nil, fmt.Errorf("%s: %w", x.Case, err)
	}
	copied.Data = bytes.TrimSpace(text.Bytes())
	return &copied, nil
}

// secrets are the keys of values that nobody has to know.
var secrets = regexp.MustCompile(`^(ticket|CSRFPreventionToken|password|cert|value)$`)

// withoutSecrets is a value without secrets and without what decides nothing.
func withoutSecrets(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutSecrets(v[i])
		}
	case map[string]any:
		for k := range v {
			_, isText := v[k].(string)
			switch {
			case decidesNothing.MatchString(k):
				delete(v, k)
			case isText && secrets.MatchString(k) && (k != "value" || v["key"] == nil):
				v[k] = "secret"
			default:
				v[k] = withoutSecrets(v[k])
			}
		}
	}
	return v
}

package pvesim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// exchange is one recorded call with its answer, in the form in which testdata has it: one JSON object a line, several
// lines of one case being its steps. Values that were secrets of the recorded machine are not in it.
type exchange struct {
	Case   string            `json:"case"`
	Call   string            `json:"call"`             // METHOD PATH?QUERY below /api2/json; =PATH where it is outside
	Form   string            `json:"form,omitempty"`   // the body's bytes
	Type   string            `json:"type,omitempty"`   // of the body, where it is no form
	Auth   string            `json:"auth,omitempty"`   // as in the recordings; "" is the token of root@pam, "none" nobody
	Upload bool              `json:"upload,omitempty"` // the body was a multipart form that was not kept
	Answer string            `json:"answer"`           // status code and reason phrase
	Data   json.RawMessage   `json:"data,omitempty"`
	Errors map[string]string `json:"errors,omitempty"`
	Total  bool              `json:"total,omitempty"` // there was one
	Text   string            `json:"text,omitempty"`  // a body that is no JSON
	Exit   string            `json:"exit,omitempty"`  // how the task ended
	Log    []string          `json:"log,omitempty"`   // of the task
	Took   float64           `json:"took,omitempty"`  // seconds, from 2 on
	State  string            `json:"state,omitempty"` // where the state before it comes from: see levels
}

func (x *exchange) method() string { return x.Call[:strings.IndexByte(x.Call, ' ')] }

// path is the call's path without its query; inside says whether it is one of the API's.
func (x *exchange) path() (path string, inside bool) {
	path, _, _ = strings.Cut(x.Call[strings.IndexByte(x.Call, ' ')+1:], "?")
	outside, found := strings.CutPrefix(path, "=")
	return outside, !found
}

// url is what follows the host.
func (x *exchange) url() string {
	at := x.Call[strings.IndexByte(x.Call, ' ')+1:]
	if outside, found := strings.CutPrefix(at, "="); found {
		return outside
	}
	return apiRoot + at
}

func (x *exchange) status() int {
	code, _, _ := strings.Cut(x.Answer, " ")
	n, _ := strconv.Atoi(code)
	return n
}

func (x *exchange) reason() string {
	_, reason, _ := strings.Cut(x.Answer, " ")
	return reason
}

// upid is the answered UPID, or "".
func (x *exchange) upid() string {
	text := ""
	if json.Unmarshal(x.Data, &text) != nil || !upidPattern.MatchString(text) {
		return ""
	}
	return text
}

// trial is one recorded case.
type trial struct {
	name  string
	steps []*exchange
}

// group is what a case's name begins with: the cases of one group were recorded in order on one cluster.
func (c *trial) group() string {
	prefix, _, _ := strings.Cut(c.name, "-")
	return prefix
}

// recordings are the cases of one flavour, in order of their names.
type recordings struct {
	version string
	trials  []*trial
}

// original is the form of the recordings themselves.
type original struct {
	Case    string     `json:"case"`
	Steps   []original `json:"steps"`
	Request struct {
		Method, Path string
		Form         any
		RawBody      string   `json:"raw_body"`
		ContentType  string   `json:"content_type"`
		Auth         *string  `json:"auth"`
		Multipart    []string `json:"multipart"`
	} `json:"request"`
	Response struct {
		Status  int
		Reason  string
		Body    string
		Seconds float64
	} `json:"response"`
	Task *struct {
		FinalStatus struct {
			Exitstatus string `json:"exitstatus"`
		} `json:"final_status"`
		Log []string `json:"log"`
	} `json:"task"`
}

// exchange is o in our form.
func (o *original) exchange(name string) (*exchange, error) {
	x := &exchange{Case: name, Form: o.Request.RawBody, Answer: fmt.Sprintf("%d %s", o.Response.Status, o.Response.Reason)}
	at, inside := strings.CutPrefix(o.Request.Path, apiRoot)
	if !inside {
		at = "=" + at
	}
	x.Call = o.Request.Method + " " + at
	if kind := o.Request.ContentType; !strings.Contains(kind, "urlencoded") {
		x.Type = kind
	}
	x.Upload = o.Request.Multipart != nil
	switch {
	case o.Request.Auth == nil:
		x.Auth = "none"
	case *o.Request.Auth != "token":
		x.Auth = *o.Request.Auth
	}
	if o.Response.Seconds >= 2 {
		x.Took = o.Response.Seconds
	}
	var doc struct {
		Data   json.RawMessage
		Errors map[string]string
		Total  *int
	}
	switch err := json.Unmarshal([]byte(o.Response.Body), &doc); {
	case err != nil:
		x.Text = o.Response.Body
	default:
		doc.Data = withoutRemarks(doc.Data)
		x.Data, x.Errors, x.Total = doc.Data, doc.Errors, doc.Total != nil
	}
	if o.Task != nil {
		x.Exit = o.Task.FinalStatus.Exitstatus
		for _, line := range o.Task.Log {
			if !strings.HasPrefix(line, "transferred ") && !strings.HasPrefix(line, "progress ") && !strings.Contains(line, "% (") {
				x.Log = append(x.Log, line)
			}
		}
	}
	return x, nil
}

// withoutRemarks is a task's log without what the recorded machine's Perl had to say of PVE's code.
func withoutRemarks(data json.RawMessage) json.RawMessage {
	var rows []struct {
		N int    `json:"n"`
		T string `json:"t"`
	}
	if !bytes.Contains(data, []byte(" is experimental at ")) || json.Unmarshal(data, &rows) != nil {
		return data
	}
	kept := rows[:0]
	for _, row := range rows {
		if !strings.Contains(row.T, " is experimental at ") {
			row.N = len(kept) + 1
			kept = append(kept, row)
		}
	}
	data, _ = json.Marshal(kept)
	return data
}

// readOriginals reads a folder of recordings and the folders in it; each folder is a flavour of its own.
func readOriginals(dir, flavour string) ([]*recordings, error) {
	byDir := map[string][]*trial{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		o := original{}
		if err := json.Unmarshal(text, &o); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if o.Request.Method == "" && len(o.Steps) == 0 {
			return fmt.Errorf("%s: neither a request nor steps", path)
		}
		c := &trial{name: strings.TrimSuffix(filepath.Base(path), ".json")}
		steps := o.Steps
		if steps == nil {
			steps = []original{o}
		}
		for _, step := range steps {
			x, err := step.exchange(c.name)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			c.steps = append(c.steps, x)
		}
		byDir[filepath.Dir(path)] = append(byDir[filepath.Dir(path)], c)
		return nil
	})
	var all []*recordings
	for _, at := range sortedKeys(byDir) {
		r := &recordings{version: flavour, trials: byDir[at]}
		if flavour == "" {
			r.version = r.flavour(at)
		}
		all = append(all, r)
	}
	return all, err
}

var nineInPath = regexp.MustCompile(`pve[-_]?9`)

// flavour is the version that an answer of the folder names; without one the folder's name and what only 9 has decide.
func (r *recordings) flavour(dir string) string {
	for _, c := range r.trials {
		for _, x := range c.steps {
			var v struct{ Version string }
			if path, _ := x.path(); strings.HasSuffix(path, "/version") && json.Unmarshal(x.Data, &v) == nil && v.Version != "" {
				return v.Version
			}
		}
	}
	if nineInPath.MatchString(filepath.ToSlash(dir)) {
		return "9.2.11"
	}
	for _, c := range r.trials {
		for _, x := range c.steps {
			if bytes.Contains(x.Data, []byte(`"memhost"`)) || strings.Contains(fmt.Sprint(x.Errors), "missing property required by") {
				return "9.2.11"
			}
		}
	}
	return "8.4.21"
}

func (r *recordings) sort() {
	slices.SortFunc(r.trials, func(a, b *trial) int { return cmp.Compare(a.name, b.name) })
}

package pvesim

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

//go:embed schema.json
var schemaJSON []byte

// param is one parameter of the official schema, or one property of a property string.
type param struct {
	Type       string              `json:"type"`
	Optional   bool                `json:"optional"`
	Min        *float64            `json:"min"`
	Max        *float64            `json:"max"`
	MinLength  int                 `json:"minLength"`
	MaxLength  int                 `json:"maxLength"`
	Pattern    string              `json:"pattern"`
	Enum       []string            `json:"enum"`
	Format     string              `json:"format"`
	Requires   string              `json:"requires"`
	DefaultKey bool                `json:"defaultKey"`
	Alias      bool                `json:"alias"`
	Variants   map[string][]*param `json:"props"`
	Versions   []string            `json:"versions"`

	props   map[string]*param
	pattern *regexp.Regexp
}

// loadSchema is the parameters of each "METHOD path" in one version, nil for a call that the version does not have.
func loadSchema(version string) (map[string]map[string]*param, error) {
	var doc struct {
		Sets      map[string]map[string][]*param `json:"sets"`
		Endpoints map[string]struct {
			Use      string              `json:"use"`
			Without  []string            `json:"without"`
			Versions []string            `json:"versions"` // nil: all
			Params   map[string][]*param `json:"params"`
		} `json:"endpoints"`
	}
	if err := json.Unmarshal(schemaJSON, &doc); err != nil {
		return nil, fmt.Errorf("schema.json: %w", err)
	}
	sets := map[string]map[string]*param{}
	for name, set := range doc.Sets {
		chosen, err := choose(set, version)
		if err != nil {
			return nil, fmt.Errorf("schema.json: set %s: %w", name, err)
		}
		sets[name] = chosen
	}
	schema := map[string]map[string]*param{}
	for key, e := range doc.Endpoints {
		if e.Versions != nil && !slices.Contains(e.Versions, version) {
			schema[key] = nil
			continue
		}
		params, err := choose(e.Params, version)
		if err != nil {
			return nil, fmt.Errorf("schema.json: %s: %w", key, err)
		}
		for name, p := range sets[e.Use] {
			if params[name] == nil && !slices.Contains(e.Without, name) {
				params[name] = p
			}
		}
		schema[key] = params
	}
	return schema, nil
}

// families are the numbered parameters and their last numbers (PVE::QemuServer).
var families = map[string]int{
	"ide": 3, "sata": 5, "scsi": 30, "virtio": 15, "net": 31, "ipconfig": 31, "unused": 255, "serial": 3, "parallel": 2,
	"usb": 14, "hostpci": 15, "numa": 7, "virtiofs": 9,
}

// choose picks each parameter's definition for version and spreads the numbered families.
func choose(set map[string][]*param, version string) (map[string]*param, error) {
	chosen := map[string]*param{}
	for name, variants := range set {
		for _, p := range variants {
			if p.Versions != nil && !slices.Contains(p.Versions, version) {
				continue
			}
			if p.Pattern != "" {
				re, err := regexp.Compile("^(?:" + p.Pattern + ")$")
				if err != nil {
					return nil, fmt.Errorf("pattern of %s: %w", name, err)
				}
				p.pattern = re
			}
			if p.Variants != nil {
				props, err := choose(p.Variants, version)
				if err != nil {
					return nil, err
				}
				p.props = props
			}
			base, numbered := strings.CutSuffix(name, "[n]")
			if !numbered {
				chosen[name] = p
				continue
			}
			last, ok := families[base]
			if !ok {
				return nil, fmt.Errorf("how many %s there are is not known", name)
			}
			for i := 0; i <= last; i++ {
				chosen[base+strconv.Itoa(i)] = p
			}
		}
	}
	return chosen, nil
}

// checkParams is PVE::JSONSchema's validation of all parameters at once.
func (r *request) checkParams() error {
	bad := map[string]string{}
	for name := range r.arrays {
		if p := r.ep.params[name]; p != nil && p.Type != "array" {
			bad[name] = fmt.Sprintf("type check ('%s') failed - got ARRAY", p.Type)
		}
	}
	r.c.checkObject("", r.ep.params, r.vars, bad)
	for name, p := range r.ep.params {
		if p.Type == "boolean" && r.has(name) && r.vars[name] != "0" && r.vars[name] != "1" && bad[name] == "" {
			bad[name] = fmt.Sprintf("type check ('boolean') failed - got '%s'", r.vars[name])
		}
	}
	if len(bad) > 0 {
		return badParams(bad)
	}
	return nil
}

// checkObject checks values against the definitions; at is the name before the properties' own, "" at the top.
func (c *Cluster) checkObject(at string, defs map[string]*param, values map[string]string, bad map[string]string) {
	full := func(name string) string {
		if at == "" {
			return name
		}
		return at + "." + name
	}
	for name, value := range values {
		if bad[full(name)] != "" {
			continue
		}
		p := defs[name]
		if p == nil {
			bad[full(name)] = "property is not defined in schema and the schema does not allow additional properties"
			continue
		}
		if text := c.checkValue(full(name), p, value); text != "" {
			bad[full(name)] = text
		}
		if _, given := values[p.Requires]; p.Requires != "" && !given {
			text := fmt.Sprintf("missing property - '%s' requires this property", full(name))
			if c.major >= 9 {
				text = fmt.Sprintf("missing property required by '%s'", full(name))
			}
			bad[full(p.Requires)] = text
		}
	}
	for name, p := range defs {
		if _, given := values[name]; !given && !p.Optional && !p.Alias && bad[full(name)] == "" {
			bad[full(name)] = "property is missing and it is not optional"
		}
	}
}

var (
	integerValue = pattern.New(`^[+-]?\d+$`)
	numberValue  = pattern.New(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)
	booleanValue = pattern.New(`^(?i:1|on|yes|true|0|off|no|false)$`)
)

// checkValue says what is wrong with one value, or "".
func (c *Cluster) checkValue(name string, p *param, value string) string {
	if p.Alias {
		return ""
	}
	kinds := map[string]*pattern.Pattern{"integer": integerValue, "number": numberValue, "boolean": booleanValue}
	if re := kinds[p.Type]; re != nil && !re.MatchString(value) {
		return fmt.Sprintf("type check ('%s') failed - got '%s'", p.Type, value)
	}
	if text := c.checkFormat(name, p, value); text != "" {
		return "invalid format - " + text
	}
	if p.pattern != nil && !p.pattern.MatchString(value) {
		return "value does not match the regex pattern"
	}
	if p.MaxLength > 0 && len(value) > p.MaxLength {
		return fmt.Sprintf("value may only be %d characters long", p.MaxLength)
	}
	if len(value) < p.MinLength {
		return fmt.Sprintf("value must be at least %d characters long", p.MinLength)
	}
	if p.Type == "integer" || p.Type == "number" {
		n, _ := strconv.ParseFloat(value, 64)
		if p.Min != nil && n < *p.Min {
			return "value must have a minimum value of " + strconv.FormatFloat(*p.Min, 'f', -1, 64)
		}
		if p.Max != nil && n > *p.Max {
			return "value must have a maximum value of " + strconv.FormatFloat(*p.Max, 'f', -1, 64)
		}
	}
	if p.Enum != nil && !slices.Contains(p.Enum, value) {
		return fmt.Sprintf("value '%s' does not have a value in the enumeration '%s'", value, strings.Join(p.Enum, ", "))
	}
	return ""
}

// properties is a property string's content.
type properties map[string]string

// parseProperties takes a property string apart. It does not check the values.
func parseProperties(defs map[string]*param, text string) (properties, string) {
	defaultKey := ""
	for name, p := range defs {
		if p.DefaultKey {
			defaultKey = name
		}
	}
	res := properties{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, keyed := strings.Cut(part, "=")
		switch {
		case !keyed && defaultKey == "":
			return nil, "value without key, but schema does not define a default key\n"
		case !keyed:
			key, value = defaultKey, part
		case key == "" || value == "":
			return nil, "missing key in comma-separated list property\n"
		}
		if p := defs[key]; p != nil && p.Alias {
			key, value = resolveAlias(defs, key, value, res)
		}
		if _, twice := res[key]; twice {
			return nil, fmt.Sprintf("duplicate key in comma-separated list property: %s\n", key)
		}
		if p := defs[key]; p != nil && p.Type == "boolean" && booleanValue.MatchString(value) {
			value = strconv.Itoa(flag(slices.Contains([]string{"1", "on", "yes", "true"}, strings.ToLower(value))))
		}
		res[key] = value
	}
	return res, ""
}

// resolveAlias turns an alias into what it stands for: virtio=MAC into model and macaddr, volume into file.
func resolveAlias(defs map[string]*param, key, value string, res properties) (string, string) {
	switch {
	case defs["macaddr"] != nil:
		res["macaddr"] = value
		return "model", key
	case key == "volume":
		return "file", value
	default:
		return key, value
	}
}

// checkProperties checks a property string against the definitions of its properties.
func (c *Cluster) checkProperties(name string, defs map[string]*param, text string) string {
	values, wrong := parseProperties(defs, text)
	if wrong != "" {
		return wrong
	}
	bad := map[string]string{}
	c.checkObject(name, defs, values, bad)
	if len(bad) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("format error\n")
	for _, key := range slices.Sorted(maps.Keys(bad)) {
		fmt.Fprintf(&b, "%s: %s\n", key, bad[key])
	}
	return b.String()
}

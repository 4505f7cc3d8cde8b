package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	fileLimit   = 1 << 20
	secretLimit = 4 << 10
	// othersMayRead is the mode bit of a file that everybody on the machine can read.
	othersMayRead fs.FileMode = 0o004
)

// environment is the part of environ that is the program's own.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, pair := range environ {
		if name, text, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, "PUQKVM_") {
			env[name] = text
		}
	}
	return env
}

// DNSSecretVariable is the environment variable with the secret of the DNS zone that a command adds or edits.
const DNSSecretVariable = "PUQKVM_DNS_SECRET"

// unknownVariables are the names in env that no key has; PUQKVM_TEST_ is left to the tests.
func unknownVariables(env map[string]string) []string {
	known := map[string]bool{"PUQKVM_CONFIG": true, DNSSecretVariable: true}
	for _, k := range keys {
		known[variable(k.name)] = true
		if k.secret {
			known[variable(k.name+"_file")] = true
		}
	}
	var unknown []string
	for name := range env {
		if !known[name] && !strings.HasPrefix(name, "PUQKVM_TEST_") {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// readFile reads the TOML file: key -> text. named is what named the file, "" = nothing did, so that it may be missing.
func (c *Config) readFile(named string) (map[string]string, error) {
	text, mode, err := readLimited(c.file, fileLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist) && named == "":
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, invalid("give it mode 0640 and the group of the web user", "config file %s: %w", c.file, err)
	case err != nil && named != "":
		return nil, invalid("", "config file %s (%s): %w", c.file, named, err)
	case err != nil:
		return nil, invalid("", "config file %s: %w", c.file, err)
	}
	c.File = c.file
	found, err := parseFile(c.file, string(text))
	if err != nil {
		return nil, err
	}
	for name, text := range found {
		if k, file, ok := lookUp(name); ok && k.secret && !file && text != "" && mode&othersMayRead != 0 {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds secrets and everybody can read it: chmod 0640 %s", c.file, c.file))
			break
		}
	}
	return found, nil
}

// parseFile turns TOML into key -> text. Its errors show no values, for these may be secrets.
func parseFile(file, text string) (map[string]string, error) {
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		var p toml.ParseError
		if !errors.As(err, &p) {
			return nil, invalid("texts need quotes: key = \"text\"", "config file %s is no TOML", file)
		}
		at := ""
		if _, _, ok := lookUp(p.LastKey); ok {
			at = ", at or after " + p.LastKey
		}
		return nil, invalid("texts need quotes: key = \"text\"; a key stands once", "config file %s line %d: no TOML%s", file, p.Position.Line, at)
	}
	found := map[string]string{}
	if err := flatten(found, file, text, "", tree); err != nil {
		return nil, err
	}
	return found, nil
}

// flatten adds what is in tree to found, in a fixed order.
func flatten(found map[string]string, file, text, prefix string, tree map[string]any) error {
	names := make([]string, 0, len(tree))
	for name := range tree {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, last := range names {
		name := prefix + last
		_, _, known := lookUp(name)
		switch v := tree[last].(type) {
		case map[string]any:
			if !known && isTable(name) {
				if err := flatten(found, file, text, name+".", v); err != nil {
					return err
				}
				continue
			}
		case string:
			if known {
				found[name] = v
				continue
			}
		case int64:
			if known {
				found[name] = strconv.FormatInt(v, 10)
				continue
			}
		}
		at := file + lineOf(text, name)
		if known {
			return invalid(howTo(name, file), "config file %s: %s must be a text in quotes or a whole number", at, name)
		}
		return invalid("the keys are "+allKeys(), "config file %s: unknown key %q", at, name)
	}
	return nil
}

// isTable says whether name is a table of the file.
func isTable(name string) bool {
	return slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

func allKeys() string {
	var names []string
	for _, k := range keys {
		if k.secret {
			names = append(names, k.name+"(_file)")
		} else {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, ", ")
}

// lineOf is " line N", where the key or table name stands in text; "" when it is written in a way that hides it.
func lineOf(text, name string) string {
	plain := strings.NewReplacer(`"`, "", "'", "", " ", "", "\t", "")
	table := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = plain.Replace(strings.Trim(strings.SplitN(line, "#", 2)[0], "[] \t\r"))
			if table == name || strings.HasPrefix(table, name+".") {
				return " line " + strconv.Itoa(i+1)
			}
			table += "."
			continue
		}
		if left, _, ok := strings.Cut(line, "="); ok {
			full := table + plain.Replace(left)
			if full == name || strings.HasPrefix(full, name+".") {
				return " line " + strconv.Itoa(i+1)
			}
		}
	}
	return ""
}

// readSecret is the one line of the file that name's twin names.
func (c *Config) readSecret(name, file, source string) (string, error) {
	if err := absolute(file); err != nil {
		return "", invalid("", "%s_file (%s) %w", name, source, err)
	}
	raw, mode, err := readLimited(file, secretLimit)
	if err != nil {
		return "", invalid("", "%s_file %s (%s): %w", name, file, source, err)
	}
	text := strings.TrimRight(string(raw), "\r\n")
	switch {
	case text == "":
		return "", invalid("write the secret into it, as its only line", "%s_file %s (%s) is empty", name, file, source)
	case strings.ContainsAny(text, "\r\n\x00"):
		return "", invalid("write the secret into it, as its only line", "%s_file %s (%s) has more than one line", name, file, source)
	}
	if mode&othersMayRead != 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds a secret and everybody can read it: chmod 0640 %s", file, file))
	}
	return text, nil
}

// readLimited reads a regular file of at most limit bytes, or a pipe or device as secret managers hand out.
func readLimited(file string, limit int64) ([]byte, fs.FileMode, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, 0, cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, cause(err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, 0, cause(err)
	}
	if int64(len(raw)) > limit {
		return nil, 0, kvm.Errorf(kvm.ErrInvalid, "larger than %d bytes", limit)
	}
	return raw, info.Mode(), nil
}

// cause is err without the path, which the caller names.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

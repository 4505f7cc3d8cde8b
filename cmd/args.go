package cmd

import (
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

// exactly wants just the arguments that names name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return usage(c, "wants %s", orNothing(names))
	}
}

// atLeast wants the arguments that names name, and possibly more of the last.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= len(names) {
			return nil
		}
		return usage(c, "wants %s", orNothing(names))
	}
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "no arguments"
	}
	return strings.Join(names, " ")
}

func usage(c *cobra.Command, format string, args ...any) error {
	return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, c.CommandPath()+" "+format, args...), "%s --help", c.CommandPath())
}

// oneOf lets one of the flags be given, not several. Cobra knows the group for its completion; its refusal is no error of
// ours, so ours comes first.
func oneOf(c *cobra.Command, names ...string) {
	c.MarkFlagsMutuallyExclusive(names...)
	before := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		var given []string
		for _, name := range names {
			if c.Flags().Changed(name) {
				given = append(given, "--"+name)
			}
		}
		if len(given) > 1 {
			return usage(c, "takes one of %s, not both", strings.Join(given, " and "))
		}
		if before != nil {
			return before(c, args)
		}
		return nil
	}
}

// flagError is what is wrong with a flag, without the words of Go's own parsers.
func flagError(c *cobra.Command, err error) error {
	text, kind, wrong := strings.Cut(err.Error(), ": strconv.")
	switch {
	case wrong && strings.HasPrefix(kind, "ParseBool"):
		text += ": it takes true or false"
	case wrong:
		text += ": it takes a number"
	}
	return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "%s", text), "%s --help", c.CommandPath())
}

// parseID reads a WHMCS id. what names it: service, product, server.
func parseID(what, text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id <= 0 {
		return 0, kvm.Errorf(kvm.ErrInvalid, "%q is no %s id: a number from 1", text, what)
	}
	return id, nil
}

// pair is one key=value argument.
type pair struct{ key, value string }

func parsePairs(args []string) ([]pair, error) {
	var out []pair
	seen := map[string]bool{}
	for _, a := range args {
		key, value, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return nil, kvm.Errorf(kvm.ErrInvalid, "%q is not KEY=VALUE", a)
		}
		if seen[key] {
			return nil, kvm.Errorf(kvm.ErrInvalid, "%s is given twice", key)
		}
		seen[key] = true
		out = append(out, pair{key, value})
	}
	return out, nil
}

package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (see Makefile); a build without it names the module's version or the commit.
var version string

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "0-" + s.Value[:12]
		}
	}
	return info.Main.Version
}

func newVersionCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the program's version", Example: "  puqkvm version --output json", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			a.show(map[string]string{"version": buildVersion(), "go": runtime.Version()}, func() {
				fmt.Fprintf(a.Stdout, "puqkvm %s (%s)\n", buildVersion(), runtime.Version())
			})
			return nil
		},
	}
}

func newCompletionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print a shell's completion script",
		Example: "  puqkvm completion bash > /etc/bash_completion.d/puqkvm", Args: exactly("bash|zsh|fish"),
		RunE: func(c *cobra.Command, args []string) error {
			root, out := c.Root(), c.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usage(c, "knows bash, zsh and fish, not %q", args[0])
		},
	}
}

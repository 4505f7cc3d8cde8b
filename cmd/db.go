package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newDBCmd(a *app) *cobra.Command {
	return group("db", "Make and upgrade our tables", newDBMigrateCmd(a))
}

func newDBMigrateCmd(a *app) *cobra.Command {
	var plan bool
	c := &cobra.Command{
		Use: "migrate", Short: "Make or upgrade our tables in WHMCS's database",
		Long: `Make or upgrade our tables in WHMCS's database. It only ever adds: tables that the PHP module left are taken over with all
their rows, and its older IP pools and DNS zones are imported when ours are empty. It may be run again at any time.`,
		Example: "  puqkvm db migrate --plan\n  puqkvm db migrate", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runDBMigrate(c.Context(), a, plan) },
	}
	c.Flags().BoolVar(&plan, "plan", false, "print what would be done, and change nothing")
	return c
}

func runDBMigrate(ctx context.Context, a *app, plan bool) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	steps, err := a.store.Migrate(ctx, plan)
	if err != nil {
		return err
	}
	for _, w := range a.store.Warnings() {
		a.warn(w)
	}
	if steps == nil {
		steps = []string{}
	}
	a.show(map[string]any{"plan": plan, "steps": steps}, func() {
		for _, s := range steps {
			fmt.Fprintln(a.Stdout, s)
		}
		if len(steps) == 0 {
			fmt.Fprintln(a.Stdout, "nothing to do: all tables are up to date")
		}
	})
	return nil
}

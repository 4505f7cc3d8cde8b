package cmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/config"
	"github.com/spf13/cobra"
)

func newSettingsCmd(a *app) *cobra.Command {
	return group("settings", "Show and change the settings that all hosts share", newSettingsShowCmd(a), newSettingsSetCmd(a))
}

type shownSetting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Set     bool   `json:"set"`
	Help    string `json:"help"`
}

func newSettingsShowCmd(a *app) *cobra.Command {
	var sources bool
	c := &cobra.Command{
		Use: "show", Short: "Show all settings", Example: "  puqkvm settings show\n  puqkvm settings show --sources", Args: exactly(),
		Long: `Show all settings: value, default, and what they are for. --sources shows instead where each key of the configuration came
from (flag, environment, file, configuration.php), with secrets hidden.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if sources {
				return runSettingsSources(a)
			}
			return runSettingsShow(c.Context(), a)
		},
	}
	c.Flags().BoolVar(&sources, "sources", false, "show where each key of the configuration came from")
	return c
}

func runSettingsSources(a *app) error {
	if err := a.load(); err != nil {
		return err
	}
	lines := a.config.Describe()
	a.show(lines, func() {
		t := rows{head: []string{"KEY", "VALUE", "SOURCE"}}
		for _, l := range lines {
			t.body = append(t.body, []string{l.Key, dash(l.Value), dash(l.Source)})
		}
		t.print(a.Stdout)
	})
	return nil
}

func runSettingsShow(ctx context.Context, a *app) error {
	if err := a.openStore(ctx); err != nil {
		return err
	}
	stored, err := a.store.Settings(ctx)
	if err != nil {
		return err
	}
	out := []shownSetting{}
	t := rows{head: []string{"NAME", "VALUE", "DEFAULT", "MEANING"}}
	for _, s := range config.Table() {
		value, set := stored[s.Name]
		if !set {
			value = s.Default
		}
		out = append(out, shownSetting{s.Name, value, s.Default, set, s.Help})
		t.body = append(t.body, []string{s.Name, dash(value), dash(s.Default), s.Help})
	}
	a.show(out, func() { t.print(a.Stdout) })
	return nil
}

func newSettingsSetCmd(a *app) *cobra.Command {
	var reset bool
	c := &cobra.Command{
		Use: "set NAME VALUE", Short: "Change a setting",
		Example: "  puqkvm settings set timezone Europe/Warsaw\n  puqkvm settings set cron.wait 5m\n  puqkvm settings set cron.wait --default",
		Args:    atLeast("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if reset != (len(args) == 1) || len(args) > 2 {
				return usage(c, "wants NAME VALUE, or NAME --default")
			}
			return runSettingsSet(c.Context(), a, args[0], strings.Join(args[1:], ""), reset)
		},
	}
	c.Flags().BoolVar(&reset, "default", false, "go back to the default")
	return c
}

func runSettingsSet(ctx context.Context, a *app, name, value string, reset bool) error {
	setting, err := config.Lookup(name)
	if err != nil {
		return err
	}
	if !reset {
		if value, err = config.Parse(name, value); err != nil {
			return err
		}
	}
	if err := a.openStore(ctx); err != nil {
		return err
	}
	if reset {
		value, err = setting.Default, a.store.UnsetSetting(ctx, name)
	} else {
		err = a.store.SetSetting(ctx, name, value)
	}
	if err != nil {
		return err
	}
	a.show(map[string]string{"name": name, "value": value}, func() { fmt.Fprintf(a.Stdout, "%s = %s\n", name, dash(value)) })
	return nil
}

// Package cmd is the command line: one file a subcommand, each with a newXCmd that knows flags and a run function that
// knows none.
//
// # Where things are
//
//   - root.go: Main, the program's surroundings, the flags of every command.
//   - wire.go: the only place that constructs adapters. Everything is opened when a command first needs it: help opens
//     nothing.
//   - exit.go: errors to words, hint, and exit code.
//   - print.go: text or JSON.
//
// # Why
//
//   - Main takes no part in os.Exit, reads no global, and gets clock, environment and streams from [Program]: so a test
//     runs the real commands in-process, with a clock that the simulator shares.
//   - SIGPIPE is ignored: a reader that goes away (| head) ends the log, not the deployment.
//   - Signals end the context with the plain context.Canceled as its cause: rows tell a signal from a lost claim by it.
package cmd

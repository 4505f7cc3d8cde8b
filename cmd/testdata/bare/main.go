// The program bare is what the benchmarks compare with, and what they measure with.
//
//	bare select DSN     connects, asks one question, ends: the least that a program on the database can take
//	bare run LIMIT CMD...
//	                    runs CMD, and prints its time in microseconds, the most memory it had in KiB, and the microseconds
//	                    of processor time it used; after LIMIT (0 = none) it asks CMD to stop, and then CMD may fail
//
// A process's memory is counted from its fork on, when it is its parent's. That is why a small program starts CMD.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	if verb == "run" {
		limit, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		return measure(limit, args[1:])
	}
	db, err := sql.Open("mysql", args[0])
	if err != nil {
		return err
	}
	var one int
	if err := db.QueryRow("SELECT 1").Scan(&one); err != nil {
		return err
	}
	return db.Close()
}

func measure(limit time.Duration, args []string) error {
	ctx, cancel := context.WithCancel(context.Background())
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.Stderr = os.Stderr
	began := time.Now()
	if err := c.Run(); err != nil && (ctx.Err() == nil || c.ProcessState == nil) {
		return fmt.Errorf("%s: %w", c, err)
	}
	took, used := time.Since(began), c.ProcessState
	fmt.Println(took.Microseconds(), used.SysUsage().(*syscall.Rusage).Maxrss, (used.UserTime() + used.SystemTime()).Microseconds())
	return nil
}

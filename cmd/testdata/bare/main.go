// The program bare is what the benchmarks compare with, and what they measure with.
//
//	bare select DSN     connects, asks one question, ends: the least that a program on the database can take
//	bare run CMD...     runs CMD, and prints its time in microseconds and the most memory it had, in KiB
//
// A process's memory is counted from its fork on, when it is its parent's. That is why a small program starts CMD.
package main

import (
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
		return measure(exec.Command(args[0], args[1:]...))
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

func measure(c *exec.Cmd) error {
	c.Stderr = os.Stderr
	began := time.Now()
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	took := time.Since(began)
	fmt.Println(took.Microseconds(), c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	return nil
}

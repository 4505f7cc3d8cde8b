package whmcs

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// NewOwner is the token under which this process holds claims: host, boot, pid namespace, pid, start time, random. Two
// processes never have the same one, and a process of the same host can tell whether the holder of another is dead.
func NewOwner() (string, error) {
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("owner token: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	host = strings.Map(func(r rune) rune {
		if r == '/' || r > 0x7e || r < 0x21 {
			return '-'
		}
		return r
	}, host)
	if len(host) > 60 {
		host = host[:60]
	}
	pid := os.Getpid()
	start, _ := startTime("/proc", pid) // "" = nobody will ever take it for dead
	return strings.Join([]string{host, bootID(), pidNamespace(), strconv.Itoa(pid), start, hex.EncodeToString(random)}, "/"), nil
}

// ownerDead says that the process behind owner is certainly dead: it ran since this host's boot, in this pid namespace,
// and its pid is gone or another process's now. Whatever cannot be known is not dead.
func ownerDead(owner string) bool {
	f := strings.Split(owner, "/")
	if len(f) != 6 || f[1] == "" || f[2] == "" || f[4] == "" || f[1] != bootID() || f[2] != pidNamespace() {
		return false
	}
	pid, err := strconv.Atoi(f[3])
	return err == nil && pid > 0 && gone("/proc", pid, f[4])
}

// gone says that the process pid that began at start has certainly ended. Where proc hides other users' processes
// (hidepid), only the kernel's answer that there is no such process counts.
func gone(proc string, pid int, start string) bool {
	if now, known := startTime(proc, pid); known {
		return now != start
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(bytes.TrimSpace(id)), "-", "")
}

func pidNamespace() string {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.Trim(strings.TrimPrefix(ns, "pid:"), "[]")
}

// startTime is the process's start in clock ticks since boot (field 22 of proc/PID/stat), "" for a zombie, which has
// ended. known is false where it cannot be read.
func startTime(proc string, pid int) (start string, known bool) {
	stat, err := os.ReadFile(proc + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	// The name in field 2 may hold blanks and brackets; what follows its last bracket starts with field 3.
	i := bytes.LastIndexByte(stat, ')')
	f := strings.Fields(string(stat[i+1:]))
	switch {
	case i < 0 || len(f) < 20:
		return "", false
	case f[0] == "Z" || f[0] == "X":
		return "", true
	}
	return f[19], true
}

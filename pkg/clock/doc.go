// Package clock is the program's only source of time.
//
// Everything that reads the time or waits takes a [Clock]. In production that is [Wall]. Tests use [Fake], whose Sleep
// moves the time forward at once, or [Scaled], which runs faster than the wall by a factor and so keeps the order of
// things that happen side by side.
//
// # Why
//
// A deployment waits minutes for Proxmox. A test that shares one Fake between the program and the simulator sees the
// very durations that the simulator's model gives, and takes milliseconds. testing/synctest does the same only where no
// socket is involved, and here a real HTTP server always is.
package clock

// Package pattern is regular expressions that are compiled when they are first used.
//
// # Why
//
// The program starts each minute, and mostly finds nothing to do. The client's and the simulator's expressions would cost
// it a millisecond of each start, a third of what it takes to ask the database.
package pattern

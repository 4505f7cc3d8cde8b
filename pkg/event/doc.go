// Package event is what happened, as small structs. The engine and cron say it; package transcript alone knows how it reads.
//
// # Order
//
// A block (one service's run) must never be torn apart by another's. [Blocks] sees to it: with several services in hand
// each block's events are kept and passed on whole when the block ends; with one they pass through at once.
//
// # Why
//
// An event carries the time at which it happened, so a block that is printed later still shows true times. Kept events
// are bounded by the rows of a table and the records of a zone, so nobody ever waits for anybody.
package event

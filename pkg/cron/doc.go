// Package cron is one tick: the table of tasks, when each is due, and the claim of services for the work.
//
// A task is due when the minute of now is at least its interval away from the minute of its last start. The start is
// claimed by one conditional UPDATE, so of several hosts one runs it. A tick never waits for another tick: a service that
// another process holds is passed over, and counts for nothing.
//
// # Claims
//
// Before a service is touched it is claimed in the database, and read again after that. While services are in hand a
// keeper renews the claims; when it could not for [patience], everything in hand is stopped, before another process may
// take it over. A claim ends when its holder lets go, dies, or falls silent, never because the work takes long.
//
// # Tasks that go through services at rest
//
// [Sweep] holds one service after the other that may need something small, and does it. [Scheduled] begins what is due only when a
// slot of its node is free, the longest due first, and walks what is under way. For both, what cannot be done now is left as it is:
// it is no error, and prints nothing.
//
// # Why
//
//   - A task that had nothing to do prints nothing, and its end is stored with those of the others in one write: most ticks have
//     nothing to do.
//
//   - Intervals are counted by this host's clock, which the log prints too; claims by the database's clock alone, which
//     all hosts share. A host whose clock is off runs a task a little early or late; it never breaks a claim.
//
//   - The keeper uses the wall clock, not the program's: claims are real time's, also in a test that has its own.
//
//   - Mails are delivered when all services are done: a WHMCS that answers slowly delays no VM.
//
//   - cron.workers services are worked on at once. One that waits for Proxmox or for a slot lends its worker, so that
//     Proxmox is the limit and not the waiting; up to a thousand are in hand, which bounds memory and claims. With one
//     worker a service is finished before the next is begun, and the log shows each line as it happens. Clone slots go to
//     the oldest order, requests to whoever came first: requests by order were tried, and starve the clones of the
//     youngest, which then are the last to end.
//
//   - New services pass their first row one after the other, in the order of their age: it takes addresses, and the
//     oldest order shall have the last one. It asks only the database, so it holds nobody up.
//
//   - A task that fails or panics is the tick's error, and the other tasks run all the same.
package cron

// Package pipeline walks a service through a table of rows.
//
// A [Pipeline] is data: titles and statuses stand in one place, are printed from there and tested there. [Engine.Run]
// takes the first row of the service's status and goes on as long as rows succeed. The first that does not ends the run
// for this tick; the next tick goes on from there. There is no retry in here: cron is the retry.
//
// # What a row's Do promises
//
// It observes, compares, acts, waits, verifies, and may be run again at any moment, also after a kill -9 in the middle.
// Where Proxmox has no verb that can be repeated, it stores the intent first ([Store].Save) and looks before it acts.
//
// # What the engine promises
//
//   - The status moves by one conditional statement, after the row's effect, with a context that a signal does not end:
//     the effect has happened.
//   - kvm.ErrMoved ends the run at once and without a further write: the service is in somebody else's hands.
//   - A panic in a row is that row's error and nobody else's.
//   - Waiting is not failing: kvm.ErrBusy and kvm.ErrStillRunning, and a Result that names what it waits on, pause the
//     block and count as no error.
//   - A service that was asked for something else meanwhile (kvm.ErrAsked, from the store) stops after its present row.
//   - A failure that waiting cannot mend (kvm.Lasting) leads where the row says, if it does.
//   - Every row that was tried is an event and a step of the stored run.
//
// # Why
//
// The engine is one loop and knows no row. What belongs into the transaction that moves the status (addresses, the mail)
// is handed to it as Result.Commit, so neither the loop nor the store needs to know why.
package pipeline

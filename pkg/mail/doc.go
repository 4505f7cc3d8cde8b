// Package mail empties the outbox: it hands mails that are due to the WHMCS API and records what became of them.
//
// A mail is written to the outbox in the transaction that gives the reason for it, and leaves it by [Deliverer.Deliver],
// which a tick calls. It is sent once. It is sent twice only if WHMCS's very answer was lost and WHMCS kept no trace of
// the mail in tblemails. It is not lost while the API refuses it or cannot be reached: it is tried again for [GiveUp], after
// a minute, two, four … an hour; then it is failed, and the activity log says so once.
//
// No trouble with a mail is an error of Deliver; only trouble with the database is.
//
// # Why
//
//   - An attempt is written down before the POST (state sending, with the highest tblemails.id of the moment). Who finds an
//     entry so, whether the process that began it is dead or only got no answer, looks for a trace first. The entry stays
//     in that state over the pause between two attempts: WHMCS may still be at it when the time-out has passed, and its
//     trace appears late.
//   - A trace is a logged mail to the client with the template's subject. The service's domain or address in it says whose
//     it is. Where the template has neither, mails are counted against the entries that may have made them, and doubt means
//     no trace: a mail that comes twice annoys, one that never comes leaves a customer without a password.
//   - Several mails of one template to one service whose answers were lost say the same, so traces are given to the oldest
//     first: each trace is one entry's, and the newest entry, which says what counts now, is the one that is sent again.
//   - When WHMCS does not answer, or refuses every call, a round ends: a hundred mails must not wait thirty seconds each.
//     The entry's own pause lets another one go first the next time.
//   - An attempt that was begun is seen through when the program is told to stop: cut off, its outcome would be unknown.
package mail

// Package hestiasim is a stand-in for HestiaCP's API: an HTTPS server that answers /api/ as HestiaCP's PHP does, keeps DNS
// zones as its shell scripts do, records what was asked of it, and can be told to misbehave.
//
// It knows v-list-dns-records, v-add-dns-record and v-delete-dns-record, the login by access key and the two older ones,
// HestiaCP's exit codes and the HTTP statuses that they become. Contract and behaviour are those that were measured at
// HestiaCP's HEAD of August 2026 (web/api/index.php, bin/v-*-dns-record*, func/main.sh, func/domain.sh); what was only read
// there says so.
//
// # What a client meets here, as there
//
//   - Arguments are positional. One that is absent makes the rest move up: {arg1..arg5, arg8: "no"} is a PRIORITY of "no".
//   - An id is the highest one and 1, so it is used again after a delete; adds that run side by side get the same one, or
//     exit 4. A delete takes every row with the id.
//   - An add is no set: the same one again makes a second row. Nothing but a row's id can be deleted.
//   - An exit code other than 0 may come after the change: BIND is restarted last.
//   - The old logins get 200 for every outcome of a command, and no exit code but in the body, if it was asked for.
//   - v-list-dns-records writes JSON by echo: rows with one id are one key twice, and a backslash stays as it is.
//
// # Why
//
//   - A call is one locked step, unless there is an Options.Work or a hook (On) in it: what must race is raced on purpose, and
//     the rest never does.
//   - A lost answer is a real reset of a real connection, and a command runs to its end when its client has left.
package hestiasim

// Package hestiacp keeps DNS records at HestiaCP, by its API (POST /api/), as a dns.Provider. Package hestiasim is what it is
// tested against; what that does was measured at HestiaCP.
//
// # Contract
//
// Login is by access key (Options.Key), by the administrator's password (Options.Admin), or by a legacy API key (neither).
// The key needs the commands v-list-dns-records, v-add-dns-record and v-delete-dns-record: the permission set
// update-dns-records that HestiaCP comes with has no add and no delete. This host's address must be in API_ALLOWED_IP.
//
// An Apply lists the zone once, adds what is missing, and deletes what must go, each row by a list that is newer than every
// call before. So n values cost 1 call where all is well, 1+n where they are missing, 2n or one more where they must go; one
// takes HestiaCP about a second.
//
// Errors are those of dns.Provider. Of HestiaCP's exit codes 9, 10, 21 and a switched-off API are kvm.ErrAuth, 3 is
// kvm.ErrNotFound, 14, 15 and HTTP 5xx are kvm.ErrBusy, and every other one is kvm.ErrRefused, with what was printed.
//
// # Whether it was done
//
//   - An error does not mean unchanged: BIND is restarted last, and exit 20 (or 2) comes after the record was written. So
//     after every failed add or delete the zone is listed again, and what stands there counts. A record that is there is
//     success, also where BIND did not restart: HestiaCP serves it from its next restart on, and mails its administrator.
//   - What is not there after a lost answer stays kvm.ErrUnknown: the server may be at work still. No add or delete is sent
//     again, but for an add that was refused with exit 4: another writer had taken the id in the same moment.
//
// # Why
//
//   - Nothing but a row's id can be deleted, ids are used again, and a delete takes every row with the id. So the list right
//     before it must show the id at a row with our name, type and value, and at none that is to stay; else the delete is
//     refused. Between that list and the delete another writer still has the time of one call.
//   - Two rows with one id are one JSON key twice, which a map would hide. So the list is read token by token.
//   - All nine arguments are always sent: HestiaCP lets those after an absent one move up.
//   - With an access key the exit code stands in a header and the body tells why; an old login has the code alone, in the
//     body, when returncode=yes asks for it. PHP's warnings may come before it.
//   - Each call has a connection of its own, so that none is lost on one which the server has just closed.
//   - Adds side by side get one id. So a Provider makes one Apply at a time; dns.Syncer keeps several of one server apart, here and
//     in other processes.
//   - A suspended row is not served, so it does not stand for a value that must be there. It goes like any other.
package hestiacp

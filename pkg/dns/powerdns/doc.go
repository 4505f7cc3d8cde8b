// Package powerdns keeps records in zones of a PowerDNS Authoritative server, through the HTTP API that is built into it. It
// is tested against version 4.7 itself (scripts/pdns.sh).
//
// # Contract
//
// It is a dns.Provider. A zone costs two requests, however many edits there are: the zone is read, then all RRsets that
// change are sent in one PATCH. An RRset is the records of one name and type, which the server replaces as a whole: those that
// are not ours go back with it as they were, disabled ones disabled, and the RRset keeps its TTL and comments. A value of ours
// that stands there disabled is nowhere to be seen in DNS, so it is enabled.
//
// # Why
//
//   - The whole zone is read, though the API could be asked for one name: asked so, versions before 5.0 leave out disabled
//     records (their issue 11473), and replacing the RRset would delete them. Reading 10 000 records takes 0.06 s, 100 000 one
//     second.
//   - A PATCH is taken or refused as a whole. One that is refused is sent again edit by edit, so that the bad one alone fails.
//   - With SQLite behind it the server answers writes that meet with HTTP 500 (16 of 20 in a trial). So a Provider
//     makes one Apply at a time (dns.Syncer keeps several of one server apart, here and elsewhere), and an answer that may be
//     better next time is waited for, some two seconds in all. A PATCH may be repeated: it says what an RRset shall be.
//   - A secondary zone takes a PATCH with HTTP 204, and loses it with the next transfer: it is refused here.
//   - A zone's id is its name with =2F for a slash. A web server on the way would read %2F as one.
package powerdns

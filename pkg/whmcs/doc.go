// Package whmcs is WHMCS as the program needs it: its configuration.php, its password cipher, and [Store], which reads
// and writes its MySQL or MariaDB database and our own tables beside WHMCS's.
//
// # Contract
//
// [Open] gives a Store or an error that says what is wrong and how to mend it; with a Store in hand every column of
// WHMCS's tables that is used exists. Of WHMCS's tables these alone are written: tblhosting (domain, dedicatedip,
// assignedips, username, password, notes of one service, in narrow UPDATEs), tblactivitylog, and tblmodulelog while
// WHMCS's module debug log is on. Our own tables are made by [Store.Migrate] and by nothing else; [Store.SchemaState]
// says whether that is due.
//
// A Store is safe for concurrent use. Errors carry a sentinel of package kvm where somebody decides on them, name the
// host, the database, the table or the row, and never a secret.
//
// # Why
//
//   - Every connection has the sql_mode STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION, whatever the server's is: nothing is
//     cut off silently, and the zero dates that WHMCS's tables are full of can be read and compared. clientFoundRows
//     makes an UPDATE that changes nothing still count the row it found, so "0 rows" means that the condition failed.
//   - Our stamps are datetime(6) in UTC, written as UTC_TIMESTAMP(6) by the database, so several machines have one clock.
//     The driver reads them as UTC and a zero date as the zero time. The session's time zone is left alone: WHMCS's
//     TIMESTAMP columns then hold what WHMCS would see. WHMCS's own datetimes are PHP's local time; where we write one,
//     the caller gives the local time.
//   - Parameters are put into the statement by the driver (interpolateParams), which saves a round trip for each
//     statement. utf8mb4 is among the character sets where that is safe.
//   - On a Galera cluster every connection has wsrep_sync_wait=1, so that a read sees what another node has committed.
//   - A statement that waits for a lock gives up after 20 s (1205), a connection on which nothing arrives after 60 s.
//     DDL may take hours and runs on a pool of its own without the latter.
//   - What decides (a claim, a status, an address, a slot) is one statement with its condition or key. What is only chosen
//     by (the addresses that are given, pools, zones, due mails) is read for many services at once and may be some seconds
//     old: when the key says otherwise, it is read again. An address that somebody types into a service by hand within
//     these seconds can be given away too; WHMCS itself checks no better.
//   - The status, the intents and the step of the stored run are one multi-table UPDATE, and so are the password and the
//     row that says it was made: neither stands without the other, and a row costs one round trip. Nothing is assigned
//     from another column that the same statement sets, for MySQL does not say which comes first.
//   - What is asked for while a process is at work on a service is noted in next_status. The statement that moves the
//     status carries "nothing is noted that comes first" in its WHERE, so that no note is lost or passed by; only when it
//     finds no row is the note read. A note that waits for the end of the run takes the place of ready, in the same
//     transaction as the mail. The note ends in the statement that takes it. At most two are
//     noted (kvm.Notes). One that comes before a row which does not pass (it failed, it waits) is taken by TakeNote when the
//     service is next claimed. Tables of version 1 have no place for notes: there a verb moves the status where nobody is at
//     work, and is kvm.ErrBusy where it would be noted.
//   - The addresses of a package that shrinks stay claimed, in the state leaving, until the change is through.
//   - A service's UUIDs outlive its VMs, and the VMID of a VM that is gone is a tombstone for a while: a backup or a late
//     answer under it must not meet another customer's VM.
//   - The claim ends with the move to ready: a process that dies right after it leaves none behind.
//   - Claims are renewed by the hundred; where one row is locked, one by one.
//   - The columns are looked up once, in one query, when the database is opened. WHMCS is closed source and grows: what
//     is missing is named then, not in the middle of a deployment.
//   - Two services may have the same VMID where they are in different clusters, as the PHP module numbers them; ours are
//     never given such a one. The reservation is the first one's then.
//   - A service is forgotten with its addresses in quarantine, also those that only tblhosting names: a VM that was never
//     adopted may use them.
//   - The counters of the last count and the hours that were made of them are written in one transaction, which all who count
//     take turns at (the row of their cron task is the lock). The statements are few: a thousand services in five.
//   - puqProxmoxKVM_statistics may be the PHP module's. Its rows stay, unread and unpurged, and are told from ours by having no
//     utc_hour. A table whose own unique keys leave no room for a row an hour is refused by name.
//   - configuration.php is read by a tokenizer. Executing it would need PHP; a regular expression would read values out
//     of comments, out of branches that are never taken, and half of a broken file.
//   - The DDL is data, compared with information_schema, not a list of numbered scripts: so tables that a PHP
//     installation left, a migration that was killed half-way, and a fresh database all take the same path.
package whmcs

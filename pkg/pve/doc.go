// Package pve is the Proxmox VE client: one [Client] for one cluster, in the words of package kvm.
//
// Every method sends its request once and says by a sentinel of package kvm what became of it: kvm.ErrUnreachable means
// that nothing was done, kvm.ErrUnknown that it may have been done, kvm.ErrBusy and kvm.ErrChanged that it was refused
// for now, kvm.ErrPermanent, kvm.ErrInvalid, kvm.ErrDenied and kvm.ErrAuth that it will be refused again. An error
// without a sentinel is Proxmox's own words that nobody has classified. A call that starts a task answers with its UPID;
// only [Client.Wait] tells whether the work was done, for Proxmox refuses most things in the task.
//
// Calls that change a VM take a kvm.Owned, use the node and the configuration that the proof was made from, and carry
// its digest where Proxmox checks one. After such a call the configuration is another: read it again before the next.
//
// A Client may be used by many goroutines. No secret appears in an error or a debug line.
//
// # Why
//
//   - proxmox-api-go signs and sends (transport.go is the only file that imports it); its typed layer, retries and waits
//     are not used. They ignore the context, repeat POSTs, sleep after errors and panic on odd bodies. Our round-tripper
//     therefore hands it a complete and harmless answer whatever happened, and keeps the real one for us.
//   - Another API address is tried after a failed dial alone: then nothing was sent. After anything else the outcome of
//     a write is unknown, and repeating it could make a second VM or disk. Whether a request may have left is known
//     from the connection: one that never had any has done nothing.
//   - An ended connection is normal: pveproxy closes after every write and every error. So TLS sessions are cached, and
//     idle connections are kept for less than Proxmox's 5 s.
//   - Passwords are logged in with, tickets are renewed by time and once after a 401, and a refused login is remembered
//     for a minute: each costs 3 s and many look like an attack. A 401 is given before anything is done, so the request
//     may follow once more.
//   - Proxmox answers 500 to nearly everything, so classify goes by its words. What it does not know gets no sentinel:
//     calling it permanent would end work that a repeat would finish, calling it unknown would forbid that repeat.
//   - A node that names itself wrongly (hostname lookup failed) counts as unreachable, for a DNS that fails for a while
//     says the same.
//   - Drive and network strings are kept as ordered pairs: an option that we do not know must survive our change.
//   - Sizes are absolute and disks are named with their volume, so that a repeat changes nothing.
//   - What does not answer is asked once a minute: of many calls to a node, or to the API, of which nothing is known, one
//     goes first. When nobody answers it, a question for the version decides whether the node is down or the call was slow
//     for reasons of its own; so one VM's trouble is never taken for its node's (probe.go).
//   - A call that one of a node's three pvedaemon workers must serve waits for its turn there before it takes one of the
//     cluster's slots: else the slots fill with calls to one node while the others are idle (lane.go).
//   - Tasks are asked about when their kind has usually ended (pace.go), and the less the more requests wait: with
//     hundreds of tasks at once the questions would take a quarter of the slots.
//   - A snapshot that is not there, and a backup that is gone, are what the caller wanted; but only for the snapshot does
//     it have to know (kvm.ErrNotFound), since another one may have to go in its place. Of a directory Proxmox calls the
//     deleting of a missing backup OK, of other storages a failure: both are none here.
//   - A backup's owner is the UUID in the main section of the configuration inside; a configuration with two, or one that
//     cannot be read, has none. Descriptions and snapshot sections may say anything.
//   - A guest that does not answer its agent is in the wrong state (kvm.ErrState); one that answers no is permanent.
//   - A delete never asks for unreferenced disks: where clusters share a storage they may be another's.
//   - Our own credentials leave this package in one place, as secrets of the answer of [Client.Console], for the proxy between a
//     browser and Proxmox, which connects in our name.
//   - Names of dots are never sent in a path: shortened on the way, a call for a snapshot would be one for its VM.
//   - What a guest is told by its configuration is read as far as it can be (kvm.VM.IPConfigOdd): people write odd things
//     there, and a pipeline must get past them.
//   - Nodes and storages are shared for ten seconds, like the snapshot: they are only chosen by.
//   - One cluster/resources without a type gives VMs and nodes in one call; [Client.Snapshot] shares it within a tick,
//     [Client.Place] never does, since what is done next depends on it.
//   - Counters of traffic are read one by one ([Client.Traffic]): one guest's nonsense must not cost all others theirs. What was
//     not said is unknown, never 0: a 0 would be taken for a start.
//   - A chart's values are pointers, since the gaps in them say something; a nonsense value is a gap.
package pve

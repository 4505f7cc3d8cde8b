// Package pvesim is a simulator of the Proxmox VE API: an HTTP(S) server with nodes, storages, VMs, locks and tasks that
// follows PVE's rules and can be told to fail. Tests, benchmarks, the demo and the simulate command run against it.
//
// # Contract
//
// [New] makes an empty cluster, [TwoNodes] and [Nodes] one that is ready to use. Everything that may be called while it serves is
// safe for concurrent use. Parameters are checked against the official schema of the version in [Options], the answers'
// status, reason phrase and shape are those of the genuine code (7.4, 8.x, 9.x), and a task ends when the clock has
// reached its end. Nothing runs in the background: each request and each inspection first applies, in order of time, all
// that is due. So a [clock.Fake] that nobody else moves is enough.
//
// What goes wrong is told by [Cluster.AddFault] and its neighbours in control.go, or from outside by
// [Cluster.ServeControl].
//
// What is not here answers 501, as an unknown path does: the console's websocket and the monitor, uploads, changes of
// storages, users and roles, backup schedules, replication, high availability (no VM is under it), containers (but for their VMIDs and rows in the cluster's list). A call that is here refuses
// what it cannot do with a 500 that says so: giving a disk to another VM, imports by path.
//
// Disks have no bytes. [Cluster.WriteDisk] marks one, and clones, snapshots, backups, moves and restores carry the mark, so
// that a test sees what came back. A guest is silent until [Cluster.SetGuest] puts one in that answers its agent, and its
// cards carry nothing until [Cluster.SetTraffic]; what they carried starts anew with the VM.
//
// # Why
//
//   - All of the API is one table (table.go): method, path, whether pvedaemon serves it and the node proxies it, the
//     privilege, the handler. The parameters stand in schema.json under the same key. A row that lacks one of the two
//     makes New fail, so nothing is half there.
//   - Work is an op (op.go): steps on the event queue that take PVE's file locks, wait for them, and end. A task is an op
//     with a UPID; a synchronous call is an op that its request waits for. Hence a client that goes away stops nothing,
//     as in PVE.
//   - Answers to writes and errors are written by hand, for net/http can send neither a reason phrase of its own nor the
//     two Connection headers that PVE sends.
//   - Authentication comes before the lookup of the path, as pveproxy does it; privileges before parameters; the
//     forwarding to another node between them.
//   - A clone and its task count as the new VM's (guest), though PVE files them under the template: else a fault could not
//     strike one order's clone and leave the others' alone.
//   - A node that boots starts what has onboot=1, also a VM that a deployment has not finished: PVE does not know.
//   - A worker of pvedaemon stays with a call whose caller has given up, for in PVE it blocks: three such calls stop a node
//     (daemon.go). A shared storage's lock is one of the cluster's file system, tried again each second, where a node's file
//     locks are handed on at once.
//   - The contract test replays recordings of the genuine API (contract_test.go): those of testdata/recordings with every
//     go test, any folder of them with -recordings DIR. The state before a call is derived from the recordings, never from a
//     list of names; -update-recordings DIR carries a folder into testdata. What differs and is known stands in known.txt.
//   - The datacenter's firewall is a file like a VM's, with the VMID 0 (group.go).
//   - Long work holds the VM's file lock only at its ends and leaves a lock in the configuration in between, where PVE does:
//     snapshots, rollbacks, suspensions, backups. What a killed worker leaves behind stays there.
//   - A snapshot keeps the options and the size and mark of each volume; a backup the same, and its own text. Neither is
//     tied to its VM's later life: backups outlive the VM, snapshots go with it.
//   - A backup job may name several VMs, so one VM's failure is a line of its log and an exit text that is the same for
//     all (vzdump.go is the job, dump.go the backup of one VM).
//   - Charts are made from what the VM is now, not recorded: earlier power cycles and changes of size do not show.
//   - The limit for protected backups and bandwidth limits are accepted and have no effect.
//   - A lost quorum refuses every write with one text. The genuine text differs by call (some only find a read-only file
//     system); none of them has an effect.
package pvesim

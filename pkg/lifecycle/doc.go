// Package lifecycle is what happens in a VM's life: the tables of rows, and the rows' functions.
//
// A row observes, compares, acts, waits, verifies (package pipeline says what it promises). The rows' ports are in
// ports.go; package whmcs and package pve fill them.
//
// # The gate
//
// After the clone row every call that changes a VM takes a kvm.Owned, which only kvm.Prove makes, from a configuration
// that this run has read. [Lifecycle.observe] is the one way to it: locate, read, prove. A VM that cannot be read is
// waited for; a foreign one is refused; neither moves the status.
//
// # How a clone is made once
//
// The VMID is reserved in our table before anything else, "clone sent" is stored before the POST, the UPID after it. A
// run that finds "clone sent" without a UPID never assumes: it asks whether the VMID exists, waits until that VM is
// unlocked, and takes it when it carries our mark. A clone's configuration carries the mark only when its copy is
// complete, and the mark names the installation and the service, so it is ours. Then the SMBIOS UUID is stored, and from
// there on it alone is the proof.
//
// # Why
//
//   - What may not be repeated blindly (clone, add disk, migrate) is sent with a context that a signal does not end: its
//     answer is worth the wait.
//   - A task that ended badly is forgotten at once, or the next run would wait for it again.
//   - The migration's target is stored before the POST: "automatically" could choose another one after a crash.
//   - The additional disk is made with 1 GiB and grown by the next row: what is not repeatable is then quick, and the log
//     reads as the PHP module's, where both rows have something to do.
//   - A VM starts with its node only from the cloud-init row on, which sets the last that it needs for its first boot. A
//     node that reboots in the middle would else start it without its addresses, and the start row find it running.
//   - Slots (clones of a node, clones to a storage that nodes share) are counted in the database, and queued for in this
//     process, the oldest order first. While others hold them all, a process goes on trying as long as one of its own
//     services has had one within cron.wait: then its tick ends, and leaves the queue to those at work.
//   - onboot stays off until the guest knows its addresses and password: a node that reboots in the middle of a deployment
//     would start the VM half made, and its first boot cannot be repeated. The cloud-init row switches it on.
//   - A node that the product names is waited for when it does not answer; one that is known to be offline is not.
//   - A row that reads the VM after its change leaves what it read for the next row, so that a skipped row costs nothing.
//   - DNS providers are not served by this version: with zones in the table the row says so in its title, and goes on.
package lifecycle

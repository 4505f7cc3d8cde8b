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
// Whoever waits between the proof and the call (for a guest that shuts down, for a task of an earlier run) proves again
// after the wait: in minutes a VMID becomes another VM's.
//
// # How a VM of the PHP module is adopted
//
// [Lifecycle.Adoption] reads the VM, which nothing proves yet, and only compares: name, MAC, and addresses against ipconfig0
// and the IPSet. What it gives is stored by package whmcs in one transaction: the UUID, and the claims of the addresses,
// without which the next change of package would take them from the VM.
//
// # How a clone is made once
//
// The VMID is reserved in our table before anything else, "clone sent" is stored before the POST, the UPID after it. A
// run that finds "clone sent" without a UPID never assumes: it asks whether the VMID exists, waits until that VM is
// unlocked, and takes it when it carries our mark. A clone's configuration carries the mark only when its copy is
// complete, and the mark names the installation and the service, so it is ours. Then the SMBIOS UUID is stored, and from
// there on it alone is the proof.
//
// # What destroys
//
// Stop, delete, delete a snapshot, delete a backup: the proof is made right before each (a backup has one of its own, by
// the UUID inside it). Nothing is freed, and nothing is called gone, before one of these holds ([Lifecycle.find]):
//
//   - the service never had a VM: no clone was ever sent;
//   - our own destroy task ended OK, whatever has taken the VMID since;
//   - nextid calls the VMID free, in a cluster that is quorate and is by its own name the one that the VM was made in.
//
// A list that does not show the VM, a time-out, an offline node, a configuration that cannot be read are none of them. A
// clone whose request got no answer is looked for a second time after the longest time that Proxmox's proxy could still
// hand it on.
//
// What waiting cannot mend (kvm.Lasting: protection, a foreign VM, a privilege) ends a terminate at error_terminate. In the
// other tables the row says it each tick, but for the first row of Reinstall, which has changed nothing yet and goes back
// to ready.
//
// # Addresses of a package that changes
//
// What the package has more is claimed first, of the VM's bridge and VLAN; what it has less is "leaving": nobody else gets
// it, the firewall no longer lets it pass, and the last row gives it back, or lets it rest where no anti-spoofing keeps the
// guest from using it.
//
// # The client's firewall
//
// Proxmox removes a VM's firewall with the VM, so what the client has made of it (policies, rules) is stored on the row, and
// the stored document is the wish: whoever comes by, a command, a reinstall, a change of package, makes Proxmox equal to it.
// The rules are known there by a mark in their comment. A new VM has them alone; on one that was given to its customer the
// rules and sets of an administrator stay, and only the order of ours among themselves is the wish's.
//
// A command stores the wish first and sends it then. Killed in between, what was asked for stands in the row, and the next
// who comes does it; the other way round that one would take back what Proxmox has done already. What Proxmox refuses is taken
// back at once. A killed command leaves no trace but these two lists, and each step from one to the other is decided by them
// alone ([nextRuleStep]), so none is done twice.
//
// Every step carries the digest of the list that it was decided by. Who names a rule by its position is refused when the list
// is another by then, also where it was ourselves who have just put it right.
//
// With DHCP nothing of it is managed. The wish stays, and is made so when a change of package ends that.
//
// # Backups, and back from them
//
// Whose a backup is says the configuration inside it alone (kvm.ProveBackup), and that is read anew right before a backup is removed
// or restored. What counts and is rotated is what stands in the journal: what our own task made, by the archive that its log names,
// or what adopt took over. A listing goes by the journal for what was read of a volume before, while its time and size are the same.
//
// A backup is requested once: the last backup task of ours that Proxmox knows is stored before the POST, the UPID after it. A run that
// finds the one without the other takes a later task over as its own, and asks again only when none has appeared after the longest
// time that Proxmox's proxy could hand the request on. However its task ended, the archive decides: Proxmox gives it its name when it
// is whole.
//
// A request that ended in doubt (a privilege was missing to read what it had made) is not the next one: that notes what the earlier
// one has made, and makes its own; terminate and redeploy note it before the VM goes. Of a task that Proxmox has forgotten, what it
// made is the archive of the VM that carries the note it was asked for with, or else that was begun when it was.
//
// A scheduled backup is in hand only from when its node has a slot free ([Lifecycle.BeginScheduled]); until then the service is at
// ready, and in nobody's way. The moment is stored with the status. A day has its backup when that is made, not when it is begun; one
// that failed for good is made again an hour later, until the next moment.
//
// A restore may be requested again: it begins anew and ends the same, and while one is at work the VM is locked. What can be seen to
// fail is refused by the first row, which has changed nothing. From the first request on the row says that the disks may not be whole
// (RestoreFailed): what fails then ends at error_restore, and a restore or reinstall that is refused at its first row goes back there.
// What is refused before that (the archive has gone, a privilege is missing) leads to ready, and the VM is started as it was: the ways
// out of error_restore cost what is on its disks.
//
// A rollback is refused where the VM has a disk that the snapshot does not know: Proxmox would leave that unused, and the rows after
// it would make an empty one in its place.
//
// After both the configuration is of another day. The rows that follow make it what the package, the addresses and the stored password
// are now; a backup brings its firewall along too, a snapshot none.
//
// # ISO images
//
// A mount is two calls, the drive and then the boot order: with a drive that the order does not have Proxmox puts it there at the
// end by itself, and of one call with both either may win. The order that stood before is on the row before the first of them
// (kvm.ISONote), and what the mount, or Proxmox on its way, has made of it is recognised by its form. So a mount that dies is
// repeated or unmounted, and the order comes back all the same; one that somebody else has changed since is theirs.
//
//   - The drive stays, empty, after an unmount: it could not leave a VM that runs, and the next image goes into it at once.
//   - The older form of the order ("cdn", or no key at all) keeps its form: with an order Proxmox would drop bootdisk. It puts
//     all CD drives in front, the image's among them.
//   - No pipeline touches a mounted image. What destroys the VM forgets the note. A rollback brings back drive and order of its
//     snapshot: an image in it can be unmounted, and an order with the then empty drive in front boots on from the next.
//   - An image that was deleted from its storage keeps the VM from starting: the error says how to take it out.
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
//   - A shutdown is followed in slices, for a terminate says how it goes; what counts is the power state. Where the task
//     has ended and the VM still runs (a high-availability manager works after its tasks) it is looked at until the limit.
//   - Suspended is a flag beside the status, so that every table can run while it is set: rows that start are skipped, the
//     verification expects a stopped VM.
//   - A new password is written into cloud-init also where the guest agent has set it: else the next change of the guest's
//     addresses would bring the old one back. It is stored before anybody is told.
//   - Reinstall keeps the MAC on the row, and the clone takes it over with the network row; the UUID of the VM that is gone
//     stays in the service's list, so its backups stay the service's.
//   - Terminate runs whatever is wrong with the service in WHMCS: it needs the server alone. It says lines in place of a
//     block, as the PHP module does.
//   - An adopted VM's claims say what the VM says of its network, not what the pools say today: a change of package must
//     find nothing to change in it. Before the rows that give a VM its network have run, what it has is its template's,
//     and the pools' counts. A guest that DHCP serves while its package wants no address keeps what somebody typed into
//     WHMCS: it is neither compared nor claimed.
//   - There is no way to adopt a VM that differs. Whoever knows that it is the service's can make name and address say so,
//     and then whoever comes later sees it too.
//   - A status is set by hand only where the program could have got there itself with the same safety ([Lifecycle.MaySet]).
//
// # Names
//
// What is written into DNS for a service is noted in a journal before it is, and taken out of it when every zone has said
// that it is gone. So a record that a provider which was down has kept is removed by whatever comes next: the next row, dns
// sync, also after the service has ended. No row fails for what a provider does: each operation is a line, and the title counts
// what failed. A row whose note the database cannot take is repeated, for nobody would know of the record otherwise. While a
// provider is waited for, the worker is lent to others.
//
// Of a service that ends, or that WHMCS has ended, or whose domain is no host name, nothing is written and nothing is
// removed but what was to go already; of one that has ended all is. A record that another service has in the journal by now is
// not removed for this one.
package lifecycle

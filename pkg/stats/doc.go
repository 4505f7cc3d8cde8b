// Package stats counts the traffic of the VMs, and draws their charts in a terminal.
//
// [Collector] is the task collectingStatistics: of each WHMCS server it reads the counters of all guests in one call, and
// has what was carried since the last reading added to hourly rows. [Advance] is what makes traffic of two readings, and
// [Split] what gives it to hours; both are pure. [Months] sums hours up as WHMCS counts months. [Chart] draws.
//
// # Why
//
//   - Nothing is ever counted twice, and nothing is counted that was not carried: clients are billed by it. Where a reading
//     leaves a doubt it counts less. What is lost is at most what was carried between two readings, and only when the VM was
//     switched off or started anew between them.
//   - The last counters stand beside the hours, and both are written in one transaction, which reads the former under a lock.
//     So a task that runs twice, on two hosts, or again after a crash, finds what it has counted already.
//   - A counter that has gone back is a start, unless the uptime says that the VM has run on: then a network card was taken
//     out, and only what grew is counted.
//   - A reading that follows the last within five minutes counts nothing, and the last stays the one to count from: nodes
//     answer with what they have heard of each other, so that the figures of the second may be older than those of the first.
//   - A VM that is seen for the first time counts from its start where that was within the hour: then all its counters say
//     was carried for the service, and recently. Of one that runs for longer nobody knows in which month it was, so it counts
//     from now on. The same holds for a VM that has taken another's place (another UUID: reinstalled, restored).
//   - Traffic is given to the hours of its interval by their length, and not to the hour of the reading: the last hour of a
//     month would else be the next month's.
//   - Hours are UTC's, since local ones repeat and are missing once a year. A month begins at local midnight; where that is
//     within an hour of UTC's (India, Nepal), the hour belongs to the month that it begins in.
//   - The cluster's list has no UUIDs. A guest is taken for the service's own when it has the VMID that the service's row
//     names with a proved UUID, and the VM's name; a VM of another name, or one that two services name, is read and proved
//     first. A VM that is gone has no UUID on the row. What remains is a guest that got the VMID and the very name of a VM
//     that was destroyed by hand, or that has both in another cluster to which the WHMCS server leads since: it is counted to
//     the service until the row is mended.
//   - No month has more than 35 days, so that the running one is always whole; the one before goes as far back as is kept.
package stats

// Package explain says why a service does not move, and what to type next.
//
// [Facts] is all that is known of one service at one moment: whoever gathers it looks, and changes nothing. [Diagnose]
// holds it against a table of [Rules], from the surest and most particular to the most general; the first that fits is the
// diagnosis. The last one fits always.
//
// # Why
//
//   - A rule is data and small functions of Facts, so that each is tested alone, without a database and a cluster.
//   - One diagnosis, not a list: at three in the morning the thing to do first is what is wanted. When it is done the next
//     question shows what is left.
//   - What the database is sure of comes before what Proxmox says, and what could not be asked before what follows from it:
//     a service that WHMCS has cancelled needs no Proxmox to say so.
//   - Errors keep their sentinels (package kvm), so that rules decide by them. Of what only a stored message says, Proxmox's
//     own words are looked for.
//   - The commands are spelled as they are typed. What destroys is named with the condition under which it is right.
package explain

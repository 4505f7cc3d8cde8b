// Package dns keeps the names of VMs at DNS providers: which zones a name belongs to, what has to change there, and the
// changing of it, which never fails anybody.
//
// # Contract
//
// [Plan] is pure: zones, what is wanted and what must go, to operations. [Edit.Plan] is pure, too: values that are present,
// to values to add and to remove. A [Provider] makes edits so in one zone; packages cloudflare, hestiacp and powerdns are
// providers, held to one suite (package dnstest). [Syncer.Sync] carries operations out, within a time, and says what became
// of each.
//
// # Whose a record is
//
//   - Forward (A, AAAA): the addresses that we were told to set or to remove are ours; other values of the same name and
//     type are somebody else's and stay.
//   - Reverse (PTR): the address is ours by claim, so our one name replaces whatever stands there; what is removed is our
//     own name alone.
//
// # Zones
//
// A name belongs to every zone that is a suffix of it at a label boundary; several zones may have one name, and all are
// served. Reverse zones end at any octet or nibble. A zone that is named as RFC 2317 proposes holds a part of a /24:
// 128/25.2.0.192.in-addr.arpa by prefix length, 128-255.2.0.192.in-addr.arpa by its first and last address; see [ParseZone].
//
// # Why
//
//   - A provider gets all edits of a zone at once: HestiaCP lists a zone in a second whatever is asked, PowerDNS changes many
//     names in one request, and Cloudflare counts requests.
//   - Zones behind one server are written one after the other, in this process and, where the server wants that (HestiaCP,
//     PowerDNS), in all processes and hosts: both lose changes that are made side by side. A process waits for its turn
//     without an end of its own, up to Patience; Timeout counts from the turn on. So a provider that is dead or slow costs a
//     pipeline Timeout at most, and one that is only busy does not.
//   - A server that did not answer is not asked again for a while: of two hundred VMs one waits for it, not each.
//   - A value is added before another one is removed, so that a name which changes is never without any.
package dns

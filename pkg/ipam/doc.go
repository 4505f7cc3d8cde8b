// Package ipam decides which addresses a service gets: pools, the taken addresses and a wish go in, claims come out. It is
// pure: it reads no database and holds nothing between calls. That two services never get one address is the unique key's
// doing, where claims are stored; this package sees to it that what is proposed is free and usable.
//
// # What is never given out
//
// The network address (IPv4, and IPv6's subnet-router anycast), the IPv4 broadcast address, and the gateways and DNS
// servers of every pool on the same bridge and VLAN. IPv4 /31 and /32, and IPv6 /127 and /128, have neither network nor
// broadcast address (RFC 3021, RFC 6164).
//
// # Why
//
//   - A range is never listed. An IPv6 pool may have 2^64 addresses, so the lowest free one is found by passing over the
//     taken ones, which are few.
//   - A pool that cannot be right (see [Validate]) is passed over and named when the others do not suffice: a row that
//     somebody broke by hand stops nobody whose pool is in order.
//   - The gateway may lie outside the prefix in two cases that are in use: IPv6 link-local gateways, and single addresses
//     (/32, /128) that a provider routes to the host.
package ipam

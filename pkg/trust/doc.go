// Package trust says how a server's certificate is judged: by the system's roots, a CA file, or pinned fingerprints.
//
// Proxmox, HestiaCP and PowerDNS come with certificates of their own making, so pins are the usual way. There is one way
// of typing them for all of them.
package trust

// Package selfsigned makes certificates for servers on this machine that stand in for others: as Proxmox and HestiaCP make
// their own, so that clients have to pin them.
package selfsigned

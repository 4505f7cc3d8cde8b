package kvm

import "net/netip"

// DNSZone is a row of puq_proxmox_kvm_dns_zones: a zone at a DNS provider, and how that is spoken to.
type DNSZone struct {
	ID       int64
	Name     string // in lower case without the final dot
	Kind     string // cloudflare, hestiacp, powerdns
	Settings DNSSettings
	Secret   Secret
	// Problem is why Settings or Secret are not there; nil = they are.
	Problem error
}

// DNSSettings are a zone's settings but the secret. What a provider has no use for stays empty.
type DNSSettings struct {
	URL          string   `json:"url,omitempty"`    // of the provider's API; "" = its own, where it has one
	Server       string   `json:"server,omitempty"` // powerdns: the server's id; "" = localhost
	User         string   `json:"user,omitempty"`   // hestiacp: the user that has the zone
	Key          string   `json:"key,omitempty"`    // hestiacp: the id of the access key
	Admin        string   `json:"admin,omitempty"`  // hestiacp: who logs in with a password in place of an access key
	TTL          int      `json:"ttl,omitempty"`    // seconds; 0 = the provider's default
	CAFile       string   `json:"ca_file,omitempty"`
	Fingerprints []string `json:"fingerprints,omitempty"`
	Insecure     bool     `json:"insecure,omitempty"`
}

// DNSState is what is known of a record that was written for a service.
type DNSState string

// The states of a record.
const (
	DNSDue  DNSState = "due"  // it was, or was to be, written; not every zone has said that it is there
	DNSSet  DNSState = "set"  // it is there
	DNSGone DNSState = "gone" // it was to be removed; not every zone has said that it is gone
)

// DNSRecord is a record that was, or may have been, written for a service.
type DNSRecord struct {
	Reverse bool // Addr is called Name; else Name has the address Addr
	Name    string
	Addr    netip.Addr
	State   DNSState
	// Others: another service has the same record, so that this one is no longer this service's to remove.
	Others bool
}

// DNSEntry is a name of a service, as others may publish it.
type DNSEntry struct {
	Service int64
	Domain  string // the VM's FQDN
	Addr    netip.Addr
	Reverse string // the name that the address shall have
}

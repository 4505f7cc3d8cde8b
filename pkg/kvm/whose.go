package kvm

// Whose says what is known of the guest at a service's VMID.
type Whose string

// The answers.
const (
	WhoseOwn      Whose = "own"      // it is proved to be the service's
	WhoseForeign  Whose = "foreign"  // it has a UUID that was never the service's, or is no VM
	WhoseUnproved Whose = "unproved" // there is one, and the service has no UUID stored that would prove anything
	WhoseMaking   Whose = "making"   // a clone was sent; what is there is not known to be it yet
	WhoseAbsent   Whose = "absent"   // it is proved that there is none
	WhoseNone     Whose = "none"     // the service has none, and was not asked about
	WhoseUnknown  Whose = "unknown"  // Proxmox has not said
)

package kvm

// Adoption is what a service takes over of a VM that the PHP module made, after it was seen to be the service's.
type Adoption struct {
	Row     Row      // as it is to be stored
	Addrs   []Claim  // the service's addresses, with the network that the VM uses them in
	Backups []Backup // whose inside carries one of Row.UUIDs
	Note    string   // what the administrator should know, "" = nothing
}

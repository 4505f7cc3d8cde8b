// Package kvm is the domain: services, their packages (the wanted state), VMs (the observed state), statuses, addresses,
// and the sentinels on which somebody decides. It knows neither SQL nor HTTP and imports the standard library only.
//
// # Ownership is a type
//
// Every call that changes a VM takes an [Owned], and only [Prove] makes one: from a configuration that was just read and
// the SMBIOS UUIDs that the service has or had. So a call that forgets the proof does not compile. See [Prove] for what
// is refused.
//
// A backup has a proof of its own, [OwnedBackup]: the UUID inside the archive.
//
// # Verbs
//
// What becomes of each verb in each phase of a service's life is one table ([Decide]). WHMCS does not ask twice, so what
// it sends is never refused because the service is busy: it is taken, or noted and taken later.
//
// # Why
//
//   - Package is what the product and the configurable options ask for; VM is what Proxmox answered. A row of a pipeline
//     compares the two. Neither remembers the other.
//   - Errors are sentinels plus words: decide with errors.Is, print the words. The way to mend something rides along with
//     [WithHint] and is shown by the command line only.
//   - Secrets have the type [Secret], which no verb of fmt and no JSON encoder prints.
//   - A product's settings are one table of data ([Settings]): from it come the parsing, the ranges in the errors, the
//     stored document, what `product show` prints, and the ranges of the configurable options. A setting is one row.
//   - A document that was refused comes back as far as it could be read, for the command that mends it; whoever makes VMs
//     stops at the error.
package kvm

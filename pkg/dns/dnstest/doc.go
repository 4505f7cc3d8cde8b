// Package dnstest holds every DNS provider to one suite: what dns.Provider promises, asked of a server, real or a stand-in,
// through a proxy that can be slow, silent and gone.
//
// # Why
//
//   - What is there is read past the provider, by whatever the server's own clients use: a provider must not confirm itself.
//   - Each part has names of its own, so that one server serves the whole suite and the parts run side by side.
package dnstest

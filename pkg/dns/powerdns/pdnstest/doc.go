// Package pdnstest gives tests zones on the PowerDNS server that scripts/pdns.sh starts, and looks into them past package
// powerdns: what is there is asked by DNS.
//
// # Why
//
//   - One server serves the tests of all packages, which run at the same time in processes of their own: each test has zones
//     of its own, by their names.
//   - Such a server answers writes that meet with HTTP 500. What is asked of it in here is asked again then.
package pdnstest

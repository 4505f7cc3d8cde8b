// Package cloudflare keeps DNS records at Cloudflare, over its API v4.
//
// # How
//
// [Provider.Apply] goes in rounds: it lists what is there, plans, and writes: one change by a request of its own, several as
// a batch, which is one transaction. An edit leaves the rounds when it is as it should be, or refused; one of which it is
// not known what became stays for the next round, so that nothing is sent again before it has been looked at.
//
// # Whose a record is
//
// That goes by its value alone (see package dns). A record that somebody has had proxied since is still the one for that
// value: it is not added again beside, and it goes when its value must go. Other records of the name stay, proxied or not.
//
// # Errors
//
// As dns.Provider has them. kvm.ErrAuth: the token is wrong, expired, not for this host's address, or cannot list zones.
// kvm.ErrDenied: the token sees the zone, and may not read or change its records. kvm.ErrNotFound: the token sees no such
// zone. kvm.ErrBusy: an error of Cloudflare's own, or it wants fewer requests; the text names the seconds that it asks for
// where they are more than the caller has.
//
// # Why
//
//   - 1200 requests in five minutes is all that a user has, the dashboard's included, and whoever sends more gets nothing for
//     five minutes. So a VM costs a list for each type and one write in a zone whose id is known, up to 200 addresses; the
//     requests are spread out; and what Ratelimit and Retry-After say is kept to.
//   - A batch runs its deletions before its additions. It is one transaction, so no name is ever without any value; where
//     changes go one by one, additions come first. A change that does not fit into one batch has its additions in the first.
//   - A batch is refused as a whole when one change in it is. Then each is sent alone: who did nothing wrong is served, and
//     who did hears why.
//   - A token is not verified at /user/tokens/verify: one that an account owns is refused there, and is good.
//   - A zone's id is asked for once, and again when Cloudflare does not know it any more, or refuses it to the token: zones
//     are deleted and made anew.
//   - Several accounts can have a zone of the same name; the active one is served.
//
// # Sources
//
// developers.cloudflare.com: API reference (zones, DNS records), batch record changes, rate limits, create an API token.
// Codes of errors from there and from answers that users of the API have published in bug reports: 6003 and 6111 (a header
// with a malformed token), 9109 and 10000 (token), 7000, 7003 and 1001 (no such zone), 81044 and 1002 (no such record),
// 81057 and 81058 (the record exists), 971 (too many requests).
package cloudflare

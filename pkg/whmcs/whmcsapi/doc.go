// Package whmcsapi is a client of the WHMCS API (includes/api.php): it sends mails and calls any other action.
//
// Every error carries one of three sentinels of package kvm, and that is all a caller has to decide on:
//
//   - [kvm.ErrRefused]: WHMCS, or the web server before it, said no. Nothing was done. Where the credentials, the IP list
//     or the address of the API are at fault, so that every other call would be refused as well, [kvm.ErrAuth] is there
//     too. The hint says what to change in WHMCS or in the configuration.
//   - [kvm.ErrUnreachable]: no connection was made, so nothing was sent.
//   - [kvm.ErrUnknown]: the request may have been read, and no clear answer came back: a time-out, a reset, a 5xx, or a
//     body that is no JSON. It may have been done or not.
//
// Input that can never work is [kvm.ErrInvalid] and is not sent. No error holds a credential: what WHMCS says is searched
// for them first.
//
// # Why
//
//   - A call is sent once. Each has its own connection, so that net/http has no stale one on which it would try again, and
//     redirects are not followed: a POST that is sent on turns into a GET or is sent twice.
//   - Whether anything was sent is seen, not guessed from the error: a trace of the request notes whether a connection was
//     handed to it.
//   - A 4xx is a refusal even when it is no JSON (a firewall, a wrong address): no PHP ran. A 5xx is an unknown outcome
//     even when it is JSON: PHP may have died after the mail left.
package whmcsapi

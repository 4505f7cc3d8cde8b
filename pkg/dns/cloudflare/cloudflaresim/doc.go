// Package cloudflaresim is a stand-in for Cloudflare's API v4, as far as zones and DNS records go: an HTTPS server with a
// certificate of its own that keeps records, counts requests, and can be told to misbehave.
//
// It knows GET /zones, the records of a zone (list, read, create, change, overwrite, delete, batch) and
// GET /user/tokens/verify below /client/v4, and answers with Cloudflare's envelope, status codes and error codes. Where
// Cloudflare's code for a refusal is not known it answers 1004, the code for a record that is not valid.
//
// # Why
//
//   - What a careless client gets wrong happens here: names that are not in the zone get the zone appended, a page has not
//     everything, a batch is all or nothing, a token of an account is refused where one of a user is verified, and more than
//     1200 requests in five minutes are answered 429 for five minutes.
//   - The ways in which a call goes wrong happen over a real connection: a lost answer is a real reset, a hang lasts until
//     the client leaves.
//
// # Sources
//
// developers.cloudflare.com (API reference, rate limits, batch record changes), and answers that users of the API have
// published in bug reports.
package cloudflaresim

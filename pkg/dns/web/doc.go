// Package web is what the DNS providers' clients have in common: one request over HTTP, and errors that tell what was not
// done from what is not known.
//
// # Why
//
//   - A redirect is not followed: the credentials would go to whom it names.
//   - Secrets are taken out of every error's text, in each form in which a URL, a form, JSON or a page could show them.
//   - No request is repeated in here: whether that is safe, each client knows. (Go's transport sends one again of which it knows
//     that nothing has arrived.)
package web

// Package web is what the DNS providers' clients have in common: one request over HTTP, and errors that tell what was not
// done from what is not known.
//
// # Why
//
//   - A redirect is not followed: the credentials would go to whom it names.
//   - Secrets are taken out of every error's text, in each form in which a URL or a form could show them.
//   - Nothing is sent twice in here: whether that is safe, each client knows.
package web

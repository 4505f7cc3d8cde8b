// Package apisim is a stand-in for the WHMCS API: an HTTP server that answers includes/api.php as WHMCS does, records what
// was asked of it, and can be told to misbehave.
//
// It knows SendEmail, SendAdminEmail, OpenTicket, GetSupportDepartments and LogActivity, checks credentials, IP list,
// access key and parameters, and answers with WHMCS's own status codes and error texts. A mail may leave a trace through
// [Options.Trace], as WHMCS keeps one in tblemails. Tests and the demo use it.
//
// # Why
//
// The three ways in which a call goes wrong (refused, hung, done but the answer lost) decide whether a customer gets a mail
// twice or never. So they happen here over a real connection: a lost answer is a real reset, a hang lasts until the client
// leaves.
package apisim

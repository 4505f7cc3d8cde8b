// Package whmcstest makes databases that look like WHMCS's, with the rows that a test or the demo asks for.
//
// # Contract
//
// [NewDB] gives a test a database of its own on the server that PUQKVM_TEST_MYSQL names, and drops it when the test ends.
// Without a server the test fails: a skipped test would say that all is well. [Create] does the same for a caller that is
// no test. The Add functions insert one row with sensible values for every column that WHMCS declares NOT NULL without a
// default, and return its id; fields that are left zero get those values.
//
// # Why
//
//   - The server is real. Stand-ins for MySQL hand one claim to two holders and lose updates, which is what the tests
//     are about.
//   - The package imports neither package whmcs, whose own tests use it, nor package testing, so that the demo links it
//     without a test's flags. Passwords therefore arrive encrypted.
package whmcstest

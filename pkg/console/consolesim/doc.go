// Package consolesim is a stand-in of the console's proxy (see package console) for tests: an HTTP server which takes entries, and
// can refuse, hang, and repeat all that it was sent. No websocket is behind it.
//
// It answers as vncwebproxy 1.0.1 does: first the JSON, then the key, then the client's address.
package consolesim

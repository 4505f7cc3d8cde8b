// Package console registers an open console at the proxy between Proxmox and a customer's browser, and makes the address that the
// browser opens.
//
// The proxy is puqcloud's vncwebproxy (github.com/puqcloud/vncwebproxy, version 1.0.1: api.go, vncwebproxy.go, README.md), behind
// a web server which also serves noVNC. What is known of it:
//
//   - POST /api/proxy with the header X-API-Key and a JSON object: hash (the entry's name), proxmox_ws_url, and either
//     proxmox_token (an API token, id=secret) or cookie and csrfp_revention_token (sic). It answers 200 and {"status":"success"},
//     or 400, 401 (the key) and 403 (it takes one client address alone) with {"status":"error","errors":["…"]}.
//   - For one minute it then connects whoever opens the websocket /vncproxy/{hash} with Proxmox, in our name.
//   - noVNC is /vnc.html of the same host. How it is told what to open is its own (github.com/novnc/noVNC, app/webutil.js): by
//     the query or, which comes first, by the fragment.
//
// # Why
//
//   - The token or ticket of Proxmox goes to this proxy and nowhere else, and only over TLS; http is for a proxy on this very
//     machine. Redirections are not followed.
//   - The password stands in the fragment: browsers send that to nobody, so no web server's log has it.
//   - The entry's name is random, since whoever knows it within its minute is let in up to the password.
//   - The proxy's certificate is judged by the system's roots alone: a browser will not do otherwise.
package console

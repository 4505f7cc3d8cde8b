// Package transcript is the one place that knows the text of the log. [Line] turns an event into the v3.0 line that the
// PHP module's users read and parse; the JSON output is the same events as objects, one a line.
//
// The way out is logrus: [Sink] logs each event as an entry, [Text] and [JSON] are its formatters, and one entry is one
// Write, unbuffered.
//
// # Why
//
//   - Titles and results are padded to fixed columns, so that a block reads as a table while it is still being written;
//     nothing is known of the rows to come. The widths hold every title and transition of the product's tables: a longer
//     text pushes the rest of its own line only. The documented lines leave the number of blanks free.
//   - Columns count characters, not bytes: "—" is one.
//   - Control characters in a message (it may quote Proxmox or a database row) are written as blanks: one event is one line.
package transcript

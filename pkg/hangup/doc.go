// Package hangup lets servers that stand in for others break a connection as a network or a dying process does.
package hangup

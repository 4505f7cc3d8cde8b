// Command puqkvm provisions virtual machines on Proxmox VE for WHMCS.
package main

import (
	"os"

	"github.com/puqkvm/puqkvm/cmd"
)

func main() { os.Exit(cmd.Main()) }

package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/puqkvm/puqkvm"

// arrows says which packages of ours each package may import. What is not here may import nothing of ours.
var arrows = map[string][]string{
	"":                                 {"cmd"},
	"cmd":                              {"pkg/config", "pkg/clock", "pkg/console", "pkg/cron", "pkg/dns", "pkg/dns/cloudflare", "pkg/dns/hestiacp", "pkg/dns/powerdns", "pkg/event", "pkg/explain", "pkg/ipam", "pkg/kvm", "pkg/lifecycle", "pkg/mail", "pkg/pipeline", "pkg/pve", "pkg/pve/pvesim", "pkg/stats", "pkg/transcript", "pkg/trust", "pkg/whmcs", "pkg/whmcs/whmcsapi", "pkg/whmcs/whmcsapi/apisim", "pkg/whmcs/whmcstest"},
	"pkg/dns":                          {"pkg/kvm", "pkg/event", "pkg/clock"},
	"pkg/dns/dnstest":                  {"pkg/dns", "pkg/kvm"},
	"pkg/dns/web":                      {"pkg/kvm", "pkg/trust"},
	"pkg/dns/cloudflare":               {"pkg/dns", "pkg/dns/web", "pkg/kvm", "pkg/clock", "pkg/trust"},
	"pkg/dns/cloudflare/cloudflaresim": {"pkg/clock", "pkg/hangup", "pkg/trust/selfsigned"},
	"pkg/dns/hestiacp":                 {"pkg/dns", "pkg/dns/web", "pkg/kvm", "pkg/trust"},
	"pkg/dns/hestiacp/hestiasim":       {"pkg/hangup", "pkg/trust/selfsigned"},
	"pkg/dns/powerdns":                 {"pkg/dns", "pkg/dns/web", "pkg/kvm", "pkg/trust"},
	"pkg/event":                        {"pkg/kvm"},
	"pkg/explain":                      {"pkg/kvm"},
	"pkg/transcript":                   {"pkg/event", "pkg/kvm", "pkg/clock"},
	"pkg/pipeline":                     {"pkg/event", "pkg/kvm", "pkg/clock"},
	"pkg/ipam":                         {"pkg/kvm"},
	"pkg/lifecycle":                    {"pkg/pipeline", "pkg/ipam", "pkg/dns", "pkg/event", "pkg/kvm", "pkg/clock"},
	"pkg/cron":                         {"pkg/lifecycle", "pkg/pipeline", "pkg/event", "pkg/kvm", "pkg/clock"},
	"pkg/config":                       {"pkg/kvm"},
	"pkg/mail":                         {"pkg/kvm", "pkg/clock", "pkg/event"},
	"pkg/pve":                          {"pkg/kvm", "pkg/clock", "pkg/event", "pkg/trust", "pkg/pve/pattern"},
	"pkg/pve/pvesim":                   {"pkg/kvm", "pkg/clock", "pkg/hangup", "pkg/pve/pattern", "pkg/trust/selfsigned"},
	"pkg/stats":                        {"pkg/kvm", "pkg/clock", "pkg/event"},
	"pkg/trust":                        {"pkg/kvm"},
	"pkg/whmcs":                        {"pkg/kvm", "pkg/clock", "pkg/event"},
	"pkg/whmcs/whmcsapi":               {"pkg/kvm", "pkg/clock"},
	"pkg/whmcs/whmcsapi/apisim":        {"pkg/kvm", "pkg/clock", "pkg/hangup"},
	"pkg/whmcs/whmcstest":              {"pkg/kvm", "pkg/clock", "pkg/whmcs"},
	"pkg/console":                      {"pkg/kvm", "pkg/trust", "pkg/dns/web"},
	"pkg/console/consolesim":           {"pkg/trust/selfsigned"},
}

// owners says which packages alone may import a library.
var owners = map[string][]string{
	"github.com/Telmate/proxmox-api-go": {"pkg/pve"},
	"github.com/go-sql-driver/mysql":    {"pkg/whmcs", "pkg/whmcs/whmcstest"},
	"github.com/sirupsen/logrus":        {"pkg/transcript", "cmd"},
	"github.com/spf13/cobra":            {"cmd"},
}

type listedPackage struct {
	ImportPath string
	GoFiles    []string
	Imports    []string
}

func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) == 0 {
			continue
		}
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		seen[from] = true
		for _, path := range p.Imports {
			if to, ours := strings.CutPrefix(path, module+"/"); ours && !slices.Contains(arrows[from], to) {
				t.Errorf("%s must not import %s", p.ImportPath, to)
			}
			for library, may := range owners {
				if (path == library || strings.HasPrefix(path, library+"/")) && !slices.Contains(may, from) {
					t.Errorf("%s must not import %s: that is for %v", p.ImportPath, path, may)
				}
			}
		}
		if from != "" && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", p.ImportPath)
		}
	}
	for from := range arrows {
		if !seen[from] {
			t.Errorf("the arrows name %q, which is no package", from)
		}
	}
}

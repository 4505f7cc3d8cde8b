package pvesim

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// BenchmarkResources is what one GET /cluster/resources costs in a large cluster, with a broadcast before each.
func BenchmarkResources(b *testing.B) {
	for _, n := range []int{100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
			model := Instant()
			model.Broadcast = 10 * time.Second
			c, err := TwoNodes(Options{Clock: clk, Model: model})
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				if err := c.AddVM(VM{VMID: 10000 + i, Node: "pve1", Name: fmt.Sprintf("vm%d", i), Config: map[string]string{"scsi0": "shared:1/x.raw,size=1G"}}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				clk.Advance(10 * time.Second)
				hr := httptest.NewRequest(http.MethodGet, "/api2/json/cluster/resources", nil)
				hr.Header.Set("Authorization", "PVEAPIToken=root@pam!whmcs="+TwoNodesSecret)
				w := httptest.NewRecorder()
				c.Handler().ServeHTTP(w, hr)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
	}
}

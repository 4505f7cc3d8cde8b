package pve

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const testUPID = "UPID:pve1:000009FE:0004BB99:6B01CB68:qmclone:9000:whmcs@pve!puqkvm:"

// script answers requests by what was written down for them. A key is METHOD path; the values are answered in turn, the
// last one for ever. A value that starts with a status code is an error: "500 VM is locked (backup)", or
// "400 vmid=VM 100 already exists".
type script map[string][]string

func (a script) serve(t *testing.T) (*testServer, *Client) {
	t.Helper()
	var mu sync.Mutex
	at := map[string]int{}
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), "/api2/json")
		mu.Lock()
		answers := a[key]
		n := min(at[key], len(answers)-1)
		at[key]++
		mu.Unlock()
		switch {
		case n < 0:
			raw(w, "501 Method '"+key+"' not implemented", "application/json", `{"data":null}`)
		case strings.HasPrefix(answers[n], "400 "):
			param, text, _ := strings.Cut(answers[n][4:], "=")
			raw(w, "400 Parameter verification failed.", "application/json", `{"data":null,"errors":{"`+param+`":"`+text+`"}}`)
		case len(answers[n]) > 3 && answers[n][3] == ' ' && answers[n][0] >= '4':
			raw(w, answers[n], "application/json", `{"data":null}`)
		default:
			data(w, answers[n])
		}
	})
	return s, s.client(t, nil)
}

const testConfig = `{"name":"vps-1-2","description":"puqkvm:x:2\n","smbios1":"uuid=86c5cc9f-ec8f-48e1-a587-87fd8616737e","digest":"d1",
	"memory":"2048","cores":"2","vcpus":1,"onboot":0,"boot":"order=ide2;scsi0;net0","ide2":"local:iso/a.iso,media=cdrom",
	"ide0":"local:110/vm-110-cloudinit.qcow2,media=cdrom","scsi0":"local:110/vm-110-disk-0.qcow2,discard=on,iops_rd=9,size=10G",
	"scsi1":"local:110/vm-110-disk-1.qcow2,size=1G","net0":"virtio=BC:24:11:79:62:F8,bridge=vmbr0,queues=2","balloon":4096,
	"ciuser":"old","searchdomain":"example.test","template":0,"cipassword":"**********"}`

// addresses lets cmp compare what holds addresses.
func addresses() cmp.Option {
	return cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
}

// owned is VM 110 on pve1 with the given configuration, proved.
func owned(t *testing.T, config string) kvm.Owned {
	t.Helper()
	_, c := script{"GET /nodes/pve1/qemu/110/config": {config}}.serve(t)
	vm, err := c.VM(t.Context(), "pve1", 110)
	if err != nil {
		t.Fatal(err)
	}
	o, err := kvm.Prove(vm, &kvm.Row{VMID: 110, UUID: vm.UUID})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

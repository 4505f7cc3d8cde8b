package kvm

import (
	"errors"
	"strings"
	"testing"
)

func TestProveBackup(t *testing.T) {
	const own, earlier, other = "f8def41c-9e33-4656-ba25-f2d1fdc600dd", "D0299553-E2B0-4212-A67A-5BE736A0AA4E", "86c5cc9f-ec8f-48e1-a587-87fd8616737e"
	row := &Row{VMID: 110, UUID: own, UUIDs: []string{earlier}}
	for uuid, says := range map[string]string{own: "", strings.ToUpper(own): "", strings.ToLower(earlier): "", other: other, "": "not read, or has no UUID"} {
		b := &Backup{Volume: "local:backup/x", VMID: 110, UUID: uuid}
		o, err := ProveBackup(b, row)
		if says == "" {
			if err != nil || o.Backup() == nil || o.Backup().Volume != b.Volume {
				t.Errorf("%s: %+v, %v", uuid, o, err)
			}
			b.Volume = "local:backup/other"
			if o.Backup().Volume == b.Volume {
				t.Error("the proof follows what is no longer what was proved")
			}
			continue
		}
		if o.Backup() != nil || !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v", uuid, o, err)
		}
	}
	if o, err := ProveBackup(nil, row); o.Backup() != nil || !errors.Is(err, ErrForeign) {
		t.Errorf("nil: %+v, %v", o, err)
	}
	if o, err := ProveBackup(&Backup{UUID: ""}, &Row{}); o.Backup() != nil || !errors.Is(err, ErrForeign) {
		t.Errorf("neither has a UUID: %+v, %v", o, err)
	}
}

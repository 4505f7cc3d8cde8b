package kvm

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestWithOptions(t *testing.T) {
	base := (Product{}).Package()
	base.CPU, base.RAM, base.Backups = 2, 4096, 1
	tests := map[string]struct {
		opts   map[string]string
		change func(*Package)
	}{
		"none": {nil, func(*Package) {}},
		"the v3 names": {map[string]string{"CPU Cores": "4", "RAM": "8", "System Disk": "40", "Additional Disk": "100",
			"System Disk Read Bandwidth": "100", "System Disk Write Bandwidth": "50.5", "System Disk Read IOPS": "500", "System Disk Write IOPS": "400",
			"Additional Disk Read Bandwidth": "30", "Additional Disk Write Bandwidth": "20", "Additional Disk Read IOPS": "3", "Additional Disk Write IOPS": "2",
			"Network Bandwidth": "12.5", "IPv4 Addresses": "3", "IPv6 Addresses": "2", "Operating System": "9001", "Backups": "7", "Snapshots": "5"},
			func(p *Package) {
				p.CPU, p.RAM, p.Template, p.Backups, p.Snapshots = 4, 8192, 9001, 7, 5
				p.System = DiskPlan{Size: 40, Limits: Limits{100, 50.5, 500, 400}}
				p.Additional = DiskPlan{Size: 100, Limits: Limits{30, 20, 3, 2}}
				p.Network.Bandwidth, p.Network.IPv4, p.Network.IPv6 = 12.5, 3, 2
			}},
		"the legacy names": {map[string]string{"B": "7", "S": "5", "CPU": "4", "RAM": "8", "ipv4": "3", "ipv6": "2", "OS": "9001"}, func(p *Package) {
			p.CPU, p.RAM, p.Template, p.Backups, p.Snapshots, p.Network.IPv4, p.Network.IPv6 = 4, 8192, 9001, 7, 5, 3, 2
		}},
		"the plain name wins":             {map[string]string{"CPU": "8", "CPU Cores": "4"}, func(p *Package) { p.CPU = 4 }},
		"also when it says 0":             {map[string]string{"CPU": "8", "CPU Cores": "0"}, func(*Package) {}},
		"but not when it is empty":        {map[string]string{"CPU": "8", "CPU Cores": " "}, func(p *Package) { p.CPU = 8 }},
		"and it hides legacy nonsense":    {map[string]string{"CPU": "many", "CPU Cores": "4"}, func(p *Package) { p.CPU = 4 }},
		"zero and empty change nothing":   {map[string]string{"CPU Cores": "0", "RAM": "", "Backups": "00", "Network Bandwidth": "0.00"}, func(*Package) {}},
		"names are case-sensitive":        {map[string]string{"cpu cores": "4", "Ram": "8", "IPV4": "9", "os": "9001"}, func(*Package) {}},
		"others' options are not ours":    {map[string]string{"Control Panel": "cPanel", "Managed": "yes please"}, func(*Package) {}},
		"blanks around a value":           {map[string]string{"RAM": " 8\t"}, func(p *Package) { p.RAM = 8192 }},
		"a legacy name we do not have":    {map[string]string{"HDD": "8"}, func(*Package) {}},
		"a bandwidth with three decimals": {map[string]string{"Network Bandwidth": "0.125"}, func(p *Package) { p.Network.Bandwidth = 0.125 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := base
			tt.change(&want)
			got, err := base.WithOptions(tt.opts)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

func TestWithOptionsRefuses(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"RAM", "4 GB", `"RAM": "4 GB" is not a whole number from 1 to 16384 (GB, the number alone)`},
		{"Network Bandwidth", "100 MB/s", `"Network Bandwidth": "100 MB/s"`},
		{"Network Bandwidth", "-1", "a number from 0 to 100000"},
		{"CPU Cores", "-2", `"-2"`},
		{"CPU Cores", "-0", `"-0"`},
		{"CPU Cores", "0.0", `"0.0"`},
		{"CPU Cores", "2.5", "whole number"},
		{"CPU", "four", `"CPU": "four"`},
		{"System Disk", "99999999999999999999999", `"System Disk"`},
		{"System Disk", "131073", "131072"},
		{"Operating System", "99", "100 to 999999999"},
		{"Operating System", "Debian 12", `"Debian 12"`},
		{"IPv4 Addresses", "257", "256"},
		{"RAM", "8\n9", `"8\n9"`},
	} {
		got, err := (Product{}).Package().WithOptions(map[string]string{tt.name: tt.value})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: %v", tt.name, tt.value, err)
		}
		if !reflect.DeepEqual(got, Package{}) {
			t.Errorf("%s=%s: a package came back", tt.name, tt.value)
		}
	}
	_, err := (Product{}).Package().WithOptions(map[string]string{"RAM": "x", "CPU": "y", "Snapshots": "z"})
	for _, want := range []string{`"x"`, `"y"`, `"z"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in %v", want, err)
		}
	}
}

func FuzzWithOptions(f *testing.F) {
	f.Add("CPU Cores", "4", "CPU", "2")
	f.Add("Network Bandwidth", "12.5", "RAM", "1e3")
	f.Add("Operating System", "9000", "OS", "-1")
	f.Fuzz(func(t *testing.T, name, value, name2, value2 string) {
		base := (Product{}).Package()
		p, err := base.WithOptions(map[string]string{name: value, name2: value2})
		if err != nil {
			if !errors.Is(err, ErrInvalid) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		sane := p.CPU >= 1 && p.CPU <= maxCPU && p.RAM >= 1024 && p.RAM <= maxRAM*1024 && p.System.Size >= 0 && p.Additional.Size >= 0 &&
			p.Network.Bandwidth >= 0 && p.Network.Bandwidth <= maxMBps && p.Network.IPv4 >= 0 && p.Network.IPv4 <= 256 &&
			(p.Template == 0 || p.Template >= 100 && p.Template <= lastVMID) && p.Backups >= 0 && p.Snapshots >= 0
		if !sane {
			t.Fatalf("%q=%q %q=%q: %+v", name, value, name2, value2, p)
		}
	})
}

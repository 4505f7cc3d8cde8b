package pvesim

import "fmt"

// nodeStatus is a node's own account of itself. Its processor and kernel are made up.
func (r *request) nodeStatus() (any, error) {
	c := r.c
	n := c.node(r.str("node"))
	usage := r.nodeRow(n, false)
	memory, disk, size := usage["mem"].(int64), usage["disk"].(int64), usage["maxdisk"].(int64)
	doc := object{
		"pveversion": fmt.Sprintf("pve-manager/%s/%s", c.opts.Version, repoID), "uptime": usage["uptime"], "cpu": usage["cpu"], "wait": 0, "idle": 0,
		"loadavg": []string{"0.10", "0.08", "0.05"}, "kversion": "Linux 6.8.12-1-pve #1 SMP PREEMPT_DYNAMIC",
		"ksm": object{"shared": 0}, "swap": object{"total": 0, "used": 0, "free": 0},
		"memory": object{"total": n.Memory, "used": memory, "free": n.Memory - memory},
		"rootfs": object{"total": size, "used": disk, "free": size - disk, "avail": size - disk},
	}
	cpu := object{"cpus": n.CPUs, "cores": n.CPUs, "sockets": 1, "model": "QEMU Virtual CPU", "mhz": "2600.000", "user_hz": 100, "hvm": "1",
		"flags": "fpu vme de pse tsc msr pae cx8 apic sep pge cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx lm"}
	if c.major >= 8 {
		doc["boot-info"] = object{"mode": "legacy-bios"}
		doc["current-kernel"] = object{"sysname": "Linux", "release": "6.8.12-1-pve", "version": "#1 SMP PREEMPT_DYNAMIC", "machine": "x86_64"}
	}
	if c.major >= 9 {
		doc["memory"].(object)["available"] = n.Memory - memory
		cpu["vendor"], cpu["family"] = "GenuineIntel", "6"
	}
	doc["cpuinfo"] = cpu
	return doc, nil
}

// repoID is the commit that the version names.
const repoID = "5f1a3d7b0c9e2468"

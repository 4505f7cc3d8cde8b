package pvesim

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// endpoint is a row of the API's table.
type endpoint struct {
	method  string
	path    string // {name} is one segment; the last one takes all that follows
	proxied bool   // passed on to the node in the path
	daemon  bool   // answered by pvedaemon: takes a worker, closes the connection
	starts  bool   // answers with a UPID
	world   bool   // needs no authentication
	check   func(r *request) error
	handle  func(r *request) (any, error)

	segments []string
	params   map[string]*param
}

// row is an endpoint; the letters of how stand for proxied, daemon, starts and world.
func row(method, path, how string, check func(*request) error, handle func(*request) (any, error)) *endpoint {
	has := func(letter string) bool { return strings.Contains(how, letter) }
	return &endpoint{method: method, path: path, check: check, handle: handle,
		proxied: has("p"), daemon: has("d"), starts: has("s"), world: has("w")}
}

// table is the API that is simulated.
func table() []*endpoint {
	const (
		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete

		n = "/nodes/{node}"
		q = n + "/qemu/{vmid}"
		f = q + "/firewall"

		here, there, far, task = "", "p", "pd", "pds"
		local, open, login     = "d", "w", "wd"
	)
	vm := func(privileges ...string) func(*request) error { return needs("/vms/{vmid}", privileges...) }
	console, audited := vm("VM.Console"), agentRight("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")
	snapshot := vm("VM.Snapshot")
	config := vm("VM.Config.Disk", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network",
		"VM.Config.HWType", "VM.Config.Options", "VM.Config.Cloudinit")
	store := needs("/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace")
	audit, modify := needs("/", "Sys.Audit"), needs("/", "Sys.Modify")
	pool := needs("/pool/{poolid}", "Pool.Allocate")
	return []*endpoint{
		row(get, "/version", here, nil, (*request).version),
		row(post, "/access/ticket", login, nil, (*request).createTicket),
		row(get, "/access/ticket", open, nil, (*request).nothing),
		row(get, "/access/permissions", here, nil, (*request).permissions),
		row(get, "/cluster/nextid", here, nil, (*request).nextID),
		row(get, "/cluster/resources", here, nil, (*request).resources),
		row(get, "/cluster/status", local, audit, (*request).clusterStatus),
		row(get, "/cluster/tasks", here, nil, (*request).clusterTasks),
		row(get, "/cluster/ha/resources/{sid}", here, audit, (*request).haResource),
		row(get, "/cluster/firewall/options", here, audit, (*request).clusterFirewall),
		row(get, "/cluster/firewall/ipset", here, audit, (*request).ipsetList),
		row(post, "/cluster/firewall/ipset", local, modify, (*request).createIPSet),
		row(get, "/cluster/firewall/ipset/{name}", here, audit, (*request).ipsetEntries),
		row(post, "/cluster/firewall/ipset/{name}", local, modify, (*request).addEntry),
		row(del, "/cluster/firewall/ipset/{name}", local, modify, (*request).deleteIPSet),
		row(del, "/cluster/firewall/ipset/{name}/{cidr}", local, modify, (*request).deleteEntry),
		row(get, "/cluster/firewall/aliases", here, audit, (*request).aliasList),
		row(post, "/cluster/firewall/aliases", local, modify, (*request).createAlias),
		row(del, "/cluster/firewall/aliases/{name}", local, modify, (*request).deleteAlias),
		row(get, "/cluster/firewall/groups", here, nil, (*request).groupList),
		row(post, "/cluster/firewall/groups", local, modify, (*request).createGroup),
		row(del, "/cluster/firewall/groups/{group}", local, modify, (*request).deleteGroup),
		row(get, "/pools", here, nil, (*request).poolList),
		row(post, "/pools", local, pool, (*request).createPool),
		row(del, "/pools", local, pool, (*request).deletePool),
		row(get, "/pools/{poolid}", here, needs("/pool/{poolid}", "Pool.Audit"), (*request).readPool),
		row(del, "/pools/{poolid}", local, pool, (*request).deletePool),
		row(get, "/storage", here, nil, (*request).storageConfigs),
		row(get, "/storage/{storage}", here, needs("/storage/{storage}", "Datastore.Allocate"), (*request).readStorage),
		row(get, "/nodes", here, nil, (*request).nodeList),
		row(get, n+"/version", there, nil, (*request).version),
		row(get, n+"/status", there, needs("/nodes/{node}", "Sys.Audit"), (*request).nodeStatus),
		row(get, n+"/network", there, nil, (*request).network),
		row(get, n+"/storage", far, nil, (*request).storageList),
		row(get, n+"/storage/{storage}/status", far, store, (*request).storageStatus),
		row(get, n+"/storage/{storage}/content", far, store, (*request).storageContent),
		row(post, n+"/storage/{storage}/content", far, needs("/storage/{storage}", "Datastore.AllocateSpace"), (*request).createVolume),
		row(get, n+"/storage/{storage}/content/{volume}", far, nil, (*request).readVolume),
		row(put, n+"/storage/{storage}/content/{volume}", far, nil, (*request).setVolume),
		row(del, n+"/storage/{storage}/content/{volume}", task, nil, (*request).deleteVolume),
		row(get, n+"/storage/{storage}/prunebackups", far, store, (*request).pruneDryRun),
		row(del, n+"/storage/{storage}/prunebackups", task, nil, (*request).prune),
		row(post, n+"/vzdump", task, nil, (*request).vzdump),
		row(get, n+"/vzdump/defaults", there, nil, (*request).vzdumpDefaults),
		row(get, n+"/vzdump/extractconfig", far, nil, (*request).extractConfig),
		row(get, n+"/tasks", there, nil, (*request).taskList),
		row(del, n+"/tasks/{upid}", far, nil, (*request).taskStop),
		row(get, n+"/tasks/{upid}/status", far, nil, (*request).taskStatus),
		row(get, n+"/tasks/{upid}/log", far, nil, (*request).taskLog),
		row(get, n+"/qemu", far, nil, (*request).vmList),
		row(post, n+"/qemu", task, nil, (*request).createVM),
		row(del, q, task, vm("VM.Allocate"), (*request).destroyVM),
		row(get, q+"/config", there, vm("VM.Audit"), (*request).readConfig),
		row(put, q+"/config", far, config, (*request).putConfig),
		row(post, q+"/config", task, config, (*request).postConfig),
		row(get, q+"/pending", there, vm("VM.Audit"), (*request).pendingConfig),
		row(get, q+"/cloudinit", there, vm("VM.Audit"), (*request).cloudinitPending),
		row(put, q+"/cloudinit", far, vm("VM.Config.Cloudinit"), (*request).cloudinitUpdate),
		row(get, q+"/cloudinit/dump", there, vm("VM.Audit"), (*request).cloudinitDump),
		row(post, q+"/clone", task, mayClone, (*request).cloneVM),
		row(get, q+"/migrate", far, vm("VM.Migrate"), (*request).migrateCheck),
		row(post, q+"/migrate", task, vm("VM.Migrate"), (*request).migrateVM),
		row(put, q+"/resize", task, vm("VM.Config.Disk"), (*request).resizeDisk),
		row(post, q+"/template", task, vm("VM.Allocate"), (*request).makeTemplate),
		row(post, q+"/move_disk", task, vm("VM.Config.Disk"), (*request).moveDisk),
		row(put, q+"/unlink", far, vm("VM.Config.Disk"), (*request).unlinkDisk),
		row(get, q+"/snapshot", far, vm("VM.Audit"), (*request).snapshotList),
		row(post, q+"/snapshot", task, snapshot, (*request).createSnapshot),
		row(get, q+"/snapshot/{snapname}", far, nil, (*request).snapshotIndex),
		row(del, q+"/snapshot/{snapname}", task, snapshot, (*request).deleteSnapshot),
		row(get, q+"/snapshot/{snapname}/config", there, vm("VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"), (*request).snapshotConfig),
		row(put, q+"/snapshot/{snapname}/config", far, snapshot, (*request).setSnapshotConfig),
		row(post, q+"/snapshot/{snapname}/rollback", task, vm("VM.Snapshot", "VM.Snapshot.Rollback"), (*request).rollback),
		row(post, q+"/agent", far, agentRight("VM.GuestAgent.Unrestricted"), (*request).agentCommand),
		row(post, q+"/agent/ping", far, audited, (*request).agentPing),
		row(get, q+"/agent/network-get-interfaces", far, audited, (*request).agentInterfaces),
		row(post, q+"/agent/set-user-password", far, agentRight("VM.GuestAgent.Unrestricted"), (*request).agentPassword),
		row(post, q+"/vncproxy", task, console, (*request).vncProxy),
		row(get, q+"/rrddata", far, vm("VM.Audit"), (*request).rrdData),
		row(get, q+"/feature", far, vm("VM.Audit"), (*request).feature),
		row(get, q+"/status/current", far, vm("VM.Audit"), (*request).statusCurrent),
		row(post, q+"/status/start", task, vm("VM.PowerMgmt"), (*request).startVM),
		row(post, q+"/status/stop", task, vm("VM.PowerMgmt"), (*request).stopVM),
		row(post, q+"/status/shutdown", task, vm("VM.PowerMgmt"), (*request).shutdownVM),
		row(post, q+"/status/reboot", task, vm("VM.PowerMgmt"), (*request).rebootVM),
		row(post, q+"/status/reset", task, vm("VM.PowerMgmt"), (*request).resetVM),
		row(post, q+"/status/suspend", task, vm("VM.PowerMgmt"), (*request).suspendVM),
		row(post, q+"/status/resume", task, vm("VM.PowerMgmt"), (*request).resumeVM),
		row(get, f+"/options", here, vm("VM.Audit"), (*request).firewallOptions),
		row(put, f+"/options", local, vm("VM.Config.Network"), (*request).setFirewallOptions),
		row(get, f+"/rules", here, vm("VM.Audit"), (*request).ruleList),
		row(post, f+"/rules", local, vm("VM.Config.Network"), (*request).createRule),
		row(get, f+"/rules/{pos}", here, vm("VM.Audit"), (*request).readRule),
		row(put, f+"/rules/{pos}", local, vm("VM.Config.Network"), (*request).updateRule),
		row(del, f+"/rules/{pos}", local, vm("VM.Config.Network"), (*request).deleteRule),
		row(get, f+"/aliases", here, vm("VM.Audit"), (*request).aliasList),
		row(post, f+"/aliases", local, vm("VM.Config.Network"), (*request).createAlias),
		row(get, f+"/aliases/{name}", here, vm("VM.Audit"), (*request).readAlias),
		row(put, f+"/aliases/{name}", local, vm("VM.Config.Network"), (*request).updateAlias),
		row(del, f+"/aliases/{name}", local, vm("VM.Config.Network"), (*request).deleteAlias),
		row(get, f+"/ipset", here, vm("VM.Audit"), (*request).ipsetList),
		row(post, f+"/ipset", local, vm("VM.Config.Network"), (*request).createIPSet),
		row(get, f+"/ipset/{name}", here, vm("VM.Audit"), (*request).ipsetEntries),
		row(post, f+"/ipset/{name}", local, vm("VM.Config.Network"), (*request).addEntry),
		row(del, f+"/ipset/{name}", local, vm("VM.Config.Network"), (*request).deleteIPSet),
		row(get, f+"/ipset/{name}/{cidr}", local, vm("VM.Audit"), (*request).readEntry),
		row(put, f+"/ipset/{name}/{cidr}", local, vm("VM.Config.Network"), (*request).updateEntry),
		row(del, f+"/ipset/{name}/{cidr}", local, vm("VM.Config.Network"), (*request).deleteEntry),
	}
}

// loadEndpoints joins the table with the schema of the simulated version.
func (c *Cluster) loadEndpoints() error {
	schema, err := loadSchema(c.schemaVersion)
	if err != nil {
		return err
	}
	c.config = schema["PUT /nodes/{node}/qemu/{vmid}/config"]
	for _, e := range table() {
		params, ok := schema[e.method+" "+e.path]
		if !ok {
			return fmt.Errorf("%s %s has no schema", e.method, e.path)
		}
		delete(schema, e.method+" "+e.path)
		if params == nil {
			continue // this version does not have it
		}
		e.params, e.segments = params, strings.Split(e.path[1:], "/")
		c.endpoints = append(c.endpoints, e)
	}
	for key := range schema {
		return fmt.Errorf("%s has a schema and no handler", key)
	}
	return nil
}

// find is the row of method and path, whose variables it adds to vars. The path is escaped.
func (c *Cluster) find(method, path string, vars map[string]string) *endpoint {
	if path == "" {
		return nil
	}
	segments := strings.Split(path[1:], "/")
	for _, e := range c.endpoints {
		if e.method != method {
			continue
		}
		if found, ok := e.match(segments); ok {
			for k, v := range found {
				vars[k] = v
			}
			return e
		}
	}
	return nil
}

// match compares the path's segments; a last variable that may hold a slash takes the rest.
func (e *endpoint) match(segments []string) (map[string]string, bool) {
	last := e.segments[len(e.segments)-1]
	if greedy := last == "{cidr}" || last == "{volume}"; greedy && len(segments) > len(e.segments) {
		n := len(e.segments) - 1
		segments = append(segments[:n:n], strings.Join(segments[n:], "/"))
	}
	if len(segments) != len(e.segments) {
		return nil, false
	}
	vars := map[string]string{}
	for i, want := range e.segments {
		got, err := url.PathUnescape(segments[i])
		if err != nil || got == "" {
			return nil, false
		}
		if want[0] == '{' {
			vars[want[1:len(want)-1]] = got
		} else if want != got {
			return nil, false
		}
	}
	return vars, true
}

// latency is how long a call takes beside its own work.
func (e *endpoint) latency(m *Model) time.Duration {
	switch {
	case e.starts:
		return m.Start
	case e.method != http.MethodGet:
		return m.Write
	case e.daemon:
		return m.Daemon
	default:
		return m.Read
	}
}

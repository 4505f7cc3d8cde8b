package whmcs

import (
	"slices"
	"strings"
)

// schemaVersion is raised with every change of ownSchema, so that an older database is told from a newer one.
const schemaVersion = 4

// sinceVersion1 is what tables of earlier versions lack and queueing does without.
var sinceVersion1 = [...]string{"puqProxmoxKVM_vm_info.vm_cluster", "puqProxmoxKVM_vm_info.next_status", "puqProxmoxKVM_vm_info.template", "puq_proxmox_kvm_backups",
	"puqProxmoxKVM_vm_info.own_snapshots", "puqProxmoxKVM_vm_info.backup_date", "puqProxmoxKVM_vm_info.backup_moment", "puqProxmoxKVM_vm_info.backup_day",
	"puqProxmoxKVM_vm_info.backup_after", "puqProxmoxKVM_vm_info.backup_sent", "puqProxmoxKVM_vm_info.backup_note", "puqProxmoxKVM_vm_info.restore_from", "puqProxmoxKVM_vm_info.restore_failed", "puqProxmoxKVM_vm_info.firewall", "puqProxmoxKVM_vm_info.iso_boot", "puq_proxmox_kvm_backups.uuid", "puq_proxmox_kvm_backups.made_at", "puq_proxmox_kvm_backups.size",
	"puq_proxmox_kvm_dns_records", "puq_proxmox_kvm_leases",
	statisticsTable, "puq_proxmox_kvm_counters"}

// Character sets of text columns: ours are utf8mb4; ids, addresses and tokens are ascii and compare byte by byte, JSON
// documents compare byte by byte too.
const (
	ascii = " CHARACTER SET ascii COLLATE ascii_bin"
	exact = " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
)

// tableDef is a table of ours. Definitions use what MySQL 5.7 to 8.4 and MariaDB 10.3 to 11 have in common.
type tableDef struct {
	name    string
	columns []columnDef
	keys    []keyDef // the first is the primary key
}

type columnDef struct{ name, definition string }

type keyDef struct {
	kind    string // PRIMARY KEY, UNIQUE KEY, KEY
	columns string // comma separated
}

func (k keyDef) unique() bool { return k.kind != "KEY" }

func (k keyDef) names() []string { return strings.Split(k.columns, ",") }

func ownTables() []string {
	var names []string
	for _, t := range ownSchema() {
		names = append(names, t.name)
	}
	return names
}

// create is the statement that makes the table.
func (t tableDef) create() string {
	var parts []string
	for _, c := range t.columns {
		parts = append(parts, quoteName(c.name)+" "+c.definition)
	}
	for _, k := range t.keys {
		parts = append(parts, k.definition(nil))
	}
	return "CREATE TABLE IF NOT EXISTS " + quoteName(t.name) + " (" + strings.Join(parts, ", ") + ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
}

// definition is the key in a CREATE or ALTER TABLE. Columns that hold text without a length need one in a key.
func (k keyDef) definition(have map[string]column) string {
	var parts []string
	for _, name := range k.names() {
		part := quoteName(name)
		if c, found := have[strings.ToLower(name)]; found && (strings.HasSuffix(c.dataType, "text") || strings.HasSuffix(c.dataType, "blob")) {
			part += "(64)"
		}
		parts = append(parts, part)
	}
	name := ""
	if k.kind != "PRIMARY KEY" {
		name = " " + quoteName("puqkvm_"+strings.ReplaceAll(k.columns, ",", "_"))
	}
	return k.kind + name + " (" + strings.Join(parts, ", ") + ")"
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// defs reads "name definition" lines.
func defs(lines ...string) []columnDef {
	var out []columnDef
	for _, line := range lines {
		name, definition, _ := strings.Cut(line, " ")
		out = append(out, columnDef{name, definition})
	}
	return out
}

// ownSchema is every table of ours. The names and first columns of adoptedTables are the PHP module's.
func ownSchema() []tableDef {
	return slices.Concat(settingsTables(), adoptedTables(), stateTables())
}

// adoptedTables are those that a PHP installation may have left.
func adoptedTables() []tableDef {
	return []tableDef{
		{"puqProxmoxKVM_vm_info", defs(
			"service_id int NOT NULL", "vm_id int NULL", "vm_name varchar(255) NULL", "vm_status varchar(64) NULL", "vm_net0_mac varchar(32) NULL",
			"vm_rev_dns text NULL", "vm_snapshots int NULL DEFAULT 0", "vm_backups int NULL DEFAULT 0",
			"vm_backup_now_utid text NULL", "vm_backup_restore_utid text NULL", "vm_backup_schedule text NULL", "vm_last_action_log mediumtext NULL",
			"server_id int NOT NULL DEFAULT 0", "vm_node varchar(64) NOT NULL DEFAULT ''", "vm_uuid varchar(36)"+ascii+" NOT NULL DEFAULT ''",
			"vm_uuids text"+ascii+" NULL", "status_since datetime(6) NULL", "queued_at datetime(6) NULL",
			"vm_cluster varchar(190) NOT NULL DEFAULT ''", "next_status varchar(64)"+ascii+" NOT NULL DEFAULT ''", "template int NOT NULL DEFAULT 0",
			"own_snapshots int NOT NULL DEFAULT 0", "backup_date varchar(10)"+ascii+" NOT NULL DEFAULT ''", "backup_moment datetime(6) NULL", "backup_day varchar(10)"+ascii+" NOT NULL DEFAULT ''",
			"backup_after datetime(6) NULL", "backup_sent varchar(255)"+ascii+" NOT NULL DEFAULT ''", "backup_note varchar(255)"+exact+" NOT NULL DEFAULT ''",
			"restore_from varchar(255)"+exact+" NOT NULL DEFAULT ''", "restore_failed tinyint NOT NULL DEFAULT 0", "firewall mediumtext"+exact+" NULL", "iso_boot varchar(255)"+ascii+" NOT NULL DEFAULT ''",
			"clone_sent tinyint NOT NULL DEFAULT 0", "migrate_target varchar(64) NOT NULL DEFAULT ''", "disk_slot varchar(16) NOT NULL DEFAULT ''",
			"password_set tinyint NOT NULL DEFAULT 0", "suspended tinyint NOT NULL DEFAULT 0",
			"task_kind varchar(16) NOT NULL DEFAULT ''", "task_upid varchar(255) NOT NULL DEFAULT ''",
			"message text CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NULL", "alerted tinyint NOT NULL DEFAULT 0",
			"claim_owner varchar(190)"+ascii+" NULL", "claim_until datetime(6) NULL",
		), []keyDef{{"PRIMARY KEY", "service_id"}, {"KEY", "vm_status,queued_at"}, {"KEY", "vm_id"}, {"KEY", "own_snapshots"}}},
		{"puq_proxmox_kvm_ip_pools", defs(
			"id int NOT NULL AUTO_INCREMENT", "server_id int NOT NULL DEFAULT 0", "type varchar(8) NOT NULL DEFAULT ''", "bridge varchar(32) NOT NULL DEFAULT ''",
			"vlan int NOT NULL DEFAULT 0", "gateway varchar(64) NOT NULL DEFAULT ''", "mask int NOT NULL DEFAULT 0",
			"dns1 varchar(64) NOT NULL DEFAULT ''", "dns2 varchar(64) NOT NULL DEFAULT ''",
			"address_start varchar(64) NOT NULL DEFAULT ''", "address_stop varchar(64) NOT NULL DEFAULT ''",
		), []keyDef{{"PRIMARY KEY", "id"}, {"KEY", "server_id"}}},
		{"puq_proxmox_kvm_dns_zones", defs(
			"id int NOT NULL AUTO_INCREMENT", "zone varchar(255) NOT NULL DEFAULT ''", "type varchar(32) NOT NULL DEFAULT ''", "config text NULL",
		), []keyDef{{"PRIMARY KEY", "id"}}},
		// The PHP module's rows have no utc_hour.
		{statisticsTable, defs(
			"id bigint NOT NULL AUTO_INCREMENT", "service_id int NOT NULL DEFAULT 0", "utc_hour datetime NULL",
			"in_bytes bigint NOT NULL DEFAULT 0", "out_bytes bigint NOT NULL DEFAULT 0",
		), []keyDef{{"PRIMARY KEY", "id"}, {"UNIQUE KEY", "service_id,utc_hour"}, {"KEY", "utc_hour"}}},
	}
}

// stateTables hold what is claimed, reserved, queued and done.
func stateTables() []tableDef {
	return []tableDef{
		{"puq_proxmox_kvm_addresses", defs(
			"address varchar(45)"+ascii+" NOT NULL", "service_id int NOT NULL DEFAULT 0", "position int NOT NULL DEFAULT 0", "pool_id int NOT NULL DEFAULT 0",
			"bridge varchar(32) NOT NULL DEFAULT ''", "vlan int NOT NULL DEFAULT 0", "gateway varchar(45)"+ascii+" NOT NULL DEFAULT ''", "bits int NOT NULL DEFAULT 0",
			"dns1 varchar(45)"+ascii+" NOT NULL DEFAULT ''", "dns2 varchar(45)"+ascii+" NOT NULL DEFAULT ''",
			"state varchar(16)"+ascii+" NOT NULL DEFAULT 'claimed'", "until datetime(6) NULL", "claimed_at datetime(6) NOT NULL",
		), []keyDef{{"PRIMARY KEY", "address"}, {"KEY", "service_id"}, {"KEY", "pool_id"}}},
		{"puq_proxmox_kvm_vmids", defs(
			"vmid int NOT NULL", "service_id int NOT NULL DEFAULT 0", "state varchar(16)"+ascii+" NOT NULL DEFAULT 'reserved'",
			"until datetime(6) NULL", "reserved_at datetime(6) NOT NULL",
		), []keyDef{{"PRIMARY KEY", "vmid"}, {"KEY", "service_id"}}},
		{"puq_proxmox_kvm_backups", defs(
			"id bigint NOT NULL AUTO_INCREMENT", "service_id int NOT NULL", "server_id int NOT NULL DEFAULT 0", "storage varchar(190)"+ascii+" NOT NULL DEFAULT ''",
			"volume varchar(255)"+exact+" NOT NULL", "noted_at datetime(6) NOT NULL",
			"uuid varchar(36)"+ascii+" NOT NULL DEFAULT ''", "made_at datetime(6) NULL", "size bigint NOT NULL DEFAULT 0",
		), []keyDef{{"PRIMARY KEY", "id"}, {"UNIQUE KEY", "service_id,server_id,volume"}}},
		{"puq_proxmox_kvm_slots", defs(
			"server_id int NOT NULL", "node varchar(64)"+ascii+" NOT NULL", "kind varchar(16)"+ascii+" NOT NULL", "slot int NOT NULL",
			"service_id int NOT NULL", "vm_status varchar(64)"+ascii+" NOT NULL DEFAULT ''", "taken_at datetime(6) NOT NULL",
		), []keyDef{{"PRIMARY KEY", "server_id,node,kind,slot"}, {"UNIQUE KEY", "service_id,kind"}}},
		{"puq_proxmox_kvm_runs", defs(
			"id bigint NOT NULL AUTO_INCREMENT", "service_id int NOT NULL", "action varchar(32) NOT NULL DEFAULT ''", "result varchar(16) NOT NULL DEFAULT ''",
			"from_status varchar(64) NOT NULL DEFAULT ''", "to_status varchar(64) NOT NULL DEFAULT ''", "message text NULL", "repeats int NOT NULL DEFAULT 1",
			"started_at datetime(6) NOT NULL", "ended_at datetime(6) NULL", "steps mediumtext"+exact+" NULL",
		), []keyDef{{"PRIMARY KEY", "id"}, {"KEY", "service_id,id"}}},
		{"puq_proxmox_kvm_outbox", defs(
			"id bigint NOT NULL AUTO_INCREMENT", "mail_key varchar(190)"+ascii+" NOT NULL", "service_id int NOT NULL DEFAULT 0", "client_id int NOT NULL DEFAULT 0",
			"action varchar(32) NOT NULL DEFAULT ''", "template varchar(255) NOT NULL DEFAULT ''", "params mediumtext"+exact+" NULL",
			"state varchar(16)"+ascii+" NOT NULL DEFAULT 'pending'", "attempts int NOT NULL DEFAULT 0", "next_try datetime(6) NOT NULL",
			"trace_after int NOT NULL DEFAULT 0", "last_error text NULL", "created_at datetime(6) NOT NULL", "sent_at datetime(6) NULL",
			"claim_owner varchar(190)"+ascii+" NULL", "claim_until datetime(6) NULL",
		), []keyDef{{"PRIMARY KEY", "id"}, {"UNIQUE KEY", "mail_key"}, {"KEY", "state,next_try"}}},
		{"puq_proxmox_kvm_dns_records", defs(
			"id bigint NOT NULL AUTO_INCREMENT", "service_id int NOT NULL", "kind varchar(8)"+ascii+" NOT NULL", "name varchar(253)"+ascii+" NOT NULL",
			"address varchar(45)"+ascii+" NOT NULL", "state varchar(8)"+ascii+" NOT NULL DEFAULT 'due'",
		), []keyDef{{"PRIMARY KEY", "id"}, {"UNIQUE KEY", "service_id,kind,name,address"}, {"KEY", "name"}, {"KEY", "state"}}},
		{"puq_proxmox_kvm_leases", defs("name varchar(190)"+ascii+" NOT NULL", "owner varchar(190)"+ascii+" NOT NULL DEFAULT ''", "until datetime(6) NOT NULL"),
			[]keyDef{{"PRIMARY KEY", "name"}}},
		{"puq_proxmox_kvm_counters", defs(
			"service_id int NOT NULL", "vm_uuid varchar(36)"+ascii+" NOT NULL DEFAULT ''", "in_bytes bigint NOT NULL DEFAULT 0", "out_bytes bigint NOT NULL DEFAULT 0",
			"uptime_s bigint NOT NULL DEFAULT 0", "sampled_at datetime(6) NOT NULL",
		), []keyDef{{"PRIMARY KEY", "service_id"}}},
		{"puq_proxmox_kvm_cron_tasks", defs(
			"name varchar(64)"+ascii+" NOT NULL", "started_at datetime(6) NULL", "finished_at datetime(6) NULL",
			"result varchar(255) NOT NULL DEFAULT ''", "owner varchar(190)"+ascii+" NOT NULL DEFAULT ''",
		), []keyDef{{"PRIMARY KEY", "name"}}},
	}
}

// settingsTables hold what an administrator sets; the first holds what the program must know of itself before all else.
func settingsTables() []tableDef {
	return []tableDef{
		{metaTable, defs("name varchar(64)"+ascii+" NOT NULL", "value text NULL"), []keyDef{{"PRIMARY KEY", "name"}}},
		{"puq_proxmox_kvm_settings", defs("name varchar(64)"+ascii+" NOT NULL", "value text NULL", "updated_at datetime(6) NULL"),
			[]keyDef{{"PRIMARY KEY", "name"}}},
		{"puq_proxmox_kvm_product_settings", defs("product_id int NOT NULL", "settings mediumtext"+exact+" NULL", "updated_at datetime(6) NULL"),
			[]keyDef{{"PRIMARY KEY", "product_id"}}},
		{"puq_proxmox_kvm_server_settings", defs("server_id int NOT NULL", "settings mediumtext"+exact+" NULL", "updated_at datetime(6) NULL"),
			[]keyDef{{"PRIMARY KEY", "server_id"}}},
	}
}

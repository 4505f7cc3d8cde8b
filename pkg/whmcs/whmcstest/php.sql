-- Tables as a PHP installation may have left them. Only their names and the first columns of the first are documented;
-- the rest is a guess, and the columns that puqkvm does not know (vm_ip_addresses, vm_options) stand for what it may meet.

CREATE TABLE puqProxmoxKVM_vm_info (
  service_id int(11) NOT NULL, vm_id int(11) DEFAULT NULL, vm_name varchar(255) DEFAULT NULL, vm_status varchar(64) DEFAULT NULL,
  vm_net0_mac varchar(32) DEFAULT NULL, vm_rev_dns text DEFAULT NULL, vm_snapshots int(11) DEFAULT 0, vm_backups int(11) DEFAULT 0,
  vm_backup_now_utid text DEFAULT NULL, vm_backup_restore_utid text DEFAULT NULL, vm_backup_schedule text DEFAULT NULL,
  vm_last_action_log mediumtext DEFAULT NULL, vm_ip_addresses text NOT NULL, vm_options int(11) NOT NULL,
  PRIMARY KEY (service_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE puqProxmoxKVM_statistics (
  id int(11) NOT NULL AUTO_INCREMENT, service_id int(11) NOT NULL, date datetime NOT NULL,
  netin bigint(20) unsigned NOT NULL DEFAULT 0, netout bigint(20) unsigned NOT NULL DEFAULT 0,
  PRIMARY KEY (id), KEY service_date (service_id, date)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE puq_customization_module_puq_proxmox_kvm_ip_pools (
  id int(11) NOT NULL AUTO_INCREMENT, server_id int(11) NOT NULL, type varchar(8) NOT NULL, bridge varchar(32) NOT NULL,
  vlan int(11) NOT NULL DEFAULT 0, gateway varchar(64) NOT NULL, mask int(11) NOT NULL, dns1 varchar(64) DEFAULT NULL,
  dns2 varchar(64) DEFAULT NULL, address_start varchar(64) NOT NULL, address_stop varchar(64) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE puq_customization_module_puq_proxmox_kvm_dns_zones (
  id int(11) NOT NULL AUTO_INCREMENT, zone varchar(255) NOT NULL, type varchar(32) NOT NULL, config text NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_id, vm_name, vm_status, vm_rev_dns, vm_backup_schedule, vm_ip_addresses, vm_options) VALUES
  (5546, 2003, '5546-1775784027', 'ready', '{"192.0.2.10":"host.example.com"}', '{"0":"07:00","6":"03:00"}', '192.0.2.10', 1),
  (5547, NULL, NULL, 'remove', NULL, NULL, '', 0);

INSERT INTO puq_customization_module_puq_proxmox_kvm_ip_pools
  (server_id, type, bridge, vlan, gateway, mask, dns1, dns2, address_start, address_stop) VALUES
  (1, 'ipv4', 'vmbr0', 0, '192.0.2.1', 24, '198.51.100.53', NULL, '192.0.2.10', '192.0.2.99'),
  (1, 'ipv6', 'vmbr0', 20, '2001:db8::1', 64, NULL, NULL, '2001:db8::10', '2001:db8::ffff');

INSERT INTO puq_customization_module_puq_proxmox_kvm_dns_zones (zone, type, config) VALUES
  ('example.com', 'powerdns', '{"server":"http://127.0.0.1:8081","api_key":"k"}');

INSERT INTO puqProxmoxKVM_statistics (service_id, date, netin, netout) VALUES (5546, '2026-04-10 07:00:00', 1, 2), (5546, '2026-04-10 08:00:00', 3, 4);

-- Tables of WHMCS 8 that puqkvm reads or writes, column by column as its databases have them: types, nullability,
-- zero-date defaults, keys. Statements end with a semicolon at the end of a line.

CREATE TABLE tblhosting (
  id int(10) NOT NULL AUTO_INCREMENT, userid int(10) NOT NULL, orderid int(10) NOT NULL, packageid int(10) NOT NULL,
  server int(10) NOT NULL, regdate date NOT NULL, domain text NOT NULL, paymentmethod text NOT NULL,
  qty int(10) unsigned NOT NULL DEFAULT 1, firstpaymentamount decimal(16,2) NOT NULL DEFAULT 0.00,
  amount decimal(16,2) NOT NULL DEFAULT 0.00, billingcycle text NOT NULL, nextduedate date DEFAULT NULL,
  nextinvoicedate date NOT NULL, termination_date date NOT NULL DEFAULT '0000-00-00',
  completed_date date NOT NULL DEFAULT '0000-00-00',
  domainstatus enum('Pending','Active','Suspended','Terminated','Cancelled','Fraud','Completed') NOT NULL DEFAULT 'Pending',
  username text NOT NULL, password text NOT NULL, notes text NOT NULL, subscriptionid text NOT NULL,
  recommendation_source_product_id int(10) unsigned DEFAULT NULL, promoid int(10) NOT NULL,
  promocount int(10) DEFAULT 0, suspendreason text NOT NULL, overideautosuspend tinyint(1) NOT NULL,
  overidesuspenduntil date NOT NULL, dedicatedip text NOT NULL, assignedips text NOT NULL, ns1 text NOT NULL,
  ns2 text NOT NULL, diskusage int(10) NOT NULL DEFAULT 0, disklimit int(10) NOT NULL DEFAULT 0,
  bwusage int(10) NOT NULL DEFAULT 0, bwlimit int(10) NOT NULL DEFAULT 0,
  upsell_from_products varchar(40) DEFAULT NULL, lastupdate datetime NOT NULL DEFAULT '0000-00-00 00:00:00',
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  PRIMARY KEY (id), KEY serviceid (id), KEY userid (userid), KEY orderid (orderid), KEY productid (packageid),
  KEY serverid (server), KEY domain (domain(64)), KEY domainstatus (domainstatus), KEY username (username(8))
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblhostingconfigoptions (
  id int(10) NOT NULL AUTO_INCREMENT, relid int(10) NOT NULL, configid int(10) NOT NULL, optionid int(10) NOT NULL,
  qty int(10) NOT NULL,
  PRIMARY KEY (id), KEY relid_configid (relid, configid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblproducts (
  id int(10) NOT NULL AUTO_INCREMENT, type text NOT NULL, gid int(10) NOT NULL, name text NOT NULL,
  slug varchar(128) NOT NULL DEFAULT '', description text NOT NULL, hidden tinyint(1) NOT NULL,
  showdomainoptions tinyint(1) NOT NULL, welcomeemail int(10) NOT NULL DEFAULT 0, stockcontrol tinyint(1) NOT NULL,
  qty int(10) NOT NULL DEFAULT 0, proratabilling tinyint(1) NOT NULL, proratadate int(2) NOT NULL,
  proratachargenextmonth int(2) NOT NULL, paytype text NOT NULL, allowqty int(1) NOT NULL, subdomain text NOT NULL,
  autosetup text NOT NULL, servertype text NOT NULL, servergroup int(10) NOT NULL, configoption1 text NOT NULL,
  configoption2 text NOT NULL, configoption3 text NOT NULL, configoption4 text NOT NULL, configoption5 text NOT NULL,
  configoption6 text NOT NULL, configoption7 text NOT NULL, configoption8 text NOT NULL, configoption9 text NOT NULL,
  configoption10 text NOT NULL, configoption11 text NOT NULL, configoption12 text NOT NULL,
  configoption13 text NOT NULL, configoption14 text NOT NULL, configoption15 text NOT NULL,
  configoption16 text NOT NULL, configoption17 text NOT NULL, configoption18 text NOT NULL,
  configoption19 text NOT NULL, configoption20 text NOT NULL, configoption21 text NOT NULL,
  configoption22 text NOT NULL, configoption23 text NOT NULL, configoption24 text NOT NULL, freedomain text NOT NULL,
  freedomainpaymentterms text NOT NULL, freedomaintlds text NOT NULL, recurringcycles int(2) NOT NULL,
  autoterminatedays int(4) NOT NULL, autoterminateemail int(10) NOT NULL DEFAULT 0,
  configoptionsupgrade tinyint(1) NOT NULL, billingcycleupgrade text NOT NULL,
  upgradeemail int(10) NOT NULL DEFAULT 0, overagesenabled varchar(10) NOT NULL, overagesdisklimit int(10) NOT NULL,
  overagesbwlimit int(10) NOT NULL, overagesdiskprice decimal(6,4) NOT NULL, overagesbwprice decimal(6,4) NOT NULL,
  tax tinyint(1) NOT NULL, affiliateonetime tinyint(1) NOT NULL, affiliatepaytype text NOT NULL,
  affiliatepayamount decimal(16,2) NOT NULL, `order` int(10) NOT NULL DEFAULT 0, retired tinyint(1) NOT NULL,
  is_featured tinyint(1) NOT NULL, color text NOT NULL, tagline text NOT NULL, short_description text NOT NULL,
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  PRIMARY KEY (id), KEY gid (gid), KEY name (name(64)), KEY type (type(4))
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblproductconfiggroups (
  id int(10) NOT NULL AUTO_INCREMENT, name text NOT NULL, description text NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblproductconfiglinks (
  id int(11) NOT NULL AUTO_INCREMENT, gid int(10) NOT NULL, pid int(10) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblproductconfigoptions (
  id int(10) NOT NULL AUTO_INCREMENT, gid int(10) NOT NULL DEFAULT 0, optionname text NOT NULL,
  optiontype text NOT NULL, qtyminimum int(10) NOT NULL, qtymaximum int(10) NOT NULL,
  `order` int(1) NOT NULL DEFAULT 0, hidden int(1) NOT NULL,
  PRIMARY KEY (id), KEY productid (gid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblproductconfigoptionssub (
  id int(10) NOT NULL AUTO_INCREMENT, configid int(10) NOT NULL, optionname text NOT NULL,
  sortorder int(10) NOT NULL DEFAULT 0, hidden int(1) NOT NULL,
  PRIMARY KEY (id), KEY configid (configid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblcustomfields (
  id int(10) NOT NULL AUTO_INCREMENT, type text NOT NULL, relid int(10) NOT NULL DEFAULT 0, fieldname text NOT NULL,
  fieldtype text NOT NULL, description text NOT NULL, fieldoptions text NOT NULL, regexpr text NOT NULL,
  adminonly text NOT NULL, required text NOT NULL, showorder text NOT NULL, showinvoice text NOT NULL,
  sortorder int(10) NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  PRIMARY KEY (id), KEY serviceid (relid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblcustomfieldsvalues (
  id int(10) unsigned NOT NULL AUTO_INCREMENT, fieldid int(10) NOT NULL, relid int(10) NOT NULL, value text NOT NULL,
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  PRIMARY KEY (id), KEY fieldid_relid (fieldid, relid), KEY relid (relid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblservers (
  id int(10) NOT NULL AUTO_INCREMENT, name text NOT NULL, ipaddress text NOT NULL, assignedips text NOT NULL,
  hostname text NOT NULL, monthlycost decimal(16,2) NOT NULL DEFAULT 0.00, noc text NOT NULL,
  statusaddress text NOT NULL, nameserver1 text NOT NULL, nameserver1ip text NOT NULL, nameserver2 text NOT NULL,
  nameserver2ip text NOT NULL, nameserver3 text NOT NULL, nameserver3ip text NOT NULL, nameserver4 text NOT NULL,
  nameserver4ip text NOT NULL, nameserver5 text NOT NULL, nameserver5ip text NOT NULL,
  maxaccounts int(10) NOT NULL DEFAULT 0, type text NOT NULL, username text NOT NULL, password text NOT NULL,
  accesshash text NOT NULL, secure text NOT NULL, port int(8) DEFAULT NULL, active int(1) NOT NULL,
  disabled int(1) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblservergroups (
  id int(10) NOT NULL AUTO_INCREMENT, name text NOT NULL, filltype int(1) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblservergroupsrel (
  id int(11) NOT NULL AUTO_INCREMENT, groupid int(10) NOT NULL, serverid int(10) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblclients (
  id int(10) NOT NULL AUTO_INCREMENT, uuid varchar(255) NOT NULL DEFAULT '', firstname text NOT NULL,
  lastname text NOT NULL, companyname text NOT NULL, email text NOT NULL, address1 text NOT NULL,
  address2 text NOT NULL, city text NOT NULL, state text NOT NULL, postcode text NOT NULL, country text NOT NULL,
  phonenumber text NOT NULL, tax_id varchar(128) NOT NULL DEFAULT '', password text NOT NULL,
  authmodule text NOT NULL, authdata text NOT NULL, currency int(10) NOT NULL, defaultgateway text NOT NULL,
  credit decimal(16,2) NOT NULL, taxexempt tinyint(1) NOT NULL, latefeeoveride tinyint(1) NOT NULL,
  overideduenotices tinyint(1) NOT NULL, separateinvoices tinyint(1) NOT NULL, disableautocc tinyint(1) NOT NULL,
  datecreated date NOT NULL, notes text NOT NULL, billingcid int(10) NOT NULL, securityqid int(10) NOT NULL,
  securityqans text NOT NULL, groupid int(10) NOT NULL, cardtype varchar(255) NOT NULL DEFAULT '',
  cardlastfour text NOT NULL, cardnum blob NOT NULL, startdate blob NOT NULL, expdate blob NOT NULL,
  issuenumber blob NOT NULL, bankname text NOT NULL, banktype text NOT NULL, bankcode blob NOT NULL,
  bankacct blob NOT NULL, gatewayid text NOT NULL, lastlogin datetime DEFAULT NULL, ip text NOT NULL,
  host text NOT NULL, status enum('Active','Inactive','Closed') NOT NULL DEFAULT 'Active', language text NOT NULL,
  pwresetkey text NOT NULL, emailoptout int(1) NOT NULL,
  marketing_emails_opt_in tinyint(1) unsigned NOT NULL DEFAULT 0, overrideautoclose int(1) NOT NULL,
  allow_sso tinyint(1) NOT NULL DEFAULT 1, email_verified tinyint(1) NOT NULL DEFAULT 0,
  email_preferences text DEFAULT NULL, created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  pwresetexpiry timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  PRIMARY KEY (id), KEY firstname_lastname (firstname(32), lastname(32)), KEY email (email(64)),
  KEY client_status_id (status, id), KEY lastlogin (lastlogin)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblconfiguration (
  id int(11) NOT NULL AUTO_INCREMENT, setting varchar(64) NOT NULL, value mediumtext NOT NULL,
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  PRIMARY KEY (id), UNIQUE KEY whmcs_setting_unique (setting), KEY setting (setting)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tbladdonmodules (
  id int(11) NOT NULL AUTO_INCREMENT, module text NOT NULL, setting text NOT NULL, value text NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblemailtemplates (
  id int(10) NOT NULL AUTO_INCREMENT, type text NOT NULL, name text NOT NULL, subject text NOT NULL,
  message text NOT NULL, attachments text NOT NULL, fromname text NOT NULL, fromemail text NOT NULL,
  disabled tinyint(1) NOT NULL, custom tinyint(1) NOT NULL, language text NOT NULL, copyto text NOT NULL,
  blind_copy_to text NOT NULL, plaintext tinyint(1) NOT NULL,
  created_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  updated_at timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  PRIMARY KEY (id), KEY type (type(32)), KEY name (name(64))
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblemails (
  id int(10) NOT NULL AUTO_INCREMENT, userid int(10) NOT NULL, subject text NOT NULL, message text NOT NULL,
  date datetime DEFAULT NULL, `to` text DEFAULT NULL, cc text DEFAULT NULL, bcc text DEFAULT NULL,
  attachments text DEFAULT NULL, pending tinyint(1) NOT NULL DEFAULT 0, message_data mediumtext DEFAULT NULL,
  failed tinyint(1) NOT NULL DEFAULT 0, failure_reason varchar(250) NOT NULL DEFAULT '',
  retry_count tinyint(1) NOT NULL DEFAULT 0, created_at timestamp NULL DEFAULT NULL,
  updated_at timestamp NULL DEFAULT NULL, campaign_id int(10) NOT NULL DEFAULT 0,
  PRIMARY KEY (id), KEY userid (userid), KEY pending (pending), KEY campaign_id (campaign_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblactivitylog (
  id int(10) NOT NULL AUTO_INCREMENT, date datetime NOT NULL DEFAULT '0000-00-00 00:00:00', description text NOT NULL,
  user text NOT NULL, userid int(10) unsigned NOT NULL DEFAULT 0, user_id int(10) unsigned NOT NULL DEFAULT 0,
  admin_id int(10) unsigned NOT NULL DEFAULT 0, ipaddr text NOT NULL,
  PRIMARY KEY (id), KEY userid (userid), KEY user_id (user_id), KEY admin_id (admin_id), KEY date (date),
  KEY user (user(255))
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tblmodulelog (
  id int(10) NOT NULL AUTO_INCREMENT, date datetime NOT NULL, module text NOT NULL, action text NOT NULL,
  request mediumtext NOT NULL, response mediumtext NOT NULL, arrdata mediumtext NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

CREATE TABLE tbltickets (
  id int(10) NOT NULL AUTO_INCREMENT, tid varchar(128) DEFAULT NULL, did int(10) NOT NULL, userid int(10) NOT NULL,
  contactid int(10) NOT NULL DEFAULT 0, name text NOT NULL, email text NOT NULL, c text NOT NULL,
  date datetime NOT NULL DEFAULT '0000-00-00 00:00:00', title text NOT NULL, message text NOT NULL,
  status varchar(64) NOT NULL, urgency text NOT NULL, service text NOT NULL,
  PRIMARY KEY (id), KEY userid (userid), KEY date (date), KEY did (did), KEY status (status)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;

// Package config finds the program's configuration, and knows the settings that an administrator changes at run time.
//
// # Configuration
//
// [Load] takes each key from the first of these places that has it:
//
//  1. a flag: --config, --whmcs-root;
//  2. the environment: PUQKVM_ and the key in capitals, with _ for each dot, so database.host is PUQKVM_DATABASE_HOST and
//     whmcs_root is PUQKVM_WHMCS_ROOT; PUQKVM_CONFIG names the file;
//  3. the file: the one that was named, else /etc/puqkvm.toml if it is there;
//  4. WHMCS's configuration.php under whmcs_root;
//  5. the default.
//
// Empty text counts as not set. Each secret has a twin key that ends in _file (PUQKVM_DATABASE_PASSWORD_FILE, or
// password_file under [database]) and names a file whose one line is the secret; both at one place are refused. A socket
// and a host exclude each other: the one from the earlier place wins.
//
//	whmcs_root = "/var/www/whmcs"
//
//	[database]
//	host = "localhost"
//	port = 3306
//	socket = ""
//	name = "whmcs"
//	user = "whmcs"
//	password_file = "/etc/puqkvm/password"
//
//	[whmcs]
//	api_url = "https://billing.example.com/"
//	api_identifier = "…"
//	api_secret_file = "/etc/puqkvm/api-secret"
//
// encryption_hash(_file) is WHMCS's $cc_encryption_hash, for where configuration.php cannot be read.
//
// # Settings
//
// [Table] lists the settings that the database keeps: name, kind, default, unit, range, help. [Parse] checks and
// normalises one value, [LoadSettings] turns the stored texts into [Settings].
//
// # Why
//
//   - A key that nobody knows is refused: a misspelt host must not end in the default. For the same reason an environment
//     variable PUQKVM_… that means nothing is warned of.
//   - Errors about the file show keys and lines, never values, and not the words of the TOML parser, which may quote a
//     password that was written without quotes.
//   - A nonsense stored setting is an error and no default: the tick that would run with it may clone too much at once.
//   - The time zone data is linked in, for the binary also runs where no zoneinfo is installed.
package config

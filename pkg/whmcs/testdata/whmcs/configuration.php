<?php
// An installation's file, with what people put into it.
$license = 'EXAMPLE-0000000000';
$db_host = 'localhost';
$db_port = '3307';
$db_username = "whmcs_user";
$db_password = 'it\'s a "p\\ss" $word; ?> #1';
$db_name = 'wrong'; # the next line wins
$db_name = 'whmcs_db';
$cc_encryption_hash = '0123456789abcdef';
$templates_compiledir = __DIR__ . '/templates_c';
$mysql_charset = 'utf8';
$display_errors = false;
if (isset($_SERVER['HTTP_X_FORWARDED_FOR'])) {
    $_SERVER['REMOTE_ADDR'] = "{$_SERVER['HTTP_X_FORWARDED_FOR']}";
}
